"""What a training writes while it runs: metrics.jsonl, TensorBoard events, checkpoints.

The first host writes, in a thread, while the devices go on. In order: a checkpoint is
written after the lines that lead up to it, which a resumed training does not repeat.
"""

import copy
import dataclasses
from collections.abc import Callable

from ser_jax import clock
from ser_jax.background import Background
from ser_jax.training import hosts
from ser_jax.training.tensorboard import EventLog
from ser_jax.training.trainer import Trainer
from ser_jax.workdir import files, metrics_log
from ser_jax.workdir.checkpoint import Checkpointer, Snapshot
from ser_jax.workdir.workdir import Workdir


class Journal:
    """The files of one training.

    What cannot be written raises InputError at the next call.
    """

    def __init__(
        self,
        workdir: Workdir,
        trainer: Trainer,
        checkpointer: Checkpointer,
        start: Snapshot,
    ):
        """Goes on at the snapshot `start`: forgets the lines of a process that was
        killed after it.
        """
        self._trainer, self._checkpointer = trainer, checkpointer
        self._metrics = workdir.path / files.METRICS
        axis = "update" if trainer.config.train.validate_updates else "epoch"
        self._events = EventLog(workdir.path / files.TENSORBOARD, axis)
        self._writing = Background(limit=2)  # lines, and the checkpoint after them
        if hosts.is_first():
            metrics_log.truncate(self._metrics, _epochs(trainer, start))

    def add(self, rows: list[dict]) -> None:
        """Adds a validation's lines."""

        def write():
            metrics_log.append(self._metrics, rows)
            self._events.write(rows)

        self._do(write)

    def save(self, snapshot: Snapshot) -> None:
        """Starts a checkpoint of what the trainer holds now; all hosts call it."""
        with clock.part("checkpoints"):
            snapshot.states = self._trainer.placement.collect(self._trainer.states)
            snapshot.totals = self._trainer.placement.collect(self._trainer.totals)
            snapshot.seconds = clock.current().seconds()
        constants = self._trainer.experiment.constants
        normalisation = {"mean": constants.mean, "std": constants.std}
        # Arrays of a snapshot are replaced, its records change.
        records = copy.deepcopy(snapshot.records)
        saved = dataclasses.replace(snapshot, records=records)

        def write():
            self._events.flush()  # a resumed training logs only what comes after
            self._checkpointer.save(saved, normalisation=normalisation)

        self._do(write)

    @clock.part("checkpoints")
    def close(self) -> None:
        """Waits until all is written, but for what Orbax does in threads of its own."""
        try:
            self._writing.close()
        finally:
            self._events.close()

    @clock.part("checkpoints")
    def _do(self, job: Callable[[], None]) -> None:
        if hosts.is_first():
            self._writing.do(job)


def _epochs(trainer: Trainer, start: Snapshot) -> dict:
    """Epochs of each run at a snapshot, by what names it in a line."""
    return {
        (run.fold.seed, run.fold.name, run.point and run.point.number): record.epochs
        for run, record in zip(trainer.experiment.runs, start.records, strict=True)
    }
