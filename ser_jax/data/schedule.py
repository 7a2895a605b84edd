"""The steps of an epoch for all runs at once: which bucket comes when. NumPy only."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from ser_jax.data.batches import Index, stack_runs


@dataclasses.dataclass(frozen=True)
class Schedule:
    """S steps of R runs; every step reads windows of one size.

    Attributes:
      index: Arrays [R, S, B].
      window_frames: int [S], frames to which a step's windows are padded.
    """

    index: Index
    window_frames: np.ndarray

    @property
    def steps(self) -> int:
        """S."""
        return len(self.window_frames)


def plan(
    runs: Sequence[Sequence[Index] | None], sizes: Sequence[int], *, epoch: int = -1
) -> Schedule:
    """Joins the buckets of all runs to one sequence of steps.

    With several buckets their steps are mixed by a draw that depends on the epoch, the
    bucket and the step's number in it alone: a run sees the same order of batches
    whichever runs train beside it.

    Args:
      runs: Per run its batches per bucket; None for a run that takes no part.
      sizes: Frames of the buckets.
      epoch: Counts from 0; -1 keeps the buckets one after the other.
    """
    parts, frames, rank = [], [], []
    for bucket, size in enumerate(sizes):
        part = stack_runs([None if run is None else run[bucket] for run in runs])
        steps = part.start.shape[1]
        parts.append(part)
        frames.append(np.full(steps, size))
        drawn = np.random.default_rng([max(epoch, 0), bucket]).random(steps)
        rank.append(drawn if epoch >= 0 and len(sizes) > 1 else np.full(steps, bucket))
    order = np.argsort(np.concatenate(rank), kind="stable")
    joined = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    return Schedule(
        index=Index(*(array[:, order] for array in joined)),
        window_frames=np.concatenate(frames)[order],
    )


def chunks(
    schedule: Schedule, start: int, size: int
) -> Iterator[tuple[int, int, Index]]:
    """Cuts a schedule into calls of `size` steps, the last one filled up.

    Args:
      schedule: If its windows differ in size, `size` must be 1.
      start: First step that is wanted.
      size: Steps per call.

    Yields:
      (number of the first step, frames of the windows, arrays [R, size, B]).
    """
    for first in range(start, schedule.steps, size):
        yield first, int(schedule.window_frames[first]), _piece(schedule, first, size)


def _piece(schedule: Schedule, first: int, size: int) -> Index:
    def cut(array):
        piece = array[:, first : first + size]
        return np.pad(piece, ((0, 0), (0, size - piece.shape[1]), (0, 0)))

    return Index(*map(cut, schedule.index))
