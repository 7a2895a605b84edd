"""The windows of a recording, cut from its samples while they are read once forwards."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from ser_jax.features import online_segments, segments
from ser_jax.features.spec import FeatureSpec

_BATCHES = (4, 32)  # windows of a call: one short recording, or many of any length
_SMALLEST = 64  # frames; windows of the rule `whole` are padded to powers of two


class Window(NamedTuple):
    """One window of a recording; arrays of a batch have a leading axis.

    Attributes:
      values: float32 [N], samples under the window and what its deltas look at; zeros
        outside the recording.
      first_frame: Of the window inside the recording.
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
class Cutter:
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
    def of(cls, config, spec: FeatureSpec) -> "Cutter":
        """The cutter of a config; whatever comes gets an answer."""
        segment = ConfigDict(config.segment.to_dict())
        segment.short = "pad"
        return cls(spec, config.data.channels, segment)

    def plan(self, num_samples: int) -> tuple[segments.Segments, int]:
        """The windows of a recording and the frames T to which they are padded."""
        cut = segments.cut(
            np.array([num_samples]),
            self.spec,
            self.segment,
            step_s=self.segment.test_step_s,
        )
        full = segments.window_frames(self.spec, self.segment.window_s)
        if self.segment.rule != "whole":
            return cut, full
        longest = int(cut.num_frames.max())
        return cut, min(full, max(_SMALLEST, 1 << (longest - 1).bit_length()))

    def windows(
        self, blocks: Iterable[np.ndarray], num_samples: int, log_peak: float = 0.0
    ) -> Iterator[tuple[int, Window]]:
        """Cuts a recording.

        Args:
          blocks: Its samples, float32 [n] at the recipe's rate, read once.
          num_samples: Their number in all.
          log_peak: See `Window`.

        Yields:
          (T, window), in order of the start; what lies behind them is not read on.
        """
        cut, size = self.plan(num_samples)
        yield from self._at(
            cut.start_frame, cut.num_frames, size, blocks, num_samples, log_peak
        )

    def tiles(
        self, blocks: Iterable[np.ndarray], num_samples: int, size: int = 512
    ) -> Iterator[tuple[int, Window]]:
        """Windows of `size` frames, one behind the other, over the whole recording."""
        total = self.spec.num_frames(num_samples)
        start = np.arange(0, total, size)
        num = np.minimum(size, total - start)
        yield from self._at(start, num, size, blocks, num_samples, 0.0)

    def _at(self, starts, nums, size, blocks, num_samples, log_peak):
        need = online_segments.reach(self.spec, self.channels, size)
        hop = self.spec.hop_samples
        tape = _Tape(blocks)
        for start, num in zip(starts.tolist(), nums.tolist(), strict=True):
            first = (start - need.before) * hop
            values = tape.read(first, first + need.rows * hop)
            whole = (start, num, num_samples)
            yield size, Window(values, *map(np.int32, whole), np.float32(log_peak))


class _Tape:
    """Samples read forwards, of which only the last stretch is kept."""

    def __init__(self, blocks: Iterable[np.ndarray]):
        self._blocks = iter(blocks)
        self._kept = np.zeros(0, np.float32)
        self._first = 0  # place of the first kept sample

    def read(self, start: int, stop: int) -> np.ndarray:
        """Samples start ... stop - 1, zeros outside; starts must not go back."""
        parts, end = [self._kept], self._first + len(self._kept)
        while end < stop and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            end += len(block)
        kept = np.concatenate(parts) if len(parts) > 1 else self._kept
        drop = min(max(0, start - self._first), len(kept))
        self._kept, self._first = kept[drop:], self._first + drop
        out = np.zeros(stop - start, np.float32)
        at = max(0, self._first - start)
        found = self._kept[: max(0, stop - start - at)]
        out[at : at + len(found)] = found
        return out


def batches(items: Iterable[tuple[int, tuple]]) -> Iterator[tuple[int, list]]:
    """Joins neighbors of one size to lists of 1 ... 32.

    Args:
      items: (T, anything).

    Yields:
      (T, list of that).
    """
    size, batch = 0, []
    for new, item in items:
        if batch and (new != size or len(batch) == _BATCHES[-1]):
            yield size, batch
            batch = []
        size = new
        batch.append(item)
    if batch:
        yield size, batch


def stacked(windows: list[Window]) -> Window:
    """A batch, filled up with its last window to one of few sizes."""
    size = next(size for size in _BATCHES if len(windows) <= size)
    windows = windows + windows[-1:] * (size - len(windows))
    return Window(*map(np.stack, zip(*windows, strict=True)))
