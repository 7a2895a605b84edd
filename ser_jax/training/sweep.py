"""Sweeps: which points there are, and which of them one program trains.

A point is one value for each swept key. Points that differ only in numbers which the
compiled step can take as arguments (`SHARED`) are runs of one program, one more axis
beside folds and seeds. Any other difference (shapes, data, what Python branches on) starts
a group of its own, with its own data, program and checkpoints.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ser_jax.data.batches import Run
from ser_jax.errors import InputError
from ser_jax.training.experiment import Experiment
from ser_jax.workdir.config import MAY_CHANGE, flatten

# Numbers from which a run gets the same bits as an argument as it does as constants of a
# program of its own: rates of `layers.dropout.Dropout`, and what only multiplies. Others
# enter as 1 - x, which Python takes in double precision (`beta1`, `label_smoothing`), or
# XLA contracts them otherwise (`l2`, `ema_decay`, `squared_error_weight`: 1e-7 apart after
# 20 steps). They start groups; so does 0 where it means off, which is other code.
SHARED = (
    "model.conv_dropout",
    "model.dropout",
    "model.head_dropout",
    "train.center_rate",
    "train.center_weight",
    "train.decay_rate",
    "train.grad_clip_norm",
    "train.learning_rate",
    "train.weight_decay",
)
SWEPT_GROUPS = ("augment", "data", "encoder", "model", "segment", "train")
# They choose utterances or classes, so that points would be tested on different things; or
# results are stamped with them (what was read of the tested corpora, which words).
_FIXED = """
    data.corpora data.corpus data.demo_seed data.demo_turns data.duplicates
    data.keep_silent data.label_map data.label_maps data.manifest data.merge_spellings
    data.min_duration_s data.normalize data.recognizer data.root data.strict data.taxonomy
    data.text encoder.digest model.name train.first_rung train.halving train.per_class
    train.sampling
"""


@dataclasses.dataclass(frozen=True)
class Point:
    """One value for each swept key."""

    number: int  # in the order of the table, from 0
    values: Mapping[str, Any]  # by key
    config: ConfigDict  # that trains it alone


@dataclasses.dataclass(frozen=True)
class Group:
    """Points that one program trains."""

    number: int
    points: tuple[Point, ...]

    @property
    def config(self) -> ConfigDict:
        """The first point's, that of all but for the numbers they do not share."""
        return self.points[0].config

    def numbers(self) -> dict[str, np.ndarray]:
        """By key, of each point, what the step takes as an argument, float32 [P]."""
        varied = [
            key
            for key in self.points[0].values
            if len({point.values[key] for point in self.points}) > 1
        ]
        found = {}
        for key in varied:
            values = np.array([point.values[key] for point in self.points], float)
            # What dropout keeps, as `layers.dropout` takes it.
            values = 1.0 - values if _drops(key) else values
            found[key] = values.astype(np.float32)
        return found


def settle(config) -> None:
    """Makes a dictionary in `config.sweep` pairs, for a ConfigDict copies no dots.

    Raises:
      InputError: It is no dictionary of tuples by keys that can be swept.
    """
    # A config that lacks keys is refused with all of them, in `check_config`.
    if "sweep" in config and config.sweep is not None:
        with config.ignore_type():
            config.sweep = tuple(_swept(config).items())


def points(config) -> tuple[Point, ...]:
    """Every combination of the values of a settled sweep; the last key moves fastest.

    Raises:
      InputError: A value is not of its key's type, a point comes twice, or no
        validation part chooses.
    """
    swept = dict(config.sweep)
    protocol = config.protocol
    if protocol.selection != "val" or protocol.compare_selections:
        raise InputError(
            "sweep: expected protocol.selection=val without compare_selections, for only "
            "validation may choose a point and the test part is seen once; got "
            f"{protocol.selection!r}. Set --config.protocol.selection=val and "
            "--config.protocol.validation=speaker, group or random."
        )
    found = []
    for values in itertools.product(*swept.values()):
        own = config.copy_and_resolve_references()
        with own.ignore_type():
            own.sweep = None
        chosen = dict(zip(swept, values, strict=True))
        for key, value in chosen.items():
            _set(own, key, value)
        # As the config has them: 1 becomes 1.0 where a fraction belongs.
        chosen = {key: _get(own, key) for key in chosen}
        if twice := [x.number for x in found if x.values == chosen]:
            raise InputError(
                f"sweep: expected every point once; got {told(chosen)} again, which is "
                f"point {twice[0]}. Leave a value out."
            )
        found.append(Point(len(found), chosen, own.lock()))
    return tuple(found)


