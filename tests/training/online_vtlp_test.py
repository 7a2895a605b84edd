"""`augment.vtlp=online`: a warp factor per example and step, evaluation untouched."""

import functools

import jax
import numpy as np
import pytest

from ser_jax.data import build, samples
from ser_jax.errors import InputError
from ser_jax.training import experiment as experiment_lib
from ser_jax.training import loop
from ser_jax.training import step as step_lib
from ser_jax.training.trainer import Trainer


@pytest.fixture
def config(tiny_config):
    tiny_config.augment.vtlp = "online"
    return tiny_config


def started(config):
    """A trainer and the calls of the first epoch, one step each."""
    experiment = experiment_lib.prepare(config)
    trainer = Trainer(config, experiment)
    planned = loop._epoch_order(config, experiment, trainer.initial_snapshot())
    return trainer, [call[1:] for call in loop.schedule.chunks(planned, 0, 1)]


def test_a_resumed_training_draws_the_same_factors(config):
    trainer, calls = started(config)
    assert len(trainer.experiment.buffer.offset) == 1  # no copies are stored
    for window, index in calls[:2]:
        trainer.train(index, window)
    half = trainer.placement.collect(trainer.states)
    snapshot = trainer.initial_snapshot()._replace(states=half)
    ends = []
    for _ in range(2):
        trainer.load(snapshot)
        trainer.train(calls[2][1], calls[2][0])
        ends.append(trainer.placement.collect(trainer.states).params)
    same, other = [jax.tree.leaves(x) for x in ends], snapshot.states.step.copy()
    for a, b in zip(*same, strict=True):
        np.testing.assert_array_equal(a, b)
    # Another number of the step draws other factors (and masks of dropout).
    trainer.load(snapshot._replace(states=half._replace(step=other + 1)))
    trainer.train(calls[2][1], calls[2][0])
    moved = jax.tree.leaves(trainer.placement.collect(trainer.states).params)
    assert any((a != b).any() for a, b in zip(same[0], moved, strict=True))


def test_only_training_frames_are_warped(config):
    found = {}
    for on in ("device", "host"):
        config.data.frames_on = on
        trainer, calls = started(config)
        window, index = calls[0]
        part = jax.tree.map(lambda x: x[0, 0], trainer.feeder.chunk(index, window)[0])
        constants = jax.tree.map(lambda x: x[0], trainer.experiment.constants)
        tables = trainer.feeder.tables
        batch = jax.jit(lambda t, p, c: trainer._batch(t, p, c, window))(
            tables, part, constants
        )

        @functools.partial(jax.jit, static_argnums=(0, 1))
        def frames(low, high, seed, batch=batch, part=part, constants=constants):
            own = config.copy_and_resolve_references()
            own.data.vtlp_low, own.data.vtlp_high = low, high
            key = jax.random.key(seed)
            return step_lib.warped(batch, constants, part.index, own, key)["frames"]

        # Tones in noise, 16 bits; z-scores of 64 bands.
        np.testing.assert_allclose(frames(1.0, 1.0, 0), batch["frames"], atol=2e-3)
        drawn = [np.asarray(frames(0.8, 1.2, seed)) for seed in (0, 0, 1)]
        assert np.abs(drawn[0] - batch["frames"]).max() > 0.5
        np.testing.assert_array_equal(drawn[0], drawn[1])
        assert np.abs(drawn[0] - drawn[2]).max() > 0.5
        found[on] = drawn[0]
    np.testing.assert_allclose(found["device"], found["host"], atol=1e-6)


def test_a_dataset_without_samples_is_refused(config):
    corpus = experiment_lib.store.load(build.ensure_built(config.data))
    with pytest.raises(InputError, match="expected a dataset with samples"):
        samples.SampleBuffer.open(corpus, None, config.data)
