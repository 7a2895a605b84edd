"""Reading CTranslate2's file: its tensors, its library's own answer, refusals."""

import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax.encoders import ctranslate2, files
from ser_jax.encoders.load import load
from ser_jax.encoders.log_mel import log_mel
from ser_jax.errors import InputError
from tests.encoders import model_bin
from tests.encoders import tiny_whisper as tiny
from tests.encoders.common import run, speech


@pytest.fixture
def arrays():
    return model_bin.entries(tiny.CONFIG, tiny.tensors())


def test_config_and_tensors_are_those_written(tmp_path, arrays):
    path, expected = tmp_path / "model.bin", tiny.tensors()
    path.write_bytes(model_bin.content(arrays))
    config = ctranslate2.read_config([path])
    assert {**config, "scale_embedding": False} == tiny.CONFIG
    found = ctranslate2.read_tensors([path])
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_parts_are_one_file(tmp_path, arrays):
    data, paths = model_bin.content(arrays), []
    for i, (start, stop) in enumerate([(0, 7), (7, 3001), (3001, None)]):
        paths.append(tmp_path / f"model.bin.part{i}")
        paths[-1].write_bytes(data[start:stop])
    found = ctranslate2.read_tensors(paths)
    for name, array in tiny.tensors().items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_folder_with_model_bin_is_the_hubs_encoder(tmp_path, arrays):
    # As converters leave it: half precision, a config.json without sizes.
    halves = {k: v.astype(np.float16) if v.ndim else v for k, v in arrays.items()}
    (tmp_path / "model.bin").write_bytes(model_bin.content(halves))
    (tmp_path / "config.json").write_text('{"suppress_ids": []}')
    rounded = {
        name: x.astype(np.float16).astype(np.float32)
        for name, x in tiny.tensors().items()
    }
    states, _ = run(load(str(tmp_path)), [speech(1900)])
    expected, _ = run(tiny.encoder(found=rounded), [speech(1900)])
    np.testing.assert_array_equal(states, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 5}, "Expected version 6 of CTranslate2's format in .*; got 5;"),
        ({"version": 2**31}, "got another format; convert"),
        ({"kind": "TransformerSpec"}, "Expected a Whisper model .* got TransformerS"),
    ],
)
def test_another_format_is_refused(tmp_path, arrays, options, message):
    path = tmp_path / "model.bin"
    path.write_bytes(model_bin.content(arrays, **options))
    with pytest.raises(InputError, match=message):
        ctranslate2.read_config([path])


@pytest.mark.parametrize("kept", [0, 3, 9, 30, 1000, -200])
def test_a_file_cut_off_is_refused(tmp_path, arrays, kept):
    path = tmp_path / "model.bin"
    path.write_bytes(model_bin.content(arrays)[:kept])
    with pytest.raises(InputError, match="whole CTranslate2 model .* cut off"):
        ctranslate2.read_config([path])


def test_other_tensors_are_refused(tmp_path, arrays):
    path = tmp_path / "model.bin"

    def refused(changed, message):
        path.write_bytes(model_bin.content(changed))
        with pytest.raises(InputError, match=message):
            ctranslate2.read_tensors([path])

    name = "encoder/layer_1/ffn/linear_1/weight"
    quantized = {**arrays, name: arrays[name].astype(np.int8)}
    refused(quantized, "float32 or float16 weights .*; got int8; .* float16")
    del arrays[name]
    refused(arrays, f"Expected {name} in .*; got a Whisper model without it")


def test_a_pointer_or_no_file_is_said(tmp_path):
    path = tmp_path / "model.bin"
    with pytest.raises(InputError, match="Expected model.bin in .*; got none"):
        ctranslate2.read_config([path])
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(InputError, match="git-lfs pointer .* `git lfs pull`"):
        ctranslate2.read_config([path])


@pytest.mark.parametrize(
    "name", ["whisper-tiny.en", pytest.param("whisper-base", marks=pytest.mark.slow)]
)
def test_published_weights_give_the_librarys_states(name, tmp_path):
    library = pytest.importorskip("ctranslate2")
    try:
        paths = files.packaged(name)
    except InputError as error:
        pytest.skip(str(error))
    seconds = np.arange(480_000) / 16_000  # the library takes nothing but 30 s
    wave = speech(480_000) * np.sin(2 * np.pi * seconds).astype(np.float32) ** 2
    encoder = load(name)
    last = len(encoder.layers)
    states, steps = run(encoder, [wave], layers=(last,))
    assert steps.tolist() == [1500]
    # The library wants one file, and a vocabulary beside it.
    (tmp_path / "model.bin").write_bytes(b"".join(p.read_bytes() for p in paths))
    for file in paths[-1].parent.glob("[!m]*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model = library.models.Whisper(str(tmp_path), compute_type="float32")
    mel, _ = log_mel(jnp.asarray(wave)[None], jnp.array([wave.size]), 80)
    mel = np.ascontiguousarray(np.asarray(mel).swapaxes(1, 2))
    expected = model.encode(library.StorageView.from_array(mel), to_cpu=True)
    # States of size 1 to 14 after 4 to 6 layers in float32 on both sides.
    np.testing.assert_allclose(states[0], np.array(expected), atol=2e-3)
