"""What a training writes, beside the device's work."""

import threading
import types

import numpy as np
import pytest

from ser_jax import clock
from ser_jax.errors import InputError
from ser_jax.training.journal import Journal
from ser_jax.training.trainer import Trainer
from ser_jax.workdir import metrics_log
from ser_jax.workdir.checkpoint import Checkpointer, RunRecord, Snapshot
from ser_jax.workdir.workdir import Workdir

ROW = {"epoch": 1, "fold": "one", "seed": 3, "val_ua": 0.5}
RUN = types.SimpleNamespace(fold=types.SimpleNamespace(seed=3, name="one"), point=None)


def trainer_of_one_run() -> Trainer:
    """Its run has made two of its three steps."""
    trainer = object.__new__(Trainer)
    made = types.SimpleNamespace
    trainer.config = made(train=made(validate_updates=0))
    constants = made(mean=np.zeros(2), std=np.ones(2))
    trainer.experiment = made(runs=[RUN], constants=constants)
    trainer.placement = made(collect=np.concatenate)
    trainer.states = trainer.totals = [np.array([2.0])]
    return trainer


class Slow(Checkpointer):
    """Waits before it looks at what it is to save."""

    def __init__(self, workdir):
        self.workdir, self.may_go, self.saved = workdir, threading.Event(), []

    def save(self, snapshot, *, normalisation):
        assert self.may_go.wait(30)
        lines = metrics_log.read(self.workdir.path / "metrics.jsonl")
        updates = [record.updates for record in snapshot.records]
        self.saved.append((lines, updates, snapshot.states.tolist()))


@pytest.fixture
def opened(tmp_path):
    """A new journal, what saves for it, and the training's snapshot."""
    workdir = Workdir(tmp_path)
    record = RunRecord(steps_per_epoch=3, updates=3)
    snapshot = Snapshot(states=None, best={}, totals=None, records=[record])
    checkpointer = Slow(workdir)
    journal = Journal(workdir, trainer_of_one_run(), checkpointer, snapshot)
    with clock.running():
        yield journal, checkpointer, snapshot


def test_training_goes_on_while_a_checkpoint_is_written(opened):
    """It gets the lines before it, and the records as they were when it was asked."""
    journal, checkpointer, snapshot = opened
    journal.add([ROW])
    journal.save(snapshot)
    snapshot.records[0].updates = 6
    journal.add([ROW | {"epoch": 2}])
    assert checkpointer.saved == []
    checkpointer.may_go.set()
    journal.close()
    assert checkpointer.saved == [([ROW], [3], [2.0])]
    assert len(metrics_log.read(checkpointer.workdir.path / "metrics.jsonl")) == 2


def test_what_a_killed_process_wrote_after_its_checkpoint_is_forgotten(
    opened, tmp_path
):
    path = tmp_path / "metrics.jsonl"
    first, checkpointer, snapshot = opened
    for epoch in (1, 2, 3):
        first.add([ROW | {"epoch": epoch}])
    first.close()
    assert len(metrics_log.read(path)) == 3
    Journal(Workdir(tmp_path), trainer_of_one_run(), checkpointer, snapshot).close()
    assert metrics_log.read(path) == [ROW]


def test_a_full_disk_ends_the_training_without_a_checkpoint_that_lacks_lines(
    opened, monkeypatch
):
    journal, checkpointer, snapshot = opened
    checkpointer.may_go.set()

    def refuse(*_):
        raise InputError("cannot write: No space left on device.")

    monkeypatch.setattr(metrics_log, "append", refuse)
    with pytest.raises(InputError, match="No space"):
        journal.add([ROW])
        journal.save(snapshot)
        journal.close()
    assert checkpointer.saved == []


def test_events_reach_the_disk_with_the_checkpoint(opened, tmp_path):
    journal, checkpointer, snapshot = opened
    journal.add([ROW])
    sizes = []

    def save(*_, **__):
        files = (tmp_path / "tensorboard").rglob("events*")
        sizes.extend(path.stat().st_size for path in files)

    checkpointer.save = save
    journal.save(snapshot)
    journal.close()
    assert len(sizes) == 1 and sizes[0] > 0
