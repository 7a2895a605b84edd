"""The segments of a recording, cut from its samples while they are read once forwards."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from ser_jax.features import online_segments, segments
from ser_jax.features.online_segments import Cut
from ser_jax.features.spec import FeatureSpec

# Two sizes of batch, so that few programs are compiled: one short recording fits the
# first, many or long ones fill the second.
_BATCH_SIZES = (4, 32)
_SMALLEST_FRAMES = 64  # `whole` pads to powers of two from here: few programs again


class Segment(NamedTuple):
    """What a model needs of one segment; arrays of a batch have a leading axis."""

    cut: Cut  # its samples; `log_peak` is 0 without `top_db`
    num_frames: np.ndarray  # real ones; the rest is padding


class SegmentReader:
    """Cuts recordings as the tests of a training were cut; short ones are padded."""

    def __init__(self, config, spec: FeatureSpec):
        """Reads `config.segment` and `config.data.channels`."""
        self._spec = spec
        self._channels = config.data.channels
        self._segment = ConfigDict(config.segment.to_dict())
        self._segment.short = "pad"  # every recording gets an answer

    def segments(
        self, blocks: Iterable[np.ndarray], num_samples: int, log_peak: float = 0.0
    ) -> Iterator[tuple[int, Segment]]:
        """Cuts a recording.

        Args:
          blocks: Its samples, float32 [n] at the recipe's rate, read once.
          num_samples: Their number in all.
          log_peak: Its largest log energy, for recipes with `top_db`.

        Yields:
          (T, segment), in order of the start. Samples behind the last are not read.
        """
        rule = self._segment
        lengths = np.array([num_samples])
        cut = segments.cut(lengths, self._spec, rule, step_s=rule.test_step_s)
        size = segments.window_frames(self._spec, rule.window_s)
        if rule.rule == "whole":
            longest = int(cut.num_frames.max())
            size = min(size, max(_SMALLEST_FRAMES, 1 << (longest - 1).bit_length()))
        yield from self._read(
            cut.start_frame, cut.num_frames, size, blocks, num_samples, log_peak
        )

    def tiles(
        self, blocks: Iterable[np.ndarray], num_samples: int, size: int = 512
    ) -> Iterator[tuple[int, Segment]]:
        """Segments of `size` frames, one behind the other, over a whole recording."""
        total = self._spec.num_frames(num_samples)
        start = np.arange(0, total, size)
        num = np.minimum(size, total - start)
        yield from self._read(start, num, size, blocks, num_samples, 0.0)

    def _read(self, starts, nums, size, blocks, num_samples, log_peak):
        need = online_segments.reach(self._spec, self._channels, size)
        hop = self._spec.hop_samples
        tape = _Tape(blocks)
        for start, num in zip(starts.tolist(), nums.tolist(), strict=True):
            # The deltas of the first frames look back, so reading starts earlier.
            first = (start - need.before) * hop
            samples = tape.read(first, first + need.rows * hop)
            start, num, length = map(np.int32, (start, num, num_samples))
            cut = Cut(samples, start, length, np.float32(log_peak))
            yield size, Segment(cut, num)


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
        at = max(0, self._first - start)  # above 0 if the recording starts later
        samples = self._buffer[: max(0, stop - start - at)]
        out[at : at + len(samples)] = samples
        return out


def group(items: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, list]]:
    """Groups neighbours (T, item) of one T into (T, items), 1 ... 32 of them."""
    for size, neighbours in itertools.groupby(items, key=lambda pair: pair[0]):
        values = (item for _, item in neighbours)
        while batch := list(itertools.islice(values, _BATCH_SIZES[-1])):
            yield size, batch


def stack(batch: list[Segment]) -> Segment:
    """Stacks a batch, filled up with its last segment to one of few sizes."""
    size = next(size for size in _BATCH_SIZES if len(batch) <= size)
    batch = batch + batch[-1:] * (size - len(batch))
    return jax.tree.map(lambda *arrays: np.stack(arrays), *batch)
