"""The family against NumPy; padding, precision and memory options; refusals."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.encoders.relative_position import buckets, position_bias
from ser_jax.encoders.spec import read_spec
from ser_jax.encoders.wav2vec2_config import Wav2Vec2Config
from ser_jax.encoders.wav2vec2_front import normalized_wave
from ser_jax.errors import InputError
from tests.encoders import tiny_wav2vec2 as tiny
from tests.encoders.common import (
    assert_gradients_close,
    batch,
    gradients,
    run,
    speech,
)
from tests.reference import wav2vec2 as reference

# Float32 after some hundred operations, states of size 1 to 10.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
# A loss is the sum of its products with the states of two utterances, 9 steps long.
PROBE = np.random.default_rng(4).normal(size=(3, 2, 9, 24)).astype(np.float32)


@pytest.mark.parametrize("variant", tiny.VARIANTS)
def test_states_are_those_of_the_formulas(variant):
    config = tiny.config_of(variant)
    tensors = tiny.tensors(config)
    wave = speech(2900)  # 9 steps and a rest
    states, steps = run(tiny.encoder(config, tensors), [wave])
    assert states.shape == (3, 1, 9, 24) and steps.tolist() == [9]
    expected = reference.states(tensors, config, wave)
    np.testing.assert_allclose(states[:, 0], expected, **CLOSE)


@pytest.mark.parametrize("variant", ["hubert-batch-norm", "wavlm-stable"])
def test_a_padded_utterance_is_what_it_is_alone(variant):
    config = tiny.config_of(variant, num_hidden_layers=1)
    tensors = tiny.tensors(config)
    short, full = speech(1900, 1), speech(2900, 2)
    encoder = tiny.encoder(config, tensors, normalize=True)
    alone, expected = gradients(encoder, [short], PROBE[:2, :1])
    assert alone.shape == (2, 1, 5, 24)
    # Only the padded utterance counts, and its padding is worth nothing; nor does it
    # matter that the layers are computed again.
    probe = PROBE[:2] * np.array([[1.0], [0.0]], np.float32)[..., None]
    lean = tiny.encoder(config, tensors, normalize=True, remat=True)
    states, grads = gradients(lean, [short, full], probe, filling=np.nan)
    np.testing.assert_allclose(states[:, 0, :5], alone[:, 0], **CLOSE)
    assert np.all(states[:, 0, 5:] == 0) and np.all(states[:, 1] != 0)
    assert_gradients_close(grads, expected)


def test_a_short_utterance_is_lengthened_with_zeros():
    config = tiny.config_of("wav2vec2")
    tensors = tiny.tensors(config)
    wave = speech(300)
    states, steps = run(tiny.encoder(config, tensors), [wave, wave[:0]])
    assert steps.tolist() == [1, 1] and np.all(np.isfinite(states))
    expected = reference.states(tensors, config, np.pad(wave, (0, 11)))
    np.testing.assert_allclose(states[:, 0], expected, **CLOSE)


def test_layers_above_the_highest_are_not_computed():
    config = tiny.config_of("wavlm-stable")
    tensors, wave = tiny.tensors(config), speech(1900)
    expected = reference.states(tensors, config, wave)
    for name in tensors:
        if name.startswith("encoder.layers.1."):
            tensors[name][:] = np.nan
    encoder = tiny.encoder(config, tensors)
    states, _ = run(encoder, [wave], layers=(1, 0))
    np.testing.assert_allclose(states[:, 0], expected[[1, 0]], **CLOSE)

    def products(layers):
        # Before compilation, which drops what no result depends on.
        jaxpr = jax.make_jaxpr(lambda: encoder(*batch([wave]), layers))()
        return str(jaxpr).count("dot_general")

    layer = products((1,)) - products((0,))
    assert products((2, 0)) - products((0,)) == 2 * layer > 0
    with pytest.raises(ValueError, match=r"layers: expected some of 0 to 2, got \(3,"):
        products((3,))


def test_convolutions_and_layers_are_computed_again():
    config = tiny.config_of("wavlm")
    tensors = tiny.tensors(config)

    def count(**options):
        encoder = tiny.encoder(config, tensors, **options)
        jaxpr = jax.make_jaxpr(lambda: encoder(*batch([speech(1900)])))()
        return len(re.findall(r"= (?:remat2|checkpoint)\[", str(jaxpr)))

    assert count() == 0 and count(remat=True) == 4


def test_bfloat16_is_close():
    config = tiny.config_of("wavlm")
    tensors, wave = tiny.tensors(config), speech(1900)
    encoder = tiny.encoder(config, tensors, dtype=jnp.bfloat16)
    states, _ = run(encoder, [wave])
    assert states.dtype == jnp.bfloat16
    dtypes = {x.dtype for x in jax.tree.leaves(nnx.state(encoder))}
    assert dtypes == {jnp.dtype("float32")}
    # Three digits a rounding, some dozens of roundings.
    expected = reference.states(tensors, config, wave)
    error = np.abs(np.asarray(states[:, 0], np.float32) - expected)
    assert error.mean() < 0.02 * np.abs(expected).mean()


def test_waves_are_normalized_over_their_own_samples():
    waves = [5 + 3 * speech(40), speech(70, 1)]
    *got, nothing = normalized_wave(*batch([*waves, waves[0][:0]], filling=np.nan))
    assert np.all(nothing == 0)
    for row, wave in zip(got, waves, strict=True):
        expected = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        np.testing.assert_allclose(row[: len(wave)], expected, rtol=1e-4, atol=1e-5)
        assert np.all(row[len(wave) :] == 0)


@pytest.mark.parametrize(
    ("variant", "preprocessor", "normalizes"),
    [
        ("wav2vec2", {"do_normalize": True}, True),
        ("wav2vec2-stable", {"do_normalize": False}, False),
        ("wav2vec2", {}, True),  # the published class's default
        ("wav2vec2", None, False),
        ("wav2vec2-stable", None, True),
    ],
)
def test_whether_waves_are_normalized(variant, preprocessor, normalizes):
    config = Wav2Vec2Config.of(tiny.config_of(variant), preprocessor)
    assert config.normalize_wave is normalizes


def test_steps_are_the_convolutions_lengths(tmp_path):
    config = tiny.config_of("hubert")
    (tmp_path / "config.json").write_text(json.dumps(config))
    spec = read_spec(str(tmp_path))
    assert spec.window_samples == 311
    counts = np.array([0, 310, 311, 630, 631, 16_000, 160_001])
    expected = np.maximum(counts, 311)
    for kernel, stride in zip(
        config["conv_kernel"], config["conv_stride"], strict=True
    ):
        expected = (expected - kernel) // stride + 1
    np.testing.assert_array_equal(spec.num_steps(counts), expected)


def test_buckets_are_single_steps_then_octaves():
    config = {"num_buckets": 320, "max_bucket_distance": 800}
    found = buckets(np.arange(-1000, 1001), 320, 800)
    expected = [reference.bucket(d, config) for d in range(-1000, 1001)]
    np.testing.assert_array_equal(found, expected)
    assert found[1000] == 0 and found[999] == 1 and found[1001] == 161


def test_the_bias_of_a_key_is_that_of_its_distance():
    table = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    bias = position_bias(jnp.asarray(table), 11, 6)
    for i in range(11):
        for j in range(11):
            expected = table[buckets(np.array([j - i]), 16, 6)[0]]
            np.testing.assert_array_equal(bias[:, i, j], expected)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("feat_extract_norm", "batch"),
        ("feat_extract_activation", "selu"),
        ("hidden_act", "swish"),
        ("add_adapter", True),
        ("adapter_attn_dim", 16),
        ("num_attention_heads", 7),
        ("num_conv_pos_embedding_groups", 5),
        ("hidden_size", None),
        ("conv_stride", [5, 2, 2]),
        ("conv_kernel", [3, 0, 2]),
        ("conv_dim", 512),
        ("num_buckets", 14),
        ("max_bucket_distance", 4),
    ],
)
def test_what_is_not_supported_is_refused_by_name(key, value):
    config = tiny.config_of("wavlm", **{key: value})
    with pytest.raises(
        InputError, match=f"(?s)^Expected .*{key}.*; got .*; .*(model|file)"
    ):
        Wav2Vec2Config.of(config)


def test_another_rate_is_refused():
    with pytest.raises(InputError, match="sampling_rate 16000.*got 24000"):
        Wav2Vec2Config.of(tiny.config_of("hubert"), {"sampling_rate": 24000})
