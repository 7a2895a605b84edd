"""The segments of a recording, cut from its samples while they are read once forwards."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from ser_jax.features import online_segments, segments
from ser_jax.features.spec import FeatureSpec

# Two sizes of batch, so that few programs are compiled: one short recording fits the
# first, many or long ones fill the second.
_BATCH_SIZES = (4, 32)
_SMALLEST_FRAMES = 64  # `whole` pads to powers of two from here: few programs again


class SegmentSamples(NamedTuple):
    """The samples under one segment; arrays of a batch have a leading axis.

    Attributes:
      values: float32 [N], samples under the segment and what its deltas look at; zeros
        outside the recording.
      first_frame: Of the segment inside the recording.
      num_frames: Real frames; the rest is padding.
      num_samples: Of the whole recording.
      log_peak: Largest log energy of the recording; 0 without `top_db`.
    """

    values: np.ndarray
    first_frame: np.ndarray
    num_frames: np.ndarray
    num_samples: np.ndarray
    log_peak: np.ndarray


@dataclasses.dataclass(frozen=True)
class SegmentReader:
    """Cuts recordings as the tests of a training were cut; short ones are padded.

    Attributes:
      spec: The recipe.
      channels: C of the features.
      segment: `config.segment`, with `short` = `pad`.
    """

    spec: FeatureSpec
    channels: int
    segment: ConfigDict

    @classmethod
    def of(cls, config, spec: FeatureSpec) -> "SegmentReader":
        """The reader of a config."""
        segment = ConfigDict(config.segment.to_dict())
        segment.short = "pad"  # every recording gets an answer
        return cls(spec, config.data.channels, segment)

    def segments(
        self, blocks: Iterable[np.ndarray], num_samples: int, log_peak: float = 0.0
    ) -> Iterator[tuple[int, SegmentSamples]]:
        """Cuts a recording.

        Args:
          blocks: Its samples, float32 [n] at the recipe's rate, read once.
          num_samples: Their number in all.
          log_peak: See `SegmentSamples`.

        Yields:
          (T, segment), in order of the start. Samples behind the last are not read.
        """
        cut = segments.cut(
            np.array([num_samples]),
            self.spec,
            self.segment,
            step_s=self.segment.test_step_s,
        )
        size = segments.window_frames(self.spec, self.segment.window_s)
        if self.segment.rule == "whole":
            longest = int(cut.num_frames.max())
            size = min(size, max(_SMALLEST_FRAMES, 1 << (longest - 1).bit_length()))
        yield from self._read(
            cut.start_frame, cut.num_frames, size, blocks, num_samples, log_peak
        )

    def tiles(
        self, blocks: Iterable[np.ndarray], num_samples: int, size: int = 512
    ) -> Iterator[tuple[int, SegmentSamples]]:
        """Segments of `size` frames, one behind the other, over a whole recording."""
        total = self.spec.num_frames(num_samples)
        start = np.arange(0, total, size)
        num = np.minimum(size, total - start)
        yield from self._read(start, num, size, blocks, num_samples, 0.0)

    def _read(self, starts, nums, size, blocks, num_samples, log_peak):
        need = online_segments.reach(self.spec, self.channels, size)
        hop = self.spec.hop_samples
        tape = _Tape(blocks)
        for start, num in zip(starts.tolist(), nums.tolist(), strict=True):
            first = (start - need.before) * hop
            values = tape.read(first, first + need.rows * hop)
            places = map(np.int32, (start, num, num_samples))
            yield size, SegmentSamples(values, *places, np.float32(log_peak))


class _Tape:
    """Samples read forwards, of which only the last stretch is kept."""

    def __init__(self, blocks: Iterable[np.ndarray]):
        self._blocks = iter(blocks)
        self._buffer = np.zeros(0, np.float32)
        self._first = 0  # place of the buffer's first sample

    def read(self, start: int, stop: int) -> np.ndarray:
        """Samples start ... stop - 1, zeros outside; starts must not go back."""
        parts, end = [self._buffer], self._first + len(self._buffer)
        while end < stop and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            end += len(block)
        buffer = np.concatenate(parts) if len(parts) > 1 else self._buffer
        drop = min(max(0, start - self._first), len(buffer))
        self._buffer, self._first = buffer[drop:], self._first + drop
        out = np.zeros(stop - start, np.float32)
        at = max(0, self._first - start)
        samples = self._buffer[: max(0, stop - start - at)]
        out[at : at + len(samples)] = samples
        return out


def group(items: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, list]]:
    """Groups neighbours (T, item) of one T into (T, items), 1 ... 32 of them."""
    for size, neighbours in itertools.groupby(items, key=lambda pair: pair[0]):
        values = (item for _, item in neighbours)
        while batch := list(itertools.islice(values, _BATCH_SIZES[-1])):
            yield size, batch


def stack(batch: list[SegmentSamples]) -> SegmentSamples:
    """Stacks a batch, filled up with its last segment to one of few sizes."""
    size = next(size for size in _BATCH_SIZES if len(batch) <= size)
    batch = batch + batch[-1:] * (size - len(batch))
    return SegmentSamples(*map(np.stack, zip(*batch, strict=True)))
