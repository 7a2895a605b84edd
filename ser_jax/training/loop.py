"""The main path: train every fold x seed together, then evaluate. Reads top-down.

This file drives: it says what happens when, and keeps the workdir. The `Trainer` is
what it drives: the arrays of all runs on the devices and the functions compiled for them.
"""

import contextlib
import itertools
import logging
import time
from collections.abc import Iterable, Iterator

import jax
import numpy as np
from tqdm import tqdm

from ser_jax import bucket, clock
from ser_jax.errors import InputError
from ser_jax.features import recipe
from ser_jax.training import (
    autotune,
    compilation,
    evaluation,
    hosts,
    lengths,
    selection,
    stop_signals,
    sweep,
    sweep_check,
    sweep_choice,
)
from ser_jax.training import experiment as experiment_lib
from ser_jax.training.journal import Journal
from ser_jax.training.trainer import Trainer
from ser_jax.workdir import files, provenance
from ser_jax.workdir.checkpoint import Checkpointer, Snapshot
from ser_jax.workdir.config import as_config, with_absolute_paths, with_corpus_at
from ser_jax.workdir.lock import lock
from ser_jax.workdir.workdir import Workdir

_log = logging.getLogger(__name__)


class Stopped(Exception):
    """SIGTERM or Ctrl-C came; everything is saved."""


@clock.running()
def train_and_evaluate(config, workdir_path: str) -> dict:
    """Does the whole job and returns results.json's content.

    Repeating the call resumes where the last one was stopped or killed; a complete
    workdir (a folder, local or in a bucket) is only read. The config is a locked one
    made from `configs/base.py`. On several hosts all call it, and the first one writes;
    of a complete workdir a host that does not reach it returns {}.

    Raises:
      InputError: The config, the corpus or the workdir cannot be used.
      HostLost: Another host failed, or died.
      Stopped: A signal asked to stop; the state is saved.
    """
    compilation.watch()
    with clock.part(clock.START):
        sweep.settle(config)
        sweep_check.check(config)
        config = with_absolute_paths(config)
        config = recipe.with_digest(config)
        workdir = Workdir(workdir_path)
    with _lock(workdir):
        return _train_and_evaluate(config, workdir)


def build(config, beam: str = "") -> list[str]:
    """Builds what a training would read, unless it is there; its folders.

    There is one, or of a sweep one for each of its datasets. `beam` are options of Apache
    Beam, `name=value,...`; empty = on this machine.

    Raises:
      InputError: The config, the options or the corpus cannot be used.
    """
    sweep.settle(config)
    sweep_check.check(config)
    config = recipe.with_digest(with_absolute_paths(config))
    configs = [config]
    if config.sweep is not None:
        configs = [group.config for group in sweep.groups(sweep.points(config))]
    folders = (experiment_lib.ensure_built(one, beam) for one in configs)
    return list(dict.fromkeys(folders))


def _lock(workdir: Workdir):
    return lock(workdir.path) if hosts.is_first() else contextlib.nullcontext()


def _train_and_evaluate(config, workdir: Workdir) -> dict:
    if hosts.is_first():
        workdir.claim(config.to_dict())
    hosts.check_same_config(config)
    if hosts.share(workdir.is_complete())[0]:
        _log.info("%s is complete; nothing to train.", workdir.path)
        path = workdir.path / files.RESULTS
        return files.read_json(path) if path.exists() else {}
    if config.sweep is not None:
        from ser_jax.training import sweep_loop  # which drives `train_runs`

        return sweep_loop.train_and_evaluate(config, workdir)
    trainer = _make_trainer(config, workdir)
    meta = checkpoint_meta(config, trainer.experiment)
    snapshot = train_runs(workdir, trainer, meta)
    return evaluation.evaluate(config, workdir, trainer, snapshot)


