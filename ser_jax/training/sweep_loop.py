"""A sweep from its points to results.json: train group by group, choose, test once.

Only `_test` reads a test part, and only with the runs that were chosen.
"""

import dataclasses
import logging
from collections.abc import Sequence

from ser_jax import clock
from ser_jax.errors import InputError
from ser_jax.scoring import summary
from ser_jax.training import (
    autotune,
    evaluation,
    hosts,
    loop,
    sweep,
    sweep_choice,
    sweep_outcome,
)
from ser_jax.training import experiment as experiment_lib
from ser_jax.training.evaluation import Tested
from ser_jax.training.experiment import Experiment
from ser_jax.training.sweep_choice import Validated
from ser_jax.training.sweep_outcome import Outcome, SweptRun
from ser_jax.training.trainer import Trainer
from ser_jax.workdir import files
from ser_jax.workdir import sweep as sweep_files
from ser_jax.workdir.workdir import Workdir

_log = logging.getLogger(__name__)


def train_and_evaluate(config, workdir: Workdir) -> dict:
    """Trains all points, tests those that validation chose; results.json's content.

    The config is checked and its sweep settled, the workdir is claimed.
    """
    hosts.agree(
        "workdir",
        (workdir.path / files.CONFIG).exists(),
        "A sweep needs a --workdir that all hosts read, a bucket or a network disk.",
    )
    groups = sweep.groups(sweep.points(config))
    for group in groups if len(groups) > 1 else ():  # before any trains for hours
        experiment = experiment_lib.prepare(group.config)
        _settle_splits(workdir, evaluation.splits(experiment), group)
    outcomes, earlier, experiments = [], {}, {}
    for group in groups:
        outcome = _outcome(workdir, group)
        title = f"group {group.number + 1} of {len(groups)}"
        if outcome:
            _log.info("%s has trained.", title.capitalize())
            earlier = outcome.seconds  # of the groups before it, too
        else:
            folder = Workdir(sweep_files.group_folder(workdir.path, group.number))
            if not folder.has_checkpoint():  # which would know of them as well
                clock.current().add(earlier)
            # One experiment is kept, for its tests: each may fill the memory.
            earlier, experiments = {}, {}
            experiments = _train_group(config, workdir, folder, group, title)
            outcome = _outcome(workdir, group)
        outcomes.append(outcome)
    clock.current().add(earlier)
    return _finish(config, workdir, outcomes, experiments)


def _outcome(workdir: Workdir, group: sweep.Group) -> Outcome | None:
    """A group's outcome, on all hosts once the first one has written it."""
    ended = hosts.share(sweep_outcome.has_ended(workdir, group))[0]
    return sweep_outcome.read(workdir, group) if ended else None


def evaluate(config, workdir: Workdir) -> dict:
    """Repeats the choice and the tests of the chosen; results.json's content.

    Raises:
      InputError: The sweep has not ended.
    """
    groups = sweep.groups(sweep.points(config))
    outcomes = [_outcome(workdir, group) for group in groups]
    if None in outcomes:
        raise InputError(
            f"Expected a finished sweep; group {outcomes.index(None) + 1} of "
            f"{len(groups)} in {workdir.path} has not ended. Repeat the training "
            "command: it goes on from there."
        )
    clock.current().add(outcomes[-1].seconds)
    return _finish(config, workdir, outcomes, {})


def _train_group(config, workdir: Workdir, folder: Workdir, group, title: str) -> dict:
    """Trains a group in its folder; its experiment by its number."""
    experiment = experiment_lib.prepare(group.config)
    splits = evaluation.splits(experiment)
    if hosts.is_first():
        _settle_splits(workdir, splits, group)
        folder.settle_splits(splits)
    hosts.check_same_corpus(splits)
    trainer = Trainer(group.config, sweep.spread(experiment, group))
    autotune.tune(trainer, folder)
    # With the sweep in it: it holds more than one model.
    meta = loop.checkpoint_meta(group.config, experiment) | {"config": config.to_dict()}
    snapshot = loop.train_runs(folder, trainer, meta, f"{title}: ")
    runs = [
        (run.point.number, run.fold.name, run.fold.seed)
        for run in trainer.experiment.runs
    ]
    if hosts.is_first():
        sweep_outcome.write(folder, runs, snapshot.records, clock.current().seconds())
    return {group.number: experiment}


