"""Reads a recording of any length block by block, as `audio.load` reads it whole."""

import math
import os
from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from ser_jax.features import audio

BLOCK_S = 30.0


class AudioStream:
    """A recording on disk, mono, resampled; can be iterated more than once.

    The blocks, joined, are what `audio.load` gives, to the bit.

    Attributes:
      path: The file.
      rate_hz: Its own rate.
      num_samples: Length after resampling.
    """

    def __init__(self, path: str | os.PathLike, sample_rate_hz: int):
        """Reads the header.

        Raises:
          AudioError: The recording is missing, unreadable, empty or truncated.
        """
        self.path = os.fspath(path)
        self._target_hz = sample_rate_hz
        with audio.open_recording(path) as file:
            self.rate_hz = file.samplerate
            self.num_samples = math.ceil(file.frames * sample_rate_hz / self.rate_hz)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Blocks float32 [n]; raises AudioError where the recording turns out bad."""
        with audio.open_recording(self.path) as file:
            blocks = audio.read_blocks(file, round(BLOCK_S * self.rate_hz))
            yield from resample(blocks, self.rate_hz, self._target_hz)


def resample(
    blocks: Iterable[np.ndarray], rate_hz: int, target_hz: int
) -> Iterator[np.ndarray]:
    """Blocks at another rate: joined, what librosa's default gives of them joined.

    Args:
      blocks: float32 [n], any lengths.
      rate_hz: Their rate.
      target_hz: Rate of the blocks that are returned.
    """
    if rate_hz == target_hz:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate_hz, target_hz, 1, dtype="float32", quality="HQ")
    num_read = num_written = 0
    for block in blocks:
        num_read += len(block)
        chunk = stream.resample_chunk(np.ascontiguousarray(block))
        num_written += len(chunk)
        yield chunk
    rest = stream.resample_chunk(np.zeros(0, np.float32), last=True)
    # As librosa: padded with zeros, or cut, to the rounded-up length.
    missing = max(0, math.ceil(num_read * target_hz / rate_hz) - num_written)
    yield np.pad(rest[:missing], (0, max(0, missing - len(rest))))
