"""The real training step on the mesh: no run talks to another."""

import re

import numpy as np
import pytest

from ser_jax.training import experiment as experiment_lib
from ser_jax.training import loop
from ser_jax.training.trainer import Trainer


@pytest.mark.parametrize(
    ("mode", "placement"),
    [
        ("loop", "device"),
        pytest.param("vmap", "device", marks=pytest.mark.slow),
        pytest.param("loop", "host", marks=pytest.mark.slow),
    ],
)
def test_the_compiled_step_has_no_collectives(tiny_config, mode, placement):
    tiny_config.data.frames_on = placement
    tiny_config.train.devices = 5
    tiny_config.train.runs_per_device = mode
    experiment = experiment_lib.prepare(tiny_config)
    trainer = Trainer(tiny_config, experiment)
    assert trainer.placement.mesh.shape == {"run": 5, "data": 1}
    snapshot = trainer.initial_snapshot()
    planned = loop.epoch_order(tiny_config, experiment, snapshot)
    compiled = trainer.lowered(next(trainer.calls(planned))).compile()
    pattern = r"(?:all-reduce|all-gather|all-to-all|collective|reduce-scatter)[\w-]*\("
    assert re.findall(pattern, compiled.as_text()) == []


@pytest.mark.parametrize("rule", ["slide", "whole"])
def test_a_run_does_not_depend_on_the_runs_beside_it(quick_config, rule):
    """The first fold's state after some steps, trained with four others and alone."""
    quick_config.segment.rule, quick_config.segment.buckets = rule, 3
    quick_config.segment.window_s = 0.9
    states = []
    for keep in (slice(None), slice(1)):
        experiment = experiment_lib.prepare(quick_config)
        object.__setattr__(experiment, "runs", experiment.runs[keep])
        constants = type(experiment.constants)(*(x[keep] for x in experiment.constants))
        object.__setattr__(experiment, "constants", constants)
        trainer = Trainer(quick_config, experiment)
        assert len(experiment.sizes) == {"slide": 1, "whole": 3}[rule]
        planned = loop.epoch_order(quick_config, experiment, trainer.initial_snapshot())
        for call in trainer.calls(planned):
            trainer.train(call)
        states.append(trainer.placement.collect(trainer.states).params)
    together, alone = states
    np.testing.assert_array_equal(
        together["dense"]["kernel"][...][0], alone["dense"]["kernel"][...][0]
    )
