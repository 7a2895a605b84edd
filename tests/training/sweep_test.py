"""Sweeps: points, what shares a program, and what validation alone may choose."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import base
from ser_jax.data.batches import Run
from ser_jax.data.protocols import Fold
from ser_jax.errors import InputError
from ser_jax.features.segments import Segments
from ser_jax.layers.dropout import Dropout, set_kept
from ser_jax.training import sweep, sweep_check, sweep_choice, sweep_outcome
from ser_jax.training.sweep_choice import Validated
from ser_jax.training.sweep_outcome import Outcome
from ser_jax.workdir import sweep as sweep_files
from ser_jax.workdir.checkpoint import RunRecord
from ser_jax.workdir.workdir import Workdir


def _points(config, **swept):
    config.sweep = {key.replace("__", "."): x for key, x in swept.items()}
    sweep.settle(config)
    return sweep.points(config)


def test_points_are_all_combinations_and_the_configs_of_flags(tiny_config):
    found = _points(
        tiny_config, train__learning_rate=(1, 1e-3), segment__vote=("mean", "max")
    )
    assert [tuple(x.values.values()) for x in found] == [
        (1.0, "mean"),
        (1.0, "max"),
        (1e-3, "mean"),
        (1e-3, "max"),
    ]
    for point in found:
        tiny_config.sweep = None
        tiny_config.train.learning_rate = point.values["train.learning_rate"]
        tiny_config.segment.vote = point.values["segment.vote"]
        assert point.config.to_dict() == tiny_config.to_dict()


def test_one_program_takes_what_is_a_factor_and_on_at_all_points(tiny_config):
    found = _points(
        tiny_config,
        train__learning_rate=(1e-2, 1e-3),
        model__head_dropout=(0, 0.3, 0.5),
        segment__train_step_s=(0.1, 0.2),
    )
    groups = sweep.groups(found)
    numbers = [[point.number for point in group.points] for group in groups]
    assert numbers == [[0, 6], [1, 7], [2, 4, 8, 10], [3, 5, 9, 11]]
    assert set(groups[0].numbers()) == {"train.learning_rate"}
    shared = groups[2].numbers()
    np.testing.assert_array_equal(
        shared["train.learning_rate"], np.float32([1e-2, 1e-2, 1e-3, 1e-3])
    )
    # What is kept, of 1 - rate in double precision.
    np.testing.assert_array_equal(
        shared["model.head_dropout"], np.float32([0.7, 0.5, 0.7, 0.5])
    )


def test_shared_numbers_are_keys():
    names = [x.split(".") for x in sweep.SHARED + tuple(sweep._FIXED.split())]
    config = base.get_config()
    assert all(name in config[group] for group, name in names if group != "model")


@pytest.mark.parametrize(
    ("swept", "named"),
    [
        ({}, r"expected \{'GROUP.KEY'"),
        (3, r"expected \{'GROUP.KEY'"),
        ({"train.lr": (1, 2)}, "got 'train.lr'"),
        ({"train": (1, 2)}, "got 'train'"),
        (
            {"model.dropout": (0, 0.3)},
            "as model.attention_dropout, model.head_dropout;",
        ),
        ({"protocol.seeds": ((0,), (1,))}, "got protocol.seeds"),
        ({"data.keep_silent": (True, False)}, "got data.keep_silent"),
        ({"train.devices": (1, 2)}, "got train.devices"),
        ({"data.normalize": ("fold", "speaker")}, "stamped .* got data.normalize"),
        ({"train.learning_rate": 1e-3}, "tuple of values"),
        ({"train.learning_rate": ()}, "tuple of values"),
        ({"train.learning_rate": (1e-3,)}, "two points"),
        ({"train.learning_rate": (1e-3, "b")}, "of the type float"),
        ({"train.nesterov": (0, 1)}, "of the type bool"),
        ({"train.learning_rate": (1e-3, 0.001)}, "every point once"),
    ],
)
def test_what_cannot_be_swept_is_refused_in_a_line(tiny_config, swept, named):
    tiny_config.sweep = swept
    with pytest.raises(InputError, match=named) as refused:
        sweep.settle(tiny_config)
        sweep.points(tiny_config)
    assert "\n" not in str(refused.value)


def test_every_point_is_checked(quick_config):
    quick_config.sweep = (("train.learning_rate", (1e-3, -1.0)),)
    with pytest.raises(InputError, match="train.learning_rate -1.0: .*0 or more"):
        sweep_check.check(quick_config)
    quick_config.sweep, quick_config.train.halving = (("train.l2", (0.1, 0.2)),), 1
    with pytest.raises(InputError, match="halving.*0 .off., or 2 or more"):
        sweep_check.check(quick_config)


@pytest.mark.parametrize("selection", ["last", "test"])
def test_only_validation_chooses(tiny_config, selection):
    tiny_config.protocol.selection = selection
    with pytest.raises(InputError, match="--config.protocol.selection=val"):
        _points(tiny_config, train__learning_rate=(1e-2, 1e-3))


def test_nobody_sees_the_test_part_by_the_way(tiny_config):
    tiny_config.protocol.compare_selections = True
    with pytest.raises(InputError, match="without compare_selections"):
        _points(tiny_config, train__learning_rate=(1e-2, 1e-3))


@pytest.mark.parametrize("rate", [0.3, 0.37])
def test_a_dropout_with_a_rate_of_its_run_gives_the_same_bits(rate):
    class Model(nnx.Module):
        def __init__(self, rate):
            self.dropout = Dropout(rate)
            self.dense = nnx.Linear(7, 5, rngs=nnx.Rngs(0))

    x = jnp.asarray(np.random.default_rng(0).normal(size=(9, 7)), jnp.float32)

    def gradient(model, kept):
        graphdef, params, rest = nnx.split(model, nnx.Param, ...)

        @jax.jit
        def of(params, x, kept):
            def loss(params):
                model = nnx.merge(graphdef, params, rest, copy=True)
                model.train()
                if kept is not None:
                    set_kept(model, {"dropout": kept, "another": 0.0})
                dropped = model.dropout(x, rngs=nnx.Rngs(3))
                assert not jax.tree.leaves(nnx.state(model, nnx.Param, ...)[1])
                return jnp.sum(model.dense(dropped) ** 2), dropped

            return jax.grad(loss, has_aux=True)(params)

        return jax.tree.leaves(of(params, x, kept))

    alone = gradient(Model(rate), None)
    found = gradient(Model(0.25), np.float32(1 - rate))
    for one, other in zip(alone, found, strict=True):
        np.testing.assert_array_equal(one, other)


# What is chosen, and what goes on. --------------------------------------------------


def test_seeds_that_test_the_same_choose_together():
    assert sweep_choice.parts([("a", 0, [1, 2]), ("b", 0, [3]), ("a", 1, [1, 2])]) == [
        *("a", "b", "a")
    ]
    # Random splits: what one seed validates another one tests.
    assert sweep_choice.parts([("split", 0, [1]), ("split", 1, [2])]) == [
        *("split, seed 0", "split, seed 1")
    ]


def _record(ua, loss=1.0, **more):
    return RunRecord(steps_per_epoch=10, best_ua=ua, best_loss=loss, **more)


def test_each_fold_chooses_by_its_own_validation():
    rows = [
        *(Validated("a", 0, _record(0.9)), Validated("a", 0, _record(0.3))),
        *(Validated("a", 1, _record(0.7)), Validated("a", 1, _record(0.6))),
        *(Validated("b", 0, _record(0.5, 0.4)), Validated("b", 1, _record(0.5, 0.3))),
        *(Validated("c", 0, _record(0.5)), Validated("c", 1, _record(0.5))),
    ]
    assert sweep_choice.choose(rows) == {"a": 1, "b": 1, "c": 0}


def _swept_runs(num_points, folds=("a", "b")):
    points = [sweep.Point(n, {}, base.get_config()) for n in range(num_points)]
    folds = [Fold(name, 0, (), (), (n,)) for n, name in enumerate(folds)]
    nothing = Segments(*[np.zeros(0, np.int32)] * 4)
    return [Run(f, *[nothing] * 3, point=p) for p in points for f in folds]


def test_halving_leaves_the_better_half_at_every_rung_fold_by_fold(tiny_config):
    train = tiny_config.train
    train.epochs, train.halving, train.first_rung = 8, 2, 0.25
    runs = _swept_runs(5)
    ua = {"a": [0.1, 0.2, 0.3, 0.4, 0.5], "b": [0.5, 0.4, 0.3, 0.2, 0.1]}
    records = [_record(ua[run.fold.name][run.point.number]) for run in runs]
    left = {}
    for epoch in range(1, 9):
        for record in records:
            if record.active:
                record.updates = 10 * epoch
        sweep_choice.halve(train, runs, records)
        for fold in ("a", "b"):
            left[fold, epoch] = [
                run.point.number
                for run, record in zip(runs, records, strict=True)
                if record.active and run.fold.name == fold
            ]
    # Rungs are after 2 and 4 of 8 epochs: of 5 points 3 go on, then 2.
    assert left["a", 1] == left["b", 1] == [0, 1, 2, 3, 4]
    assert (left["a", 2], left["b", 2]) == ([2, 3, 4], [0, 1, 2])
    assert (left["a", 4], left["b", 4]) == ([3, 4], [0, 1])
    assert (left["a", 8], left["b", 8]) == ([3, 4], [0, 1])
    assert {record.halted for record in records} == {0, 20, 40}
    stopped = [record for record in records if record.halted]
    assert all(record.updates == record.halted for record in stopped)
    train.halving = 0
    fresh = [dataclasses.replace(x, active=True, halted=0) for x in records]
    sweep_choice.halve(train, runs, fresh)
    assert all(record.active for record in fresh)


def test_who_was_stopped_is_not_chosen():
    rows = [
        Validated("a", 0, _record(0.5, active=False, halted=20)),
        Validated("a", 1, _record(0.5)),
    ]
    assert sweep_choice.choose(rows) == {"a": 1}


def test_a_point_that_was_stopped_in_some_fold_is_no_workdir_to_predict_from(tmp_path):
    records = {(0, "s1", 0): RunRecord(), (0, "s2", 0): RunRecord(halted=3)}
    point = sweep.Point(0, {}, base.get_config())
    outcome = Outcome(sweep.Group(0, (point,)), Workdir(tmp_path), records, {})
    sweep_outcome.keep_point(Workdir(tmp_path), outcome, point, {}, {})
    assert not (tmp_path / "points").exists()


def test_a_sweep_that_trained_nothing_leaves_the_workdir_to_others(tmp_path):
    folder = sweep_files.group_folder(Workdir(tmp_path).path, 0)
    folder.mkdir(parents=True)
    assert not Workdir(tmp_path).has_checkpoint()
    (folder / "checkpoints" / "0").mkdir(parents=True)
    assert Workdir(tmp_path).has_checkpoint()