def train_runs(workdir: Workdir, trainer: Trainer, meta: dict, title="") -> Snapshot:
    """Trains all runs of a trainer, or goes on with them; where they ended.

    `meta` is `checkpoint_meta`; `title` stands before what the progress bar says.
    """
    config = trainer.config
    checkpointer = Checkpointer(workdir.path, provenance=meta)
    try:
        snapshot = _restore(checkpointer, trainer)
        if snapshot:
            _log.info("Resuming after %s.", _trained(config, snapshot))
            clock.current().add(snapshot.seconds)
        snapshot = snapshot or trainer.initial_snapshot()
        _train(workdir, trainer, checkpointer, snapshot, title)
    finally:
        checkpointer.close()
    return snapshot


@clock.running()
def evaluate(workdir_path: str, data: str = "") -> dict:
    """Repeats the evaluation of a trained workdir from its checkpoint.

    `data` is the manifest or folder of the corpus, if it has moved.
    """
    compilation.watch()
    with clock.part(clock.START):
        workdir = Workdir(workdir_path, create=False)
        config = with_corpus_at(as_config(workdir.read_config()), data)
        sweep_check.check(config, str(workdir.path))
    with _lock(workdir):
        return _evaluate(config, workdir)


def _evaluate(config, workdir: Workdir) -> dict:
    if config.sweep is not None:
        from ser_jax.training import sweep_loop

        return sweep_loop.evaluate(config, workdir)
    if not workdir.has_checkpoint():
        raise InputError(
            f"Expected a checkpoint in {workdir.path / 'checkpoints'}; there is none. "
            "Train first: python run.py --config=... --workdir=..."
        )
    trainer = _make_trainer(config, workdir, may_measure=False)
    checkpointer = Checkpointer(workdir.path, provenance={})
    snapshot = _restore(checkpointer, trainer)
    checkpointer.close()
    if not _has_ended(config, snapshot):
        raise InputError(
            f"Expected a finished training; {workdir.path} stopped after "
            f"{_trained(config, snapshot)}. Repeat the training command: it goes on "
            "from there."
        )
    clock.current().add(snapshot.seconds)
    return evaluation.evaluate(config, workdir, trainer, snapshot)


def _restore(checkpointer: Checkpointer, trainer: Trainer) -> Snapshot | None:
    """The newest checkpoint, the same one on all hosts."""
    with hosts.first_before_others():  # it removes what is torn
        snapshot = checkpointer.restore(trainer.initial_snapshot())
    hosts.agree(
        "checkpoint",
        snapshot and [snapshot.position, snapshot.seconds],
        "Take a --workdir that all hosts read, a bucket or a network disk.",
    )
    return snapshot


def _make_trainer(config, workdir: Workdir, *, may_measure: bool = True) -> Trainer:
    experiment = experiment_lib.prepare(config)
    splits = evaluation.splits(experiment)
    if hosts.is_first():
        workdir.settle_splits(splits)
    hosts.check_same_corpus(splits)
    trainer = Trainer(config, experiment)
    autotune.tune(trainer, workdir, may_measure=may_measure)
    return trainer


def _train(workdir, trainer: Trainer, checkpointer, snapshot, title: str) -> None:
    """Trains until all runs have ended.

    `snapshot` moves with the validations; its states only where it is saved.
    """
    config = trainer.config
    trainer.load(snapshot)
    journal = Journal(workdir, trainer, checkpointer, snapshot)
    bar = _progress_bar(trainer, snapshot, title)
    with contextlib.closing(journal), bar, stop_signals.heeded() as stop:
        while not _has_ended(config, snapshot):
            started = time.monotonic()
            _go_on(trainer, snapshot, workdir, bar, stop)
            if stop["agreed"]:
                # A NaN must not get into the checkpoint that a resumed run starts from.
                selection.check_finite(trainer, snapshot)
                journal.save(snapshot)
                raise Stopped(
                    f"Stopped by {stop['agreed']} in epoch {_epoch_of(trainer)}; saved. "
                    "Repeat the same command to go on."
                )
            before = [record.updates for record in snapshot.records]
            rows = selection.validate(config, trainer, snapshot)
            sweep_choice.halve(config.train, trainer.experiment.runs, snapshot.records)
            seconds = time.monotonic() - started
            journal.add([row | {"seconds": round(seconds, 3)} for row in rows])
            _describe(bar, snapshot)
            due = lengths.checkpoint_is_due(config.train, before, snapshot.records)
            if due or _has_ended(config, snapshot):
                journal.save(snapshot)
        # What follows may be hours of a sweep's next group.
        if came := next(filter(None, hosts.share(stop["signal"])), ""):
            raise Stopped(
                f"Stopped by {came} at the end of the training; saved. Repeat the same "
                "command to go on."
            )


