"""The real training step on the mesh: no run talks to another."""

import re

import numpy as np
import pytest

from ser_jax.training import experiment as experiment_lib
from ser_jax.training import loop
from ser_jax.training.trainer import Trainer, chunks


@pytest.mark.parametrize("mode", ["loop", "vmap"])
def test_the_compiled_step_has_no_collectives(tiny_config, mode):
    tiny_config.train.devices = 5
    tiny_config.train.runs_per_device = mode
    experiment = experiment_lib.prepare(tiny_config)
    trainer = Trainer(tiny_config, experiment)
    assert trainer.placement.mesh.shape == {"run": 5, "data": 1}
    snapshot = trainer.initial_snapshot()
    index = loop._epoch_order(tiny_config, experiment, snapshot)
    _, chunk = next(chunks(index, 0, trainer.steps_per_call))
    compiled = trainer._train.lower(
        trainer._buffer,
        trainer.states[0],
        trainer.totals[0],
        trainer.placement.put(trainer.placement.select(chunk, 0)),
        trainer._constants[0],
    ).compile()
    pattern = r"(?:all-reduce|all-gather|all-to-all|collective|reduce-scatter)[\w-]*\("
    assert re.findall(pattern, compiled.as_text()) == []


def test_a_run_does_not_depend_on_the_runs_beside_it(tiny_config):
    """The first fold's state after two steps, trained with four others and alone."""
    states = []
    for keep in (slice(None), slice(1)):
        experiment = experiment_lib.prepare(tiny_config)
        object.__setattr__(experiment, "runs", experiment.runs[keep])
        constants = type(experiment.constants)(*(x[keep] for x in experiment.constants))
        object.__setattr__(experiment, "constants", constants)
        trainer = Trainer(tiny_config, experiment)
        index = loop._epoch_order(tiny_config, experiment, trainer.initial_snapshot())
        for first, chunk in chunks(index, 0, trainer.steps_per_call):
            if first < 2:
                trainer.train(chunk)
        states.append(trainer.placement.collect(trainer.states).params)
    together, alone = states
    np.testing.assert_array_equal(
        together["dense"]["kernel"][...][0], alone["dense"]["kernel"][...][0]
    )
