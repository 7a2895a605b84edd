"""Exports are loaded back by a process without ser_jax, or not written at all."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs import cnn3d_attn
from ser_jax.errors import InputError
from ser_jax.export import export, formats, weights
from ser_jax.predict import trained_model as trained_lib
from ser_jax.predict.recognizer import Recognizer
from tests.untrained import CLASSES, untrained

# What docs/export.md shows, and nothing of ours.
LOADER = """
import sys
sys.modules["ser_jax"] = None
import jax
import numpy as np

program = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
assert program.platforms == ("cpu", "cuda", "tpu")
lines = program.mlir_module().splitlines()
products = [x for x in lines if "stablehlo.dot" in x or "stablehlo.conv" in x]
products = [x for x in products if "stablehlo.convert" not in x]
assert len(products) > 3 and all("HIGHEST" in x for x in products), products
samples = np.load(sys.argv[2])
lengths = np.array([len(samples), 5_000], np.int32)
np.save(sys.argv[3], jax.jit(program.call)(np.stack([samples] * 2), lengths))
"""


@pytest.fixture
def small(monkeypatch):
    """A network in place of any workdir."""
    config = cnn3d_attn.get_config()
    config.model.convs, config.model.width = 1, 0.05
    config.segment.window_s = config.segment.test_step_s = 0.5
    found = untrained(config)
    monkeypatch.setattr(trained_lib, "load", lambda workdir, run="": found)
    return found


def test_stablehlo_answers_in_a_clean_process(small, tmp_path):
    said = export.export(tmp_path, "stablehlo")
    file = tmp_path / "export" / "cnn3d_attn.stablehlo"
    assert str(file) in said and "without ser_jax" in said
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, 17_000).astype(np.float32)
    asked, told = tmp_path / "asked.npy", tmp_path / "told.npy"
    np.save(asked, samples)
    command = [sys.executable, "-I", "-c", LOADER, file, asked, told]
    subprocess.run(command, check=True, cwd=tmp_path)
    live = Recognizer(small)
    expected = [live(samples[:n], 16_000).probabilities for n in (17_000, 5_000)]
    np.testing.assert_allclose(np.load(told), expected, atol=1e-5)


PACKAGES = {
    "onnx": ("jax2onnx", "onnxruntime"),
    "tflite": ("litert_converter", "ai_edge_litert"),
}


@pytest.mark.parametrize("name", PACKAGES)
def test_fixed_formats_answer_in_a_clean_process(small, tmp_path, name):
    for package in PACKAGES[name]:
        pytest.importorskip(package)
    export.export(tmp_path, name, out=tmp_path / f"x.{name}", longest_s=1.0)
    card = json.loads((tmp_path / f"x.{name}.json").read_text())
    assert card["inputs"]["samples"]["shape"] == [1, 16_000]
    assert card["checked"]["answers"] == 5
    assert card["checked"]["largest_difference"] < 1e-5
    assert any("at most 1 s" in limit for limit in card["limits"])


def test_fixed_formats_hold_a_window(small, tmp_path, monkeypatch):
    broken(monkeypatch, is_fixed=True)
    with pytest.raises(InputError, match="--longest: expected .* 0.5 s; got 0.3 s"):
        export.export(tmp_path, "stablehlo", longest_s=0.3)


def test_a_converter_that_fails_says_why(small, tmp_path, monkeypatch):
    def write(*_):
        raise ValueError("no such operation: sort\nand a long story")

    broken(monkeypatch, write=write)
    with pytest.raises(InputError, match="no such operation: sort. Use") as caught:
        export.export(tmp_path, "stablehlo")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*"))


def test_a_workdir_becomes_a_file(workdirs, tmp_path):
    workdir, out = workdirs("area_attn"), tmp_path / "x.stablehlo"
    fold, seed = trained_lib.load(workdir).runs[1]
    export.export(workdir, "stablehlo", run=f"{fold},{seed}", out=out)
    card = json.loads((tmp_path / "x.stablehlo.json").read_text())
    results = json.loads((workdir / "results.json").read_text())
    ua = {(run["fold"], run["seed"]): run["ua"] for run in results["runs"]}
    assert card["runs"] == [{"fold": fold, "seed": seed, "ua": ua[fold, seed]}]
    assert card["answer"] == "of one run"
    assert card["checked"]["recordings"] == "recordings of the corpus"
    with pytest.raises(InputError, match="--run: expected one of"):
        export.export(workdir, "stablehlo", run="nobody,0")


def test_words_are_no_input_of_a_program(workdirs, tmp_path):
    out = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="mscnn_spu also reads words"):
        export.export(workdirs("mscnn_spu"), "stablehlo", out=out)
    assert not out.exists()
    export.export(workdirs("mscnn_spu"), "safetensors", out=out)
    found, expected = weights.read(out), trained_lib.load(workdirs("mscnn_spu"))
    jax.tree.map(np.testing.assert_array_equal, found.weights, expected.weights)
    assert found.input_shapes == expected.input_shapes


def test_card_says_what_a_reader_must_know(small, tmp_path):
    export.export(tmp_path, "stablehlo", out=tmp_path / "a" / "b.bin")
    card = json.loads((tmp_path / "a" / "b.bin.json").read_text())
    assert card["classes"] == list(CLASSES) and card["sample_rate_hz"] == 16_000
    assert card["corpus_is_synthetic"] and card["stamps"] == ["synthetic corpus"]
    assert card["inputs"]["samples"]["shape"] == ["B", "N"]
    assert card["inputs"]["lengths"]["dtype"] == "int32"
    assert card["outputs"]["probabilities"]["shape"] == ["B", 3]
    assert [run["fold"] for run in card["runs"]] == ["fold0", "fold1"]
    assert card["checked"]["largest_difference"] < 1e-4
    assert card["checked"]["runtime"] == f"jax {jax.__version__}"
    assert min(card["checked"]["seconds"]) < 0.5 < max(card["checked"]["seconds"])
    assert card["file"]["bytes"] == (tmp_path / "a" / "b.bin").stat().st_size


def test_weights_alone(small, tmp_path):
    export.export(tmp_path, "safetensors", out=tmp_path / "w.safetensors")
    found = weights.read(tmp_path / "w.safetensors")
    jax.tree.map(np.testing.assert_array_equal, found.weights, small.weights)
    card = json.loads((tmp_path / "w.safetensors.json").read_text())
    assert card["arrays"]["dense/bias"] == [2, 3]


def broken(monkeypatch, **changes):
    form = dataclasses.replace(formats.FORMATS["stablehlo"], **changes)
    monkeypatch.setitem(formats.FORMATS, "stablehlo", form)


def test_another_answer_is_never_written(small, tmp_path, monkeypatch):
    other = dataclasses.replace(small, mean=small.mean + 0.1)
    broken(monkeypatch, write=lambda _, n: formats.stablehlo(other, n))
    with pytest.raises(InputError, match=r"within 0.0001 .* gives others, by"):
        export.export(tmp_path, "stablehlo")
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"write": lambda *_: b"no program"}, "process of its own; got"),
        ({"load": "import ser_jax"}, "import of ser_jax halted"),
        ({"packages": {"no_such_runtime": "none"}}, "expected the package no_such"),
    ],
)
def test_what_cannot_be_checked_is_never_written(
    small, tmp_path, monkeypatch, changes, message
):
    broken(monkeypatch, **changes)
    with pytest.raises(InputError, match=message) as caught:
        export.export(tmp_path, "stablehlo")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*"))


def test_a_place_that_cannot_be_written_is_named_first(small, tmp_path, monkeypatch):
    def write(*_):
        raise AssertionError("worked for nothing")

    broken(monkeypatch, write=write)
    with pytest.raises(InputError, match="--out: expected a file; got the folder"):
        export.export(tmp_path, "stablehlo", out=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--out: expected a file that can be written"):
        export.export(tmp_path, "safetensors", out=tmp_path / "file" / "x")


def test_what_no_program_can_carry_is_refused(small, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="expected one of stablehlo, .*; got 'coreml'"):
        export.export(tmp_path, "coreml")
    config = small.config.copy_and_resolve_references()
    config.segment.rule, config.data.pad = "whole", "before_norm"
    heard = dataclasses.replace(small, config=config)
    monkeypatch.setattr(trained_lib, "load", lambda workdir, run="": heard)
    with pytest.raises(InputError, match="do not depend on padding"):
        export.export(tmp_path, "stablehlo")
    assert not list(tmp_path.rglob("*"))
