"""`augment.vtlp=online`: a warp factor per example and step, evaluation untouched."""

import functools

import jax
import numpy as np
import pytest

from ser_jax.data import segment_tables
from ser_jax.datasets import build
from ser_jax.errors import InputError
from ser_jax.training import experiment as experiment_lib
from ser_jax.training import loop
from ser_jax.training.batch import make_batch
from ser_jax.training.trainer import Trainer
from tests.training.common import posteriors_of, stop_after


@pytest.fixture
def config(quick_config):
    quick_config.augment.vtlp = "online"
    return quick_config


@pytest.mark.slow
def test_training_resumes_exactly_and_does_the_same_from_the_host(
    config, tmp_path, monkeypatch
):
    loop.train_and_evaluate(config, str(tmp_path / "a"))
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(loop.Stopped):
            loop.train_and_evaluate(config, str(tmp_path / "b"))
    loop.train_and_evaluate(config, str(tmp_path / "b"))
    whole = posteriors_of(tmp_path / "a")
    np.testing.assert_array_equal(whole, posteriors_of(tmp_path / "b"))
    config.data.frames_on = "host"
    loop.train_and_evaluate(config, str(tmp_path / "c"))
    np.testing.assert_allclose(whole, posteriors_of(tmp_path / "c"), atol=1e-5)
    config.augment.vtlp = "none"
    loop.train_and_evaluate(config, str(tmp_path / "d"))
    assert np.abs(whole - posteriors_of(tmp_path / "d")).max() > 1e-4


def test_only_training_frames_are_warped(config):
    found = {}
    for on in ("device", "host"):
        config.data.frames_on = on
        experiment = experiment_lib.prepare(config)
        trainer = Trainer(config, experiment)
        assert len(experiment.frame_table.offset) == 1  # no copies are stored
        planned = trainer.plan(trainer.initial_snapshot().records)
        _, window, index = next(planned.calls(1))
        trained, evaluated = (
            jax.tree.map(
                lambda x: x[0, 0],
                trainer.feeder.call(0, window, index, training=training).rounds[0],
            )
            for training in (True, False)
        )
        constants = jax.tree.map(lambda x: x[0], experiment.constants)
        tables = trainer.feeder.tables
        stored = make_batch(
            tables, evaluated, constants, config=config, window_frames=window
        )["frames"]

        @functools.partial(jax.jit, static_argnums=(0, 1))
        def frames(low, high, seed, given=(tables, trained, constants), window=window):
            own = config.copy_and_resolve_references()
            own.data.vtlp_low, own.data.vtlp_high = low, high
            key = jax.random.key(seed)
            return make_batch(*given, key, config=own, window_frames=window)["frames"]

        # Tones in noise, 16 bits; z-scores of 64 bands.
        np.testing.assert_allclose(frames(1.0, 1.0, 0), stored, atol=2e-3)
        drawn = [np.asarray(frames(0.8, 1.2, seed)) for seed in (0, 0, 1)]
        assert np.abs(drawn[0] - stored).max() > 0.5
        np.testing.assert_array_equal(drawn[0], drawn[1])
        assert np.abs(drawn[0] - drawn[2]).max() > 0.5
        found[on] = drawn[0]
    np.testing.assert_allclose(found["device"], found["host"], atol=1e-6)


def test_a_dataset_without_samples_is_refused(config):
    corpus = experiment_lib.store.load(build.ensure_built(config.data))
    with pytest.raises(InputError, match="expected a dataset with samples"):
        segment_tables.SampleTable.open(corpus, None, config.data, 5)
