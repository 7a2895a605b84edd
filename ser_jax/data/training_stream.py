"""The updates of a run: the orders of its epochs, one after the other."""

from collections.abc import Sequence

import jax
import numpy as np

from ser_jax.data import batches, step_plan
from ser_jax.data.batches import Run
from ser_jax.data.segment_tables import FrameTable


class TrainingStream:
    """The batches of a run's updates, which are counted from 0.

    Each is a function of (seed, fold, number), wherever the stream is cut.
    """

    def __init__(
        self,
        run: Run,
        table: FrameTable,
        labels: np.ndarray,
        config,
        *,
        sizes: Sequence[int],
        steps_per_epoch: int,
    ):
        """Draws nothing yet; see `batches.training_order`."""
        self._steps_per_epoch, self._sizes = steps_per_epoch, sizes
        self._source = run, table, labels, config
        self._epoch, self._order = -1, None  # the last one drawn: cuts may be short

    def cut(self, start: int, stop: int) -> step_plan.Order:
        """The batches of the updates from `start` up to `stop`."""
        steps, pieces = self._steps_per_epoch, []
        first = start // steps
        for epoch in range(first, max(-(-stop // steps), first + 1)):
            before = epoch * steps
            order = self._of_epoch(epoch)
            pieces.append(order.cut(max(start - before, 0), stop - before))
        return jax.tree.map(lambda *x: np.concatenate(x), *pieces)

    def _of_epoch(self, epoch: int) -> step_plan.Order:
        if epoch != self._epoch:
            parts = batches.training_order(
                *self._source, epoch=epoch, sizes=self._sizes
            )
            self._order = step_plan.order(parts, self._sizes, epoch=epoch)
            self._epoch = epoch
        return self._order
