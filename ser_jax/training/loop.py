"""The main path: train every fold x seed together, then evaluate. Reads top-down."""

import contextlib
import logging
import signal
import time

import jax
import numpy as np
from tqdm import tqdm

from ser_jax.data import batches, schedule
from ser_jax.errors import InputError
from ser_jax.evaluation import results
from ser_jax.training import experiment as experiment_lib
from ser_jax.training import outcome, selection
from ser_jax.training.check import check_config
from ser_jax.training.checkpoint import Checkpointer, Snapshot
from ser_jax.training.events import EventLog
from ser_jax.training.trainer import Trainer
from ser_jax.training.workdir import Workdir, command_line, git_commit, versions

_log = logging.getLogger(__name__)


class Stopped(Exception):
    """SIGTERM or Ctrl-C came; everything is saved."""


def train_and_evaluate(config, workdir_path: str) -> dict:
    """Does the whole job and returns results.json's content.

    Repeating the call resumes where the last one was stopped or killed; a complete
    workdir is only read.

    Args:
      config: A locked config made from `configs/base.py`.
      workdir_path: Local folder or `gs://` path.

    Raises:
      InputError: The config, the corpus or the workdir cannot be used.
      Stopped: A signal asked to stop; the state is saved.
    """
    check_config(config)
    workdir = Workdir(workdir_path)
    workdir.claim(config.to_dict(), command_line())
    if workdir.is_complete():
        _log.info("%s is complete; nothing to train.", workdir.path)
        return results.read_json(workdir.path / "results.json")
    clock = {"start": time.monotonic()}
    experiment = experiment_lib.prepare(config)
    outcome.settle_splits(workdir, experiment)
    clock["prepared"] = time.monotonic()

    trainer = Trainer(config, experiment)
    checkpointer = Checkpointer(
        workdir.path, provenance=_provenance(config, experiment)
    )
    try:
        snapshot = checkpointer.restore(trainer.initial_snapshot())
        if snapshot:
            _log.info(
                "Resuming after epoch %d, step %d.", snapshot.epoch, snapshot.step
            )
        snapshot = snapshot or trainer.initial_snapshot()
        snapshot = _train(config, workdir, trainer, checkpointer, snapshot)
    finally:
        checkpointer.close()
    clock["trained"] = time.monotonic()
    seconds = {
        "data": clock["prepared"] - clock["start"],
        "train": snapshot.train_seconds,
    }
    return outcome.evaluate(config, workdir, trainer, snapshot, seconds)


def evaluate(workdir_path: str) -> dict:
    """Repeats the evaluation of a trained workdir from its checkpoint."""
    workdir = Workdir(workdir_path, create=False)
    config = outcome.stored_config(workdir)
    _check_stored(config, workdir)
    if not workdir.has_checkpoint():
        raise InputError(
            f"Expected a checkpoint in {workdir.path / 'checkpoints'}; there is none. "
            "Train first: python run.py --config=... --workdir=..."
        )
    start = time.monotonic()
    experiment = experiment_lib.prepare(config)
    outcome.settle_splits(workdir, experiment)
    prepared = time.monotonic()
    trainer = Trainer(config, experiment)
    checkpointer = Checkpointer(workdir.path, provenance={})
    snapshot = checkpointer.restore(trainer.initial_snapshot())
    checkpointer.close()
    if snapshot.epoch < config.train.epochs and _any_active(snapshot):
        raise InputError(
            f"Expected a finished training; {workdir.path} stopped after epoch "
            f"{snapshot.epoch} of {config.train.epochs}. Repeat the training command: "
            "it goes on from there."
        )
    seconds = {"data": prepared - start, "train": snapshot.train_seconds}
    return outcome.evaluate(config, workdir, trainer, snapshot, seconds)


def _check_stored(config, workdir: Workdir) -> None:
    try:
        check_config(config)
    except (AttributeError, KeyError) as error:
        raise InputError(
            f"{workdir.path} was trained by an earlier version, whose config lacks a key "
            f"of this one: {error}. Use that version (git_commit in its results.json) or "
            "train again in a new --workdir."
        ) from error