def _calls(trainer: Trainer, plan, workdir):
    """A plan call by call; traced is a process's first."""
    calls = trainer.calls(plan)
    if "first_step" in clock.current().first or not hosts.is_first():
        return calls  # a process writes one trace, one process of a job
    num_calls = -(-trainer.config.train.profile_steps // trainer.steps_per_call)
    return traced(calls, num_calls, workdir.path / files.PROFILE)


def traced(calls: Iterable, num_calls: int, folder) -> Iterator:
    """Passes calls on; writes a trace of `num_calls` to `folder`/plugins/profile.

    A call has to be finished before the next one is taken.
    """
    calls = iter(calls)
    if num_calls:
        yield from itertools.islice(calls, 1)  # compiles, which would fill the trace
        with bucket.written_locally(folder) as place, jax.profiler.trace(place):
            yield from itertools.islice(calls, num_calls)
    yield from calls


@clock.part("training")
def _go_on(trainer: Trainer, snapshot: Snapshot, workdir, bar, stop) -> None:
    """Trains up to the next validation, or until a signal came."""
    done = trainer.updates_done()
    if done.tolist() == [record.updates for record in snapshot.records]:
        trainer.totals = trainer.placement.scatter(trainer.initial_snapshot().totals)
    plan = trainer.plan(snapshot.records, done)
    takes = plan.index.weight.any(axis=2)  # [R, S]
    furthest = (done[:, None] + takes.cumsum(axis=1)).max(axis=0)
    for call in _calls(trainer, plan, workdir):
        with clock.first("first_step"):
            trainer.train(call)
            # The host must not run ahead: a signal is answered after this call.
            jax.block_until_ready(trainer.totals)
        trainer.compile_prediction()
        last = min(call.first_step + trainer.steps_per_call, plan.steps) - 1
        bar.update(int(furthest[last]) - bar.n)
        # One host's signal stops all after the same call.
        stop["agreed"] = next(filter(None, hosts.share(stop["signal"])), "")
        if stop["agreed"]:
            break


def _epoch_of(trainer: Trainer) -> int:
    """The epoch, from 1, in which the last update of the furthest run was."""
    steps = trainer.experiment.constants.steps_per_epoch
    return int(max((trainer.updates_done() - 1) // steps)) + 1


def _has_ended(config, snapshot: Snapshot) -> bool:
    return all(lengths.has_ended(config.train, x) for x in snapshot.records)


def _trained(config, snapshot: Snapshot) -> str:
    return provenance.trained(config.train, snapshot.position)


def checkpoint_meta(config, experiment) -> dict:
    """What every checkpoint says of itself, see `Checkpointer`."""
    return {
        "config": config.to_dict(),
        "input_shapes": experiment.input_shapes,
        **evaluation.splits(experiment),
        "versions": provenance.versions(),
        "git_commit": provenance.git_commit(),
    }


def _progress_bar(trainer: Trainer, snapshot: Snapshot, title: str) -> tqdm:
    steps = int(max(trainer.experiment.constants.steps_per_epoch))
    bar = tqdm(
        total=lengths.in_updates(trainer.config.train, "updates", steps),
        initial=int(max(trainer.updates_done())),
        desc=f"{title}training {len(snapshot.records)} runs",
        unit="update",
        dynamic_ncols=True,
        smoothing=0.05,
        **({} if hosts.is_first() else {"disable": True}),
    )
    _describe(bar, snapshot)
    return bar


def _describe(bar: tqdm, snapshot: Snapshot) -> None:
    scored = [record for record in snapshot.records if record.ua >= 0]
    ua = ""
    if scored:
        now, best = np.mean([(x.ua, x.best_ua) for x in scored], axis=0)
        ua = f", UA {now:.3f} (best {best:.3f})"
    bar.set_postfix_str(f"epoch {snapshot.position['epoch']:.4g}{ua}")
