import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax.features import offline, online, vtlp
from ser_jax.features.spec import RECIPES
from tests.features.vtlp_test import copies

# Around one window, one hop and silence; 1 and 401 samples are edge cases of framing.
LENGTHS = np.array([5000, 1, 399, 401, 6400, 3999], np.int32)
compiled = jax.jit(online.features, static_argnums=2)


def speechlike(num_samples, seed):
    """Noise whose level swings by 60 dB, with a stretch of digital silence."""
    generator = np.random.default_rng(seed)
    level = 10 ** (-3 * np.sin(np.arange(num_samples) / 900 + seed) ** 2)
    noise = 0.1 * level * generator.standard_normal(num_samples)
    noise[num_samples // 2 : num_samples // 2 + 300] = 0.0
    return noise.astype(np.float32)


def batch(padding=57, seed=3):
    """Recordings and what they look like in one array, garbage behind each."""
    waves = [speechlike(n, seed) for seed, n in enumerate(LENGTHS)]
    garbage = np.random.default_rng(seed).standard_normal(
        (len(waves), LENGTHS.max() + padding)
    )
    samples = garbage.astype(np.float32)
    for row, wave in zip(samples, waves, strict=True):
        row[: len(wave)] = wave
    return waves, samples


def assert_close(got, expected, spec):
    """Equal to 1e-4, as far as float32 can tell.

    MFCC are sums of 128 values in dB: they reach 1000. A bin of a spectrogram that lies
    50 dB and more below its frame is what is left of larger numbers.
    """
    if spec.kind == "spectrogram":
        got, expected = got[..., 0], expected[..., 0]
        loud = expected > expected.max(axis=-1, keepdims=True) - 5.0
        got, expected = got[loud], expected[loud]
    atol = 1e-3 if spec.kind == "mfcc" else 1e-4
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_equals_the_builders_features(recipe):
    spec = RECIPES[recipe]
    waves, samples = batch()
    alpha = np.array([0.8, 0.9, 1.0, 1.1, 1.2, 1.0], np.float32)
    frames, mask = compiled(samples, LENGTHS, spec, alpha)
    total = spec.num_frames(samples.shape[1])
    assert frames.shape == (6, total, spec.num_bands, spec.num_channels)
    for i, wave in enumerate(waves):
        expected = copies(wave, spec, alpha[i : i + 1])[0]
        if alpha[i] == 1:
            expected = offline.features(wave, spec)
        np.testing.assert_array_equal(mask[i], np.arange(total) < len(expected))
        assert_close(np.asarray(frames[i, : len(expected)]), expected, spec)
        assert not frames[i, len(expected) :].any()


@pytest.mark.parametrize("recipe", ["logmel40_3d", "mfcc26"])
def test_neither_padding_nor_neighbours_change_a_recording(recipe):
    spec = RECIPES[recipe]
    # The same sums in other blocks; MFCC, which reach 1000, to 1e-6 of that.
    close = functools.partial(
        np.testing.assert_allclose, atol=1e-3 if spec.kind == "mfcc" else 2e-5
    )
    whole, mask = compiled(batch(57, seed=3)[1], LENGTHS, spec)
    longer, longer_mask = compiled(batch(2311, seed=4)[1], LENGTHS, spec)
    for i in range(len(LENGTHS)):
        close(whole[i][mask[i]], longer[i][longer_mask[i]])


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_traced_filterbank_is_the_builders(recipe):
    spec = RECIPES[recipe]
    factors = np.linspace(0.7, 1.4, 15, dtype=np.float32)
    got = jax.jit(jax.vmap(lambda a: online.warped_filterbank(spec, a)))(factors)
    # A spectrogram's weights are the fraction of places among hundreds of bins.
    atol = 2e-5 if spec.kind == "spectrogram" else 1e-6
    for bank, alpha in zip(got, factors, strict=True):
        expected = vtlp.warped_filterbank(spec, float(alpha))
        np.testing.assert_allclose(bank, expected, atol=atol)


@pytest.mark.parametrize("recipe", ["logmel40_3d", "logmel64"])
def test_gradients_follow_differences_and_spare_padding(recipe):
    spec = RECIPES[recipe]
    lengths = np.array([2000, 1300])
    generator = np.random.default_rng(0)
    samples, way = 0.1 * generator.standard_normal((2, 2, 2100), dtype=np.float32)
    samples[0, 400:1200] = way[0, 400:1200] = 0.0  # silence, too, is finite
    weight = generator.standard_normal(
        (2, spec.num_frames(2100), spec.num_bands, spec.num_channels)
    )

    def loss(samples, alpha):
        frames, _ = online.features(samples, lengths, spec, alpha)
        return jnp.mean(weight * frames)

    alpha = np.array([0.9, 1.1], np.float32)
    by_samples, by_alpha = jax.jit(jax.grad(loss, argnums=(0, 1)))(samples, alpha)
    assert np.isfinite(by_samples).all() and np.isfinite(by_alpha).all()
    assert not by_samples[1, 1300:].any() and by_samples[1, :1300].any()
    step = 1e-2
    f = jax.jit(loss)
    slope = (f(samples + step * way, alpha) - f(samples - step * way, alpha)) / step / 2
    # The difference is taken in float32.
    assert slope == pytest.approx(float(np.sum(by_samples * way)), rel=0.05, abs=1e-4)


@pytest.mark.parametrize("recipe", ["logmel40_3d", "mfcc26"])
def test_one_exported_program_takes_any_batch_and_length(recipe):
    spec = RECIPES[recipe]
    num, length = jax.export.symbolic_shape("B, N")
    program = jax.export.export(jax.jit(lambda s, n: online.features(s, n, spec)))(
        jax.ShapeDtypeStruct((num, length), jnp.float32),
        jax.ShapeDtypeStruct((num,), jnp.int32),
    )
    for padding, skip in ((0, 0), (900, 2)):
        waves, samples = batch(padding)
        frames, mask = program.call(samples[skip:], LENGTHS[skip:])
        for i, wave in enumerate(waves[skip:]):
            assert_close(
                np.asarray(frames[i][mask[i]]), offline.features(wave, spec), spec
            )


@pytest.mark.parametrize("name", RECIPES)
def test_power_without_an_fft_is_the_same(name):
    spec = RECIPES[name]
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((2, 5, spec.win_samples)).astype(np.float32)
    by_fft = online.power(frames, spec)
    by_products = online.power(frames, spec, fft=False)
    largest = by_fft.max()
    # 2048 float32 products in a row; each rounds to 6e-8 of its term.
    np.testing.assert_allclose(by_products, by_fft, atol=1e-6 * largest)
