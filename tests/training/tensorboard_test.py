"""What TensorBoard will show."""

import errno
import os

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from ser_jax.datasets import store
from ser_jax.training.tensorboard import EventLog


def events_in(folder):
    (file,) = folder.glob("events.*")
    return [Event.FromString(bytes(record)) for record in store.tfrecords(file)]


def row(fold, epoch, **values):
    return {"fold": fold, "seed": 3, "epoch": epoch, "update": 8 * epoch} | values


def test_each_run_has_its_curves_and_hides_what_is_written_again(tmp_path):
    log = EventLog(tmp_path, "epoch")
    log.write([row("a/b c", 5, loss=0.5, val_ua=0.25), row("d", 5, loss=2.0)])
    log.write([row("a/b c", 6, loss=0.125)])
    log.close()
    assert sorted(os.listdir(tmp_path)) == ["a_b_c-seed3", "d-seed3"]
    version, start, *scalars = events_in(tmp_path / "a_b_c-seed3")
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (5, SessionLog.START)
    values = [(e.step, e.summary.value[0]) for e in scalars]
    assert [(step, x.tag, x.simple_value) for step, x in values] == [
        (5, "loss", 0.5),
        (5, "val_ua", 0.25),
        (6, "loss", 0.125),
    ]


def test_validations_between_epochs_stand_at_their_update(tmp_path):
    for axis, steps in (("update", [12, 24]), ("epoch", [2, 3])):
        log = EventLog(tmp_path / axis, axis)
        for epoch in (1.5, 3):
            log.write([row("a", epoch, loss=0.5)])
        log.close()
        _, start, *scalars = events_in(tmp_path / axis / "a-seed3")
        assert start.step == steps[0] and [e.step for e in scalars] == steps


def test_a_kill_loses_nothing_that_was_flushed(tmp_path):
    """As before every checkpoint: a resumed training logs only what comes after it."""
    log = EventLog(tmp_path, "epoch")
    log.write([row("a", 1, loss=0.5)])
    log.flush()
    assert [event.step for event in events_in(tmp_path / "a-seed3")] == [0, 1, 1]
    log.close()


def test_runs_whose_names_fall_together_have_folders_of_their_own(tmp_path):
    log = EventLog(tmp_path, "epoch")
    log.write([row(x, 1, loss=0.5) for x in ("a/b", "a_b", "..", "x" * 400)])
    log.close()
    names = sorted(os.listdir(tmp_path))
    assert names == ["_.-seed3", "a_b-seed3", "a_b-seed3-1", "x" * 80 + "-seed3"]


def test_training_goes_on_without_events(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = EventLog(tmp_path, "epoch")
    log.write([row("a", 1, loss=0.5)])
    monkeypatch.setattr(EventsWriter, "write_event", refuse)
    for epoch in (2, 3):
        log.write([row("a", epoch, loss=0.5)])
    log.close()
    assert caplog.text.count(f"no more TensorBoard events in {tmp_path}: ") == 1
    assert "No space left" in caplog.text
