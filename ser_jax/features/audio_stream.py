"""Reads a recording of any length block by block, as `audio.load` reads it whole."""

import math
import os
from collections.abc import Iterable, Iterator

import numpy as np
import soundfile
import soxr

from ser_jax.features import audio
from ser_jax.features.audio import AudioError

BLOCK_S = 30.0


class AudioStream:
    """A recording on disk, mono, at a wanted rate; iterate it as often as you like.

    The blocks, joined, are what `audio.load` gives, to the bit.

    Attributes:
      path: The file.
      rate_hz: Its own rate.
      num_samples: Length at the wanted rate.
    """

    def __init__(self, path: str | os.PathLike, sample_rate_hz: int):
        """Reads the header.

        Raises:
          AudioError: The recording is missing, unreadable, empty or truncated.
        """
        self.path = os.fspath(path)
        self._target_hz = sample_rate_hz
        with self._opened() as file:
            self.rate_hz, self._frames = file.samplerate, file.frames
        if not self._frames:
            raise AudioError("empty audio", "expected samples, got a file without any")
        self.num_samples = math.ceil(self._frames * sample_rate_hz / self.rate_hz)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Blocks float32 [n]; raises AudioError where the recording turns out bad."""
        yield from resampled(self._blocks(), self.rate_hz, self._target_hz)

    def _blocks(self) -> Iterator[np.ndarray]:
        size, read = round(BLOCK_S * self.rate_hz), 0
        with self._opened() as file:
            while read < self._frames:
                try:
                    samples = file.read(size, dtype="float32", always_2d=True)
                except soundfile.LibsndfileError as error:
                    got = error.error_string
                    raise self._truncated(got) from error
                if not len(samples):
                    raise self._truncated(str(read))
                read += len(samples)
                yield audio.mono(samples)

    def _truncated(self, got: str) -> AudioError:
        return AudioError(
            "truncated audio", f"expected {self._frames} samples, got {got}"
        )

    def _opened(self) -> soundfile.SoundFile:
        try:
            return audio.opened(self.path)
        except OSError as error:
            detail = f"{self.path}: {error.strerror}"
            raise AudioError("unreadable", detail) from error


def resampled(
    blocks: Iterable[np.ndarray], rate_hz: int, target_hz: int
) -> Iterator[np.ndarray]:
    """Blocks at another rate: joined, what librosa's default gives of them joined.

    Args:
      blocks: float32 [n], any lengths.
      rate_hz: Their rate.
      target_hz: The wanted one.
    """
    if rate_hz == target_hz:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate_hz, target_hz, 1, dtype="float32", quality="HQ")
    read = made = 0
    for block in blocks:
        read += len(block)
        found = stream.resample_chunk(np.ascontiguousarray(block))
        made += len(found)
        yield found
    rest = stream.resample_chunk(np.zeros(0, np.float32), last=True)
    # As librosa: padded with zeros, or cut, to the rounded-up length.
    wanted = max(0, math.ceil(read * target_hz / rate_hz) - made)
    yield np.pad(rest[:wanted], (0, max(0, wanted - len(rest))))
