"""What is told of an encoder before its weights are read."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax.encoders import files
from ser_jax.encoders.spec import read_spec
from ser_jax.errors import InputError
from tests.encoders import tiny_wav2vec2, tiny_whisper
from tests.encoders.common import run, speech


def spec_of(folder, config):
    (folder / "config.json").write_text(json.dumps(config))
    return read_spec(str(folder))


def test_a_folders_sizes_need_no_weights(tmp_path):
    spec = spec_of(tmp_path, tiny_whisper.CONFIG)
    assert (spec.kind, spec.num_layers, spec.width) == ("whisper", 2, 24)
    assert spec.longest_s == pytest.approx(0.18) and spec.name == str(tmp_path)
    spec = spec_of(tmp_path, tiny_wav2vec2.config_of("wavlm"))
    assert (spec.kind, spec.num_layers, spec.width) == ("wavlm", 2, 24)
    assert spec.longest_s == math.inf


def test_published_sizes():
    expected = {"whisper-tiny.en": (4, 384, 6), "whisper-base": (6, 512, 8)}
    for name, (layers, width, heads) in expected.items():
        try:
            files.packaged(name)
        except InputError as error:
            pytest.skip(str(error))
        spec = read_spec(name)
        assert (spec.num_layers, spec.width) == (layers, width)
        assert spec.config.num_heads == heads and spec.longest_s == 30
        assert spec.num_steps(480_000) == 1500


@pytest.mark.parametrize(
    "module", [tiny_whisper, tiny_wav2vec2], ids=["whisper", "wav2vec2"]
)
def test_steps_are_the_encoders(tmp_path, module):
    waved = module is tiny_wav2vec2
    config = module.config_of("wavlm") if waved else module.CONFIG
    counts = np.array([0, 1, 150, 201, 379, 380, 479, 480, 699, 700, 1119, 1120, 2600])
    spec = spec_of(tmp_path, config)
    encoder = module.encoder(config, module.tensors(config))
    states, steps = run(encoder, [speech(n) for n in counts], layers=(0,))
    np.testing.assert_array_equal(spec.num_steps(counts), steps)
    np.testing.assert_array_equal(spec.num_steps(jnp.asarray(counts)), steps)
    assert [spec.num_steps(int(n)) for n in counts] == steps.tolist()
    assert states.shape[2] == spec.num_steps(2600)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "model_type whisper, wav2vec2, .*; got 'bert'"),
        ({"scale_embedding": True}, "scale_embedding .* to be false; got true"),
        ({"activation_function": "mish"}, 'activation_function .*; got "mish"'),
        ({"encoder_attention_heads": 5}, "to be a divisor of d_model 24; got 5"),
        ({"d_model": None}, "d_model in config.json .*positive integer; got None"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        spec_of(tmp_path, tiny_whisper.CONFIG | change)


def test_another_step_is_refused(tmp_path):
    *strides, last = tiny_wav2vec2.SHARED["conv_stride"]
    config = tiny_wav2vec2.config_of("hubert", conv_stride=[*strides, 3 * last])
    with pytest.raises(InputError, match="conv_stride .* 320 samples; got 960"):
        spec_of(tmp_path, config)