def _settle_splits(workdir: Workdir, splits: dict, group: sweep.Group) -> None:
    """Writes splits.json, which all groups must have in common, or raises InputError."""
    if not group.number:
        workdir.settle_splits(splits)
        return
    try:
        workdir.check_splits(splits)
    except InputError as error:
        raise InputError(
            "sweep: expected points that use the same utterances in the same folds; got "
            f"others of {sweep.told(group.points[0].values)} than of the first point. "
            "Train such workdirs one by one, or restore the corpus if it has changed."
        ) from error


def _finish(config, workdir: Workdir, outcomes: Sequence[Outcome], known: dict) -> dict:
    """Chooses by validation, keeps the chosen runs, and tests them.

    `known` are experiments by the number of their group; others are prepared.
    """
    points = {x.number: x for outcome in outcomes for x in outcome.group.points}
    folds = files.read_json(workdir.path / files.SPLITS)["folds"]
    about = [(fold["name"], fold["seed"], fold["test"]) for fold in folds]
    names = [(fold, seed) for fold, seed, _ in about]
    parts = dict(zip(names, sweep_choice.parts(about), strict=True))
    validated = [
        Validated(parts[fold, seed], point, record)
        for outcome in outcomes
        for (point, fold, seed), record in outcome.records.items()
    ]
    chosen = sweep_choice.choose(validated)
    runs = [(chosen[parts[name]], *name) for name in names]
    tested, experiments = [], {}
    for outcome in outcomes:
        if own := outcome.chosen(runs):
            number = outcome.group.number
            experiment = known.get(number) or experiment_lib.prepare(
                outcome.group.config
            )
            workdir.check_splits(evaluation.splits(experiment))
            experiments[number] = experiment
            tested.append(_test(outcome, experiment, own))
    kept = [points[number] for number in sorted(set(chosen.values()))]
    if hosts.is_first():
        _keep(workdir, outcomes, kept, runs, experiments)
    joined = _joined(tested, runs)
    experiment = next(iter(experiments.values()))
    scores = summary.summarise(joined.lines, joined.records, experiment.classes)
    table = sweep_choice.table(config.train, points.values(), validated, chosen)
    table["one_network"] = sweep.are_one_network(kept)
    with clock.part("evaluation"):
        return evaluation.write(
            config, workdir, experiment, joined, scores | {"sweep": table}
        )


@clock.part("evaluation")
def _test(outcome: Outcome, experiment: Experiment, runs: Sequence[SweptRun]) -> Tested:
    """Tests some runs of a group."""
    order = list(outcome.records)
    places = [order.index(run) for run in runs]
    whole = sweep.spread(experiment, outcome.group)
    trainer = Trainer(outcome.group.config, sweep.take(whole, places))
    autotune.tune(trainer, outcome.folder, may_measure=False)
    kept, _ = outcome.cut(runs)
    like = trainer.initial_snapshot().with_arrays(kept.arrays())
    snapshot = dataclasses.replace(like, records=kept.records)
    return evaluation.test(outcome.group.config, trainer, snapshot)


def _keep(workdir: Workdir, outcomes, chosen, runs, experiments: dict) -> None:
    """Keeps the chosen runs as a model; where networks differ, each chosen point's."""
    sweep_outcome.keep_metrics(workdir, outcomes, runs)
    if sweep.are_one_network(chosen):
        experiment = next(iter(experiments.values()))
        meta = loop.checkpoint_meta(chosen[0].config, experiment)
        sweep_outcome.keep_model(workdir, outcomes, runs, meta)
        return
    for point in chosen:
        outcome = next(x for x in outcomes if point in x.group.points)
        experiment = experiments[outcome.group.number]
        splits = evaluation.splits(experiment)
        meta = loop.checkpoint_meta(point.config, experiment)
        sweep_outcome.keep_point(workdir, outcome, point, splits, meta)


def _joined(tested: Sequence[Tested], runs: Sequence[SweptRun]) -> Tested:
    """What several groups answered, in the order of the runs."""
    place = {run[1:]: number for number, run in enumerate(runs)}

    def lines(name: str) -> list:
        found = (line for one in tested for line in getattr(one, name))
        return sorted(found, key=lambda line: place[line.fold, line.seed])

    records = (record for one in tested for record in one.records)
    return Tested(
        lines=lines("lines"),
        validated=lines("validated"),
        records=sorted(records, key=lambda x: place[x["fold"], x["seed"]]),
        frames=tested[0].frames,
        probe=tested[0].probe if len(tested) == 1 else None,  # of one kind of network
    )
