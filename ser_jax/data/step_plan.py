"""The steps of all runs at once: who takes which batch when."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from ser_jax.data.batches import Index


class Order(NamedTuple):
    """Batches of one run, in the order in which it takes them."""

    index: Index  # arrays [N, B]
    window_frames: np.ndarray  # int [N], frames to which a batch's segments are padded
    rank: np.ndarray  # float [N], ascending; where runs share one, they go together

    def cut(self, start: int, stop: int) -> "Order":
        """The batches from `start` up to `stop`."""
        return jax.tree.map(lambda x: x[start:stop], self)


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """S steps of R runs; every step reads segments of one size."""

    index: Index  # arrays [R, S, B]; weight 0 where a run waits for the others
    window_frames: np.ndarray  # int [S], frames to which a step's segments are padded

    @property
    def steps(self) -> int:
        """S."""
        return len(self.window_frames)

    def calls(self, size: int) -> Iterator[tuple[int, int, Index]]:
        """Cuts the steps into calls of `size`, the last one filled up.

        If segments differ in size, `size` must be 1. Yields the number of the first
        step, the frames of its segments, and arrays [R, size, B].
        """

        def cut(array):
            piece = array[:, first : first + size]
            return np.pad(piece, ((0, 0), (0, size - piece.shape[1]), (0, 0)))

        for first in range(0, self.steps, size):
            yield first, int(self.window_frames[first]), jax.tree.map(cut, self.index)


def order(parts: Sequence[Index], sizes: Sequence[int], *, epoch: int = 0) -> Order:
    """Joins a run's batches of all buckets, whose frames are `sizes`.

    Several buckets are mixed by a draw that depends on the epoch, the bucket and the
    batch's number in it alone: it is the same for all runs.
    """
    steps = [len(part.start) for part in parts]
    drawn = [
        np.random.default_rng([epoch, bucket]).random(number)
        if len(sizes) > 1
        else np.arange(number) / number
        for bucket, number in enumerate(steps)
    ]
    drawn = np.concatenate(drawn)
    place = np.argsort(drawn, kind="stable")
    index = jax.tree.map(lambda *x: np.concatenate(x)[place], *parts)
    return Order(index, np.repeat(sizes, steps)[place], epoch + drawn[place])


def together(orders: Sequence[Order | None]) -> StepPlan:
    """One plan for all runs, each of which keeps its own order.

    A step is of the size of the batch that ranks first; runs whose next batch has another
    one wait. With one size nobody waits before its own end. A run that takes no part is
    None.
    """
    present = [x for x in orders if x is not None]
    lengths = np.array([0 if x is None else len(x.window_frames) for x in orders])
    place, taken, sizes = np.zeros_like(lengths), [], []
    while (left := lengths - place).any():
        wanted, rank = np.full(len(orders), -1), np.full(len(orders), np.inf)
        for run in np.flatnonzero(left):
            wanted[run] = orders[run].window_frames[place[run]]
            rank[run] = orders[run].rank[place[run]]
        sizes.append(wanted[rank.argmin()])
        takes = wanted == sizes[-1]
        taken.append(np.where(takes, place, -1))
        place = place + takes
    rows = np.array(taken, int).reshape(-1, len(orders)).T  # [R, S], -1 where it waits
    nothing = present[0].cut(0, 0)
    parts = [
        jax.tree.map(lambda x, row=row: _blank_last(x)[row], (one or nothing).index)
        for one, row in zip(orders, rows, strict=True)
    ]
    return StepPlan(jax.tree.map(lambda *x: np.stack(x), *parts), np.array(sizes, int))


def _blank_last(array: np.ndarray) -> np.ndarray:
    """Adds a batch of zeros, which is number -1."""
    return np.pad(array, ((0, 1), (0, 0)))
