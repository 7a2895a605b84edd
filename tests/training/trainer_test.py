"""The real training step on the mesh: no run talks to another."""

import re
import types

import jax
import numpy as np
import pytest

from ser_jax import clock
from ser_jax.data import step_plan
from ser_jax.predict import forward
from ser_jax.scoring import voting
from ser_jax.training import compilation
from ser_jax.training import experiment as experiment_lib
from ser_jax.training.trainer import Trainer
from tests import quick_model


@pytest.fixture(params=["quick model", pytest.param("AACNN", marks=pytest.mark.slow)])
def config(request, tiny_config, monkeypatch):
    if request.param == "quick model":
        quick_model.replace(monkeypatch, tiny_config.model.name)
    return tiny_config


@pytest.mark.parametrize(
    ("mode", "placement"), [("loop", "device"), ("vmap", "device"), ("loop", "host")]
)
def test_the_compiled_step_has_no_collectives(config, mode, placement):
    config.data.frames_on = placement
    config.train.devices = 5
    config.train.runs_per_device = mode
    experiment = experiment_lib.prepare(config)
    trainer = Trainer(config, experiment)
    assert trainer.placement.mesh.shape == {"run": 5, "data": 1}
    snapshot = trainer.initial_snapshot()
    planned = trainer.plan(snapshot.records)
    compiled = trainer.lowered(next(trainer.calls(planned))).compile()
    pattern = r"(?:all-reduce|all-gather|all-to-all|collective|reduce-scatter)[\w-]*\("
    assert re.findall(pattern, compiled.as_text()) == []


@pytest.mark.parametrize(
    ("mode", "devices", "folds", "steps", "frames_on"),
    [
        pytest.param("loop", 1, 5, 1, "device", marks=pytest.mark.slow),
        ("vmap", 2, 5, 4, "host"),
        # Splits batches over devices as well.
        pytest.param("map", 8, 2, 3, "device", marks=pytest.mark.slow),
    ],
)
def test_validation_finds_its_program_compiled(
    config, mode, devices, folds, steps, frames_on, caplog
):
    config.data.frames_on = frames_on
    config.train.runs_per_device, config.train.devices = mode, devices
    config.protocol.groups, config.train.steps_per_call = folds, steps
    experiment = experiment_lib.prepare(config)
    trainer = Trainer(config, experiment)
    planned = trainer.plan(trainer.initial_snapshot().records)
    trainer.train(next(trainer.calls(planned)))
    with clock.running() as running:
        compilation.watch()
        trainer.compile_prediction()
        trainer._compiled()
    assert running.counts["programs"] == len(experiment.sizes)
    weights = [state.weights for state in trainer.states]
    with jax.log_compiles(), caplog.at_level("WARNING"):
        trainer.posteriors(weights, [run.test for run in experiment.runs])
    assert "Finished XLA compilation of jit(sharded)" not in caplog.text


@pytest.mark.parametrize("rule", ["slide", "whole"])
def test_a_run_does_not_depend_on_the_runs_beside_it(config, rule):
    """The first fold's state after some steps, trained with four others and alone."""
    config.segment.rule, config.segment.buckets = rule, 2
    config.segment.window_s = 0.9
    states = []
    for keep in (slice(None), slice(1)):
        experiment = experiment_lib.prepare(config)
        object.__setattr__(experiment, "runs", experiment.runs[keep])
        constants = jax.tree.map(lambda x, keep=keep: x[keep], experiment.constants)
        object.__setattr__(experiment, "constants", constants)
        trainer = Trainer(config, experiment)
        assert len(experiment.sizes) == {"slide": 1, "whole": 2}[rule]
        planned = trainer.plan(trainer.initial_snapshot().records)
        for call in trainer.calls(planned):
            trainer.train(call)
        states.append(trainer.placement.collect(trainer.states))
    together, alone = (jax.tree.leaves(state) for state in states)
    for of_five, of_one in zip(together, alone, strict=True):
        np.testing.assert_array_equal(of_five[0], of_one[0])


@pytest.mark.parametrize(
    ("interval", "calls"), [(0, [24, 24]), (32, [32]), (33, [17, 17]), (7, [7])]
)
def test_calls_of_an_accelerator_end_at_a_validation(monkeypatch, interval, calls):
    """As many steps as 32 and the interval allow; one epoch is 40 to 48 steps."""
    trainer = object.__new__(Trainer)
    train = types.SimpleNamespace(
        steps_per_call=0, validate_updates=interval, batch_size=8
    )
    trainer.config = types.SimpleNamespace(train=train)
    trainer.experiment = types.SimpleNamespace(sizes=(5,), runs=[None] * 2)
    trainer.feeder = types.SimpleNamespace(steps_per_call=lambda most, *_: most)
    trainer._steps_per_epoch = [40, 48]
    gpu = types.SimpleNamespace(platform="gpu")
    monkeypatch.setattr(jax, "devices", lambda: [gpu])
    per_call = trainer._choose_steps_per_call()
    planned = step_plan.StepPlan(
        np.zeros((1, interval or 48, 2)), np.zeros(interval or 48)
    )
    assert [x.shape[1] for _, _, x in planned.calls(per_call)] == calls


@pytest.mark.parametrize("mode", [pytest.param("loop", marks=pytest.mark.slow), "vmap"])
def test_steps_that_only_fill_a_call_predict_nothing(config, mode):
    """As many forward passes as the test parts fill batches of 8, at most 5 of 9."""
    config.train.runs_per_device, config.train.devices = mode, 1
    config.train.steps_per_call, config.train.eval_batch_size = 9, 8
    experiment = experiment_lib.prepare(config)
    trainer = Trainer(config, experiment)
    passes = []

    def answer(model, batch):
        jax.debug.callback(lambda: passes.append(1))
        return forward.posteriors(model, batch)

    size = experiment.sizes[-1]
    compiled = trainer.placement.compile(trainer._prediction_steps(size, answer))
    weights = [state.weights for state in trainer.states]
    tested = [run.test for run in experiment.runs]
    counted = trainer._by_utterance({size: compiled}, weights, tested, voting.vote)
    jax.effects_barrier()
    filled = [-(-len(part.utterance) // 8) for part in tested]
    # A step of all runs under `vmap` counts once.
    expected = sum(filled) if mode == "loop" else max(filled)
    assert 0 < max(filled) < 6 and len(passes) == expected
    config.train.steps_per_call = 1
    one_by_one = Trainer(config, experiment).posteriors(weights, tested)
    for got, expected in zip(counted, one_by_one, strict=True):
        # Another program: sums in another order.
        np.testing.assert_allclose(got, expected, atol=1e-6)