def _train(config, workdir, trainer, checkpointer, snapshot: Snapshot) -> Snapshot:
    """Trains until the last epoch or until every run has stopped early."""
    experiment = trainer.experiment
    constants = experiment.constants
    normalisation = {"mean": constants.mean, "std": constants.std}
    trainer.load(snapshot)
    workdir.keep_metrics(snapshot.epoch)
    events = EventLog(workdir.path / "tensorboard", experiment.runs, snapshot.epoch)
    whole_epoch = _epoch_order(config, experiment, trainer.initial_snapshot())
    bar = _progress_bar(config, experiment, snapshot, whole_epoch.steps)
    with contextlib.closing(events), bar, _stop_signals() as stop:
        while snapshot.epoch < config.train.epochs and _any_active(snapshot):
            started = time.monotonic()
            planned = _epoch_order(config, experiment, snapshot)
            snapshot.step = _epoch(trainer, planned, snapshot, bar, stop)
            if stop["signal"]:
                selection.check_finite(trainer, snapshot.epoch + 1)
                snapshot.train_seconds += time.monotonic() - started
                _save(trainer, checkpointer, snapshot, normalisation)
                raise Stopped(
                    f"Stopped by {stop['signal']} in epoch {snapshot.epoch + 1}; saved. "
                    "Repeat the same command to go on."
                )
            rows = selection.close_epoch(config, trainer, snapshot)
            seconds = time.monotonic() - started
            snapshot.train_seconds += seconds
            rows = [row | {"seconds": round(seconds, 3)} for row in rows]
            workdir.append_metrics(rows)
            events.write(rows)
            _describe(bar, snapshot)
            if _save_is_due(config, snapshot):
                _save(trainer, checkpointer, snapshot, normalisation)
    return snapshot


def _epoch_order(config, experiment, snapshot: Snapshot) -> schedule.Schedule:
    """The batches of the coming epoch; runs that stopped early get none."""
    orders = [
        batches.training_order(
            run,
            experiment.buffer,
            experiment.labels,
            config,
            epoch=snapshot.epoch,
            sizes=experiment.sizes,
        )
        if record.active
        else None
        for run, record in zip(experiment.runs, snapshot.records, strict=True)
    ]
    return schedule.plan(orders, experiment.sizes, epoch=snapshot.epoch)


def _epoch(trainer: Trainer, planned, snapshot: Snapshot, bar, stop) -> int:
    """Trains the rest of an epoch; returns the step reached."""
    if snapshot.step == 0:
        trainer.start_epoch()
    reached = snapshot.step
    size = trainer.steps_per_call
    for first, frames, chunk in schedule.chunks(planned, reached, size):
        trainer.train(chunk, frames)
        jax.block_until_ready(trainer.totals)
        done = min(first + size, planned.steps)
        bar.update(done - reached)
        reached = done
        if stop["signal"]:
            break
    return reached


def _save(trainer, checkpointer, snapshot: Snapshot, normalisation) -> None:
    snapshot.states = trainer.placement.collect(trainer.states)
    snapshot.totals = trainer.placement.collect(trainer.totals)
    checkpointer.save(snapshot, normalisation=normalisation)


def _save_is_due(config, snapshot: Snapshot) -> bool:
    ended = snapshot.epoch == config.train.epochs or not _any_active(snapshot)
    return ended or snapshot.epoch % config.train.checkpoint_epochs == 0


def _any_active(snapshot: Snapshot) -> bool:
    return any(record.active for record in snapshot.records)


def _provenance(config, experiment) -> dict:
    return {
        "config": config.to_dict(),
        **outcome.splits(experiment),
        "versions": versions(),
        "git_commit": git_commit(),
    }


def _progress_bar(config, experiment, snapshot: Snapshot, steps: int) -> tqdm:
    bar = tqdm(
        total=config.train.epochs * steps,
        initial=snapshot.epoch * steps + snapshot.step,
        desc=f"training {len(experiment.runs)} runs",
        unit="step",
        dynamic_ncols=True,
        smoothing=0.05,
    )
    _describe(bar, snapshot)
    return bar


def _describe(bar: tqdm, snapshot: Snapshot) -> None:
    now = [record.ua for record in snapshot.records if record.ua >= 0]
    best = [record.best_ua for record in snapshot.records if record.ua >= 0]
    ua = f", UA {np.mean(now):.3f} (best {np.mean(best):.3f})" if now else ""
    bar.set_postfix_str(f"epoch {snapshot.epoch}{ua}")


@contextlib.contextmanager
def _stop_signals():
    """Turns SIGTERM and Ctrl-C into a flag read between steps; a second one kills."""
    stop = {"signal": ""}

    def note(number, _frame):
        stop["signal"] = signal.Signals(number).name
        signal.signal(number, signal.SIG_DFL)

    try:
        before = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread: the host program handles signals
        before = {}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