def groups(of: Sequence[Point]) -> tuple[Group, ...]:
    """The points by what one program can train, in the order of their first ones."""
    alike = collections.defaultdict(list)
    for point in of:
        signature = tuple(
            (key, value == 0 if key in SHARED else repr(value))
            for key, value in point.values.items()
        )
        alike[signature].append(point)
    return tuple(Group(n, tuple(x)) for n, x in enumerate(alike.values()))


def spread(experiment: Experiment, group: Group) -> Experiment:
    """The experiment of all points of a group: point after point, all of its runs."""
    num_points, num_runs = len(group.points), len(experiment.runs)
    runs = tuple(
        dataclasses.replace(run, point=point)
        for point in group.points
        for run in experiment.runs
    )
    constants = jax.tree.map(
        lambda x: np.concatenate([x] * num_points), experiment.constants
    )
    numbers = {
        key: np.repeat(values, num_runs) for key, values in group.numbers().items()
    }
    constants = constants._replace(swept=numbers or None)
    return dataclasses.replace(experiment, runs=runs, constants=constants)


def take(experiment: Experiment, numbers: Sequence[int]) -> Experiment:
    """Some of its runs."""
    chosen = np.asarray(numbers, int)
    return dataclasses.replace(
        experiment,
        runs=tuple(experiment.runs[r] for r in numbers),
        constants=jax.tree.map(lambda x: x[chosen], experiment.constants),
    )


def config_of(config, run: Run):
    """The config that trains a run alone."""
    return run.point.config if run.point else config


def told(values: Mapping[str, Any]) -> str:
    """`train.learning_rate 0.001, model.dropout 0.3`."""
    return ", ".join(f"{key} {value}" for key, value in values.items())


def are_one_network(chosen: Sequence[Point]) -> bool:
    """Whether the points differ only in what plays no part once they are trained."""

    def network(point: Point) -> dict:
        return {
            key: value
            for key, value in flatten(point.config.to_dict()).items()
            if not key.startswith(("train.", "augment.")) and not _drops(key)
        }

    return all(network(point) == network(chosen[0]) for point in chosen)


def _drops(key: str) -> bool:
    return key.startswith("model.") and key.endswith("dropout")


def _swept(config) -> dict[str, tuple]:
    given = config.sweep
    if isinstance(given, tuple) and given and all(map(_is_pair, given)):  # as stored
        given = dict(given)
    if hasattr(given, "to_dict"):
        given = given.to_dict()
    if not isinstance(given, Mapping) or not given:
        raise InputError(
            "sweep: expected {'GROUP.KEY': (value, value), ...}; got "
            f"{given!r}. Set --config.sweep=\"{{'train.learning_rate': (1e-4, 3e-4)}}\"."
        )
    tree = {k: x for k, x in config.to_dict().items() if k != "sweep"}
    known = flatten(tree)
    for key, values in given.items():
        _check_key(key, known)
        if not isinstance(values, (tuple, list)) or not values:
            raise InputError(
                f"sweep: expected a tuple of values for {key}, as (1, 2) or (1,); got "
                f"{values!r}."
            )
    if math.prod(map(len, given.values())) < 2:
        raise InputError(f"sweep: expected two points or more; got {dict(given)!r}.")
    return {key: tuple(values) for key, values in given.items()}


def _is_pair(value) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)


def _check_key(key, known: Mapping) -> None:
    if key not in known:
        alike = [x for x in known if str(key).split(".")[-1] in x.split(".")[-1]]
        raise InputError(
            f"sweep: expected keys of the config, as {_join(alike[:3])}; got {key!r}. "
            "Every key with its meaning is in configs/base.py and the system's config."
        )
    if key.split(".")[0] not in SWEPT_GROUPS or key in _FIXED.split():
        raise InputError(
            "sweep: expected keys that leave utterances, folds, seeds and what results "
            f"are stamped with as they are; got {key}, by which points could not be compared. Train such workdirs "
            "one by one."
        )
    if key in MAY_CHANGE:
        raise InputError(
            f"sweep: expected keys that change what is learnt; got {key}, which says "
            f"where or how fast. Set --config.{key}=... beside the sweep."
        )


def _join(names: Sequence[str]) -> str:
    return ", ".join(names) or "train.learning_rate"


def _set(config, key: str, value) -> None:
    group, name = key.split(".")
    before = config[group][name]
    if isinstance(value, list):
        value = tuple(value)
    problem = isinstance(before, bool) != isinstance(value, bool)
    try:
        config[group][name] = value
    except TypeError:
        problem = True
    if problem or isinstance(value, Mapping):
        kind = type(before).__name__
        raise InputError(
            f"sweep: expected values of the type {kind} for {key}; got {value!r}."
        )


def _get(config, key: str):
    group, name = key.split(".")
    return config[group][name]
