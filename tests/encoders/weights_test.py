"""Filling a module from a hub's folder: names, layouts, and what is refused."""

import json

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from ser_jax.encoders import hub_folder
from ser_jax.encoders.weights import CONV, LINEAR, Source, fill
from ser_jax.errors import InputError


class Small(nnx.Module):
    def __init__(self, *, rngs):
        self.conv = nnx.Conv(2, 3, 5, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(3, 4, rngs=rngs)])
        self.table = nnx.Variable(jnp.zeros((6, 7)))


def source_of(path):
    if path == ("table",):
        return Source("table")
    *modules, kind = map(str, path)
    axes = {"conv": CONV, "layers": LINEAR}[modules[0]] if kind == "kernel" else None
    return Source(".".join([*modules, "weight" if kind == "kernel" else kind]), axes)


@pytest.fixture
def tensors():
    shapes = {
        "conv.weight": (3, 2, 5),
        "conv.bias": (3,),
        "layers.0.weight": (4, 3),
        "layers.0.bias": (4,),
        "table": (6, 7),
    }
    rng = np.random.default_rng(0)
    return {k: rng.normal(size=v).astype(np.float32) for k, v in shapes.items()}


def small():
    return nnx.eval_shape(lambda: Small(rngs=nnx.Rngs(0)))


def test_variables_are_the_tensors_in_their_own_layout(tensors):
    model, left = small(), {"head.weight": np.ones(9), "mask": np.ones(3)}
    fill(model, tensors | left, source_of, r"head\.|mask$")
    linear, conv = model.layers[0], model.conv
    np.testing.assert_array_equal(linear.kernel, tensors["layers.0.weight"].T)
    np.testing.assert_array_equal(linear.bias, tensors["layers.0.bias"])
    np.testing.assert_array_equal(
        conv.kernel, tensors["conv.weight"].transpose(2, 1, 0)
    )
    np.testing.assert_array_equal(model.table, tensors["table"])
    assert isinstance(linear.kernel, nnx.Param)
    assert not isinstance(model.table, nnx.Param)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_parameters_keep_their_precision_whatever_the_files(tensors, dtype):
    model = small()
    fill(model, {k: x.astype(dtype) for k, x in tensors.items()}, source_of, "-")
    expected = tensors["layers.0.bias"].astype(dtype).astype(np.float32)
    assert model.layers[0].bias.dtype == jnp.float32
    np.testing.assert_array_equal(model.layers[0].bias, expected)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("table", None, r"got others \(table is missing\)"),
        ("conv.weight", np.ones((5, 2, 3)), r"shape \(5, 2, 3\), expected \(3, 2, 5\)"),
        ("layers.0.bias", np.ones(4, np.int8), "bias is int8, expected floating point"),
        ("headless", np.ones(3), r"\(headless is not known\)"),
    ],
)
def test_what_does_not_fit_is_named(tensors, name, tensor, message):
    tensors[name] = tensor
    tensors = {k: x for k, x in tensors.items() if x is not None}
    with pytest.raises(InputError, match=message) as caught:
        fill(small(), tensors, source_of, r"head\.", origin="that/folder")
    assert "of a Small in that/folder;" in str(caught.value)


def test_many_faults_are_counted():
    with pytest.raises(InputError) as caught:
        fill(small(), {"a": np.ones(1), "b": np.ones(1)}, source_of, "-")
    assert str(caught.value).count("is missing") == 5
    assert "; and 2 more)" in str(caught.value)


def write_shards(folder, tensors):
    """An index and two files."""
    names = sorted(tensors)
    where = {n: f"model-{1 + i % 2}.safetensors" for i, n in enumerate(names)}
    for file in set(where.values()):
        save_file({n: tensors[n] for n in names if where[n] == file}, folder / file)
    index = json.dumps({"weight_map": where})
    (folder / "model.safetensors.index.json").write_text(index)


def test_a_file_and_its_shards_are_read_alike(tmp_path, tensors):
    (tmp_path / "one").mkdir(), (tmp_path / "two").mkdir()
    save_file(tensors, tmp_path / "one" / "model.safetensors")
    write_shards(tmp_path / "two", tensors)
    for folder in ("one", "two"):
        found = hub_folder.read_tensors(tmp_path / folder)
        assert set(found) == set(tensors) and len(found) == len(tensors)
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(found[name], tensor)


def test_prefixes_and_weight_norm_have_one_spelling(tmp_path):
    one = np.ones(1, np.float32)
    for theirs, ours in {
        "wav2vec2.encoder.c.parametrizations.weight.original0": "encoder.c.weight_g",
        "hubert.encoder.c.parametrizations.weight.original1": "encoder.c.weight_v",
        "wavlm.encoder.c.weight_g": "encoder.c.weight_g",
        "model.encoder.conv1.bias": "encoder.conv1.bias",
        "encoder.model.bias": "encoder.model.bias",
    }.items():
        save_file({theirs: one}, tmp_path / "model.safetensors")
        assert set(hub_folder.read_tensors(tmp_path)) == {ours}


def test_incomplete_weights_are_said(tmp_path, tensors):
    path = tmp_path / "model.safetensors"

    def refused(message):
        with pytest.raises(InputError, match=message) as caught:
            hub_folder.read_tensors(tmp_path)
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)

    refused("Expected model.safetensors in .*; got none; download")
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    refused("got pytorch_model.bin, a pickle, .*save_pretrained")
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    refused("git-lfs pointer .* `git lfs pull`")
    save_file(tensors, path)
    whole = path.read_bytes()
    for kept in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:kept])
        refused("whole safetensors file at .* cut off or damaged")
    write_shards(tmp_path, tensors)
    (tmp_path / "model-2.safetensors").unlink()
    refused("Expected model-2.safetensors in .*; got none")
    (tmp_path / "model.safetensors.index.json").write_text("{")
    refused("Expected a JSON object in .*index.json")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    refused("Expected a weight_map in .*index.json")


def test_the_config_is_read_and_checked(tmp_path):
    with pytest.raises(InputError, match="Expected config.json in .*; got none"):
        hub_folder.read_config(tmp_path)
    path = tmp_path / "config.json"
    for text in ("", "[1]", "{,"):
        path.write_text(text)
        with pytest.raises(InputError, match="Expected a JSON object in"):
            hub_folder.read_config(tmp_path)
    path.write_text('{"d_model": 24, "activation_function": "swish", "layers": 2.0}')
    config = hub_folder.read_config(tmp_path)
    assert hub_folder.config_value(config, "d_model") == 24
    for key in ("layers", "heads"):
        with pytest.raises(InputError, match=f"Expected {key} in config.json .*posit"):
            hub_folder.config_value(config, key)
    assert hub_folder.config_choice(config, "scale", (False, True)) is False
    with pytest.raises(InputError, match='to be "gelu" or "relu"; got "swish"'):
        hub_folder.config_choice(config, "activation_function", ("gelu", "relu"))
    assert hub_folder.read_preprocessor(tmp_path) is None
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": true}')
    assert hub_folder.read_preprocessor(tmp_path) == {"do_normalize": True}
