"""Weights alone: out and back, and what is refused."""

import pickle

import jax
import numpy as np
import pytest
import safetensors.numpy

from configs import cnn3d_attn
from ser_jax.errors import InputError
from ser_jax.export import weights
from tests.untrained import CLASSES, untrained


@pytest.fixture(scope="module")
def trained():
    config = cnn3d_attn.get_config("emodb_small")
    config.data.corpus = "manifest"
    config.model.convs, config.model.width = 2, 0.05
    config.data.manifest = "/home/somebody/emodb/manifest.csv"
    return untrained(config)


@pytest.fixture
def file(trained, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(weights.to_bytes(trained))
    return path


def rewritten(file, change, **meta):
    """The file with other arrays; its metadata stays unless given."""
    with safetensors.safe_open(file, "numpy") as opened:
        text = opened.metadata() | meta
    arrays = safetensors.numpy.load_file(file)
    change(arrays)
    file.write_bytes(safetensors.numpy.save(arrays, text))
    return file


def test_out_and_back_is_the_same(trained, file):
    stored = weights.read(file)
    jax.tree.map(
        np.testing.assert_array_equal,
        (stored.weights, stored.mean, stored.std),
        (trained.weights, trained.mean, trained.std),
    )
    assert stored.classes == CLASSES and stored.runs == trained.runs
    assert stored.config.model == trained.config.model


def test_names_are_those_of_the_parts(file):
    names = set(safetensors.numpy.load_file(file))
    assert {"steps/convs/0/conv/kernel", "dense/bias", "normalisation/std"} <= names
    assert b"somebody" not in file.read_bytes()  # folders stay where they are


CHANGES = {
    "dense/bias of shape": lambda arrays: arrays.pop("dense/bias"),
    "also dense/more": lambda arrays: arrays.update({"dense/more": np.zeros(3, "f4")}),
    r"dense/bias of shape \(2, 3\).*got \(2, 4\)": lambda arrays: arrays.update(
        {"dense/bias": np.zeros((2, 4), "f4")}
    ),
    "dense/bias float64": lambda arrays: arrays.update(
        {"dense/bias": np.zeros((2, 3))}
    ),
}


@pytest.mark.parametrize("message", CHANGES)
def test_other_arrays_are_refused(file, message):
    with pytest.raises(InputError, match=message) as caught:
        weights.read(rewritten(file, CHANGES[message]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"ser_jax_weights": "2"}, "got format 2"),
        ({"classes": '["calm", "cross"]'}, r"dense/bias of shape \(2, 2\)"),
        ({"config": '{"data": 3}'}, "do not fit"),
        ({"config": "{"}, "Expected a .safetensors file of ser_jax"),
        ({"folds": '[{"name": "only", "seed": 0}]'}, r"of shape \(1, "),
    ],
)
def test_other_metadata_is_refused(file, meta, message):
    with pytest.raises(InputError, match=message) as caught:
        weights.read(rewritten(file, lambda arrays: None, **meta))
    assert "\n" not in str(caught.value)


def test_foreign_files_are_refused(tmp_path):
    foreign = tmp_path / "x.safetensors"
    for content in (
        b"",
        b"RIFF" * 30,
        pickle.dumps([1, 2]),
        safetensors.numpy.save({"a": np.zeros(2)}),
        safetensors.numpy.save({"a": np.zeros(2)}, {"ser_jax_weights": "1"}),
    ):
        foreign.write_bytes(content)
        with pytest.raises(InputError, match="safetensors|ser_jax") as caught:
            weights.read(foreign)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="x.safetensors"):
        weights.read(tmp_path / "nowhere" / "x.safetensors")
