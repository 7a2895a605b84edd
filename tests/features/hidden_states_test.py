"""Frames of hidden states: which steps they are means of, and that none sees another."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.encoders import load, pooling
from ser_jax.encoders.spec import read_spec
from ser_jax.errors import InputError
from ser_jax.features import hidden_states, recipe
from ser_jax.features.recipe import PIECE_SAMPLES, StatesSpec
from tests import encoder_folder

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def spec(once):
    folder = once("encoder", encoder_folder.write)
    return StatesSpec(read_spec(str(folder)), "d1", (0, 1, 2), 4)


@pytest.fixture(scope="module")
def reader(spec):
    return hidden_states.StateReader(spec)


def noise(seconds, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(seconds * RATE_HZ))).astype(np.float32)


def test_a_frame_is_the_mean_of_its_steps(spec, reader):
    samples = noise(0.55)
    (frames,) = reader([samples])
    encoder = load.load(spec.encoder.name)
    states, steps = encoder(
        jnp.array(samples[None]), jnp.array([len(samples)]), spec.layers
    )
    states = np.asarray(states)[:, 0, : int(steps[0])]
    expected = [
        states[:, at : at + 4].mean(axis=1) for at in range(0, len(states[0]), 4)
    ]
    assert states.shape[1] % 4  # the last one has fewer
    assert frames.shape == (len(expected), 3, 24) and frames.dtype == np.float16
    # float16 keeps 11 bits of values of up to 4.
    np.testing.assert_allclose(frames, expected, atol=3e-3)


def test_recordings_that_share_a_call_do_not_see_each_other(reader):
    recordings = [noise(s, seed) for seed, s in enumerate((0.3, 0.9, 0.31, 2.0, 0.02))]
    together = reader(recordings)
    for samples, frames in zip(recordings, together, strict=True):
        assert len(frames) == reader.spec.num_frames(len(samples))
        np.testing.assert_allclose(frames, reader([samples])[0], atol=4e-3)


def test_long_recordings_are_pieces_one_after_the_other(reader):
    samples = noise(PIECE_SAMPLES / RATE_HZ + 0.7)
    (whole,) = reader([samples])
    parts = reader([samples[:PIECE_SAMPLES], samples[PIECE_SAMPLES:]])
    assert len(whole) == reader.spec.num_frames(len(samples)) == sum(map(len, parts))
    np.testing.assert_allclose(whole, np.concatenate(parts), atol=4e-3)


@pytest.mark.parametrize("num", [1, 319, 6400, PIECE_SAMPLES, PIECE_SAMPLES + 1])
def test_frames_are_counted_alike_for_numbers_and_arrays(spec, num):
    frames = spec.num_frames(num)
    assert frames >= 1
    assert spec.num_frames(np.array([num, num])).tolist() == [frames, frames]
    if num == PIECE_SAMPLES + 1:
        assert frames == spec.num_frames(PIECE_SAMPLES) + 1


def test_a_faster_copy_keeps_the_number_of_frames(reader):
    samples = noise(0.83)
    plain, slow, fast = reader([samples] * 3, [1.0, 0.8, 1.3])
    assert plain.shape == slow.shape == fast.shape
    assert np.abs(plain - slow).max() > 0.1 and np.abs(plain - fast).max() > 0.1


@pytest.mark.parametrize("steps", [7, 10, 13])
def test_means_at_another_speed_cover_the_same_share_of_the_steps(steps):
    values = np.random.default_rng(steps).normal(size=steps).astype(np.float32)
    states = np.zeros((1, 1, 16, 1), np.float32)
    states[0, 0, :steps, 0] = values
    heard, as_it_was = jnp.array([steps]), jnp.array([10])
    got = pooling.means(jnp.array(states), heard, as_it_was, 4, 4)[0, :, 0, 0]
    tenths = np.repeat(values, 10)  # steps 0-4, 4-8 and 8-10 of 10, in tenths of these
    expected = [
        tenths[a * steps : b * steps].mean() for a, b in ((0, 4), (4, 8), (8, 10))
    ]
    np.testing.assert_allclose(got, [*expected, 0], atol=1e-6)


def test_a_traced_recording_has_the_same_frames(spec, reader):
    encoder = load.load(spec.encoder.name)
    traced = jax.jit(functools.partial(hidden_states.traced, encoder, spec))
    recordings = [noise(seconds) for seconds in (0.4, 3.5, 24.3)]  # sizes, two pieces
    for samples, expected in zip(recordings, reader(recordings), strict=True):
        padded = np.ones(len(recordings[-1]) + 5000, np.float32)
        padded[: len(samples)] = samples
        got = traced(jnp.array(padded), jnp.int32(len(samples)))
        np.testing.assert_allclose(got[: len(expected)], expected, atol=4e-3)


def test_names_tell_states_apart(spec):
    changes = ({"layers": (0, 1)}, {"pool_steps": 5}, {"digest": "d2"})
    others = [dataclasses.replace(spec, **change).name for change in changes]
    assert len({spec.name, *others}) == 4


def test_layers_that_are_not_there_are_refused(tones, datasets, spec):
    config = encoder_folder.tiny_config(tones, datasets, spec.encoder.name)
    for layers in ((3,), (-1,), (1, 1)):
        config.encoder.layers = layers
        with pytest.raises(InputError, match="of 0 to 2"):
            recipe.recipe_of(config)
    config.encoder.layers = ()
    assert recipe.recipe_of(config).layers == (0, 1, 2)


def test_parameters_of_the_encoder_are_those_of_the_file(spec):
    """Nothing random is left of how it was made."""
    one, two = (nnx.state(load.load(spec.encoder.name), nnx.Param) for _ in range(2))
    for a, b in zip(*(nnx.to_flat_state(x) for x in (one, two)), strict=True):
        np.testing.assert_array_equal(a[1][...], b[1][...])
