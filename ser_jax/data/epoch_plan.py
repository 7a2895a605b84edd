"""The steps of an epoch for all runs at once: which bucket comes when."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from ser_jax.data.batches import Index


@dataclasses.dataclass(frozen=True)
class EpochPlan:
    """S steps of R runs; every step reads segments of one size."""

    index: Index  # arrays [R, S, B]
    window_frames: np.ndarray  # int [S], frames to which a step's segments are padded

    @property
    def steps(self) -> int:
        """S."""
        return len(self.window_frames)

    def calls(self, start: int, size: int) -> Iterator[tuple[int, int, Index]]:
        """Cuts the steps from `start` on into calls of `size`, the last one filled up.

        If segments differ in size, `size` must be 1. Yields the number of the first
        step, the frames of its segments, and arrays [R, size, B].
        """

        def cut(array):
            piece = array[:, first : first + size]
            return np.pad(piece, ((0, 0), (0, size - piece.shape[1]), (0, 0)))

        for first in range(start, self.steps, size):
            yield first, int(self.window_frames[first]), jax.tree.map(cut, self.index)


def make_plan(
    runs: Sequence[Sequence[Index] | None], sizes: Sequence[int], *, epoch: int = -1
) -> EpochPlan:
    """Joins the batches of all runs, per bucket, to one sequence of steps.

    With several buckets their steps are mixed by a draw that depends on the epoch, the
    bucket and the step's number in it alone: a run sees the same order of batches
    whichever runs train beside it. Epoch -1 keeps the buckets one after the other.
    A run that takes no part is None; `sizes` are the buckets' frames.
    """
    parts, frames, rank = [], [], []
    for bucket, size in enumerate(sizes):
        part = _stack([None if run is None else run[bucket] for run in runs])
        steps = part.start.shape[1]
        parts.append(part)
        frames.append(np.full(steps, size))
        drawn = np.random.default_rng([max(epoch, 0), bucket]).random(steps)
        rank.append(drawn if epoch >= 0 and len(sizes) > 1 else np.full(steps, bucket))
    order = np.argsort(np.concatenate(rank), kind="stable")
    index = jax.tree.map(lambda *x: np.concatenate(x, axis=1)[:, order], *parts)
    return EpochPlan(index, np.concatenate(frames)[order])


def _stack(indices: Sequence[Index | None]) -> Index:
    """Stacks the runs' batches to [R, S, B]; shorter and absent runs get weight 0."""
    present = [x for x in indices if x is not None]
    steps = max(len(x.start) for x in present)
    blank = jax.tree.map(lambda x: x[:0], present[0])

    def stack(*arrays: np.ndarray) -> np.ndarray:
        return np.stack([np.pad(x, ((0, steps - len(x)), (0, 0))) for x in arrays])

    return jax.tree.map(stack, *(blank if x is None else x for x in indices))
