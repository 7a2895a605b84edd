"""Exports are loaded back by a process without ser_jax, or not written at all."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from configs import cnn3d_attn
from ser_jax.errors import InputError
from ser_jax.export import check, export, formats, weights
from ser_jax.predict import trained_model
from ser_jax.predict.recognizer import Recognizer
from tests.untrained import untrained


@pytest.fixture(scope="module")
def tiny():
    config = cnn3d_attn.get_config()
    config.model.convs, config.model.width = 1, 0.05
    config.segment.window_s = config.segment.test_step_s = 0.5
    return untrained(config)


@pytest.fixture
def small(tiny, monkeypatch):
    """A network in place of any workdir."""
    monkeypatch.setattr(trained_model, "load", lambda workdir, run="": tiny)
    return tiny


@pytest.fixture(scope="module")
def exported(workdirs, tmp_path_factory):
    """The second run of a workdir as StableHLO: the file, what is printed, the model."""
    workdir = workdirs("area_attn")
    fold, seed = trained_model.load(workdir).runs[1]
    out = tmp_path_factory.mktemp("exported") / "a" / "x.bin"
    text = export.export(workdir, "stablehlo", run=f"{fold},{seed}", out=out)
    return out, text, trained_model.load(workdir, f"{fold},{seed}")


def test_stablehlo_answers_as_the_live_model_on_every_platform(exported):
    file, text, trained = exported
    assert str(file) in text and "without ser_jax" in text
    program = jax.export.deserialize(bytearray(file.read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")
    lines = program.mlir_module().splitlines()
    products = [x for x in lines if "stablehlo.dot" in x or "stablehlo.conv" in x]
    products = [x for x in products if "stablehlo.convert" not in x]
    assert len(products) > 3 and all("HIGHEST" in x for x in products), products
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, 17_000).astype(np.float32)
    lengths = [17_000, 5_000]
    got = jax.jit(program.call)(np.stack([samples] * 2), np.array(lengths, np.int32))
    live = Recognizer(trained)
    expected = [live(samples[:n], 16_000).probabilities for n in lengths]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_card_says_what_a_reader_must_know(exported, workdirs):
    file, _, trained = exported
    card = json.loads((file.parent / f"{file.name}.json").read_text())
    (fold, seed), workdir = trained.runs[0], workdirs("area_attn")
    results = json.loads((workdir / "results.json").read_text())
    ua = {(run["fold"], run["seed"]): run["ua"] for run in results["runs"]}
    assert card["runs"] == [{"fold": fold, "seed": seed, "ua": ua[fold, seed]}]
    assert card["answer"] == "of one run"
    assert card["classes"] == list(trained.classes)
    assert card["sample_rate_hz"] == 16_000
    for key in ("stamps", "corpus", "corpus_is_synthetic", "protocol", "selection"):
        assert card[key] == json.loads(json.dumps(trained.provenance[key])), key
    assert card["inputs"]["samples"]["shape"] == ["B", "N"]
    assert card["inputs"]["lengths"]["dtype"] == "int32"
    assert card["outputs"]["probabilities"]["shape"] == ["B", 3]
    checked, window_s = card["checked"], trained.config.segment.window_s
    assert checked["largest_difference"] < 1e-4
    assert checked["runtime"] == f"jax {jax.__version__}"
    assert checked["recordings"] == "recordings of the corpus"
    assert min(checked["seconds"]) < window_s < max(checked["seconds"])
    assert card["file"]["bytes"] == file.stat().st_size


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


def test_an_unknown_run_is_refused(workdirs):
    with pytest.raises(InputError, match="--run: expected one of"):
        export.export(workdirs("area_attn"), "stablehlo", run="nobody,0")


def test_words_are_no_input_of_a_program(workdirs, tmp_path):
    out = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="mscnn_spu also reads words"):
        export.export(workdirs("mscnn_spu"), "stablehlo", out=out)
    assert not out.exists()
    export.export(workdirs("mscnn_spu"), "safetensors", out=out)
    stored, trained = weights.read(out), trained_model.load(workdirs("mscnn_spu"))
    jax.tree.map(np.testing.assert_array_equal, stored.weights, trained.weights)
    assert stored.input_shapes == trained.input_shapes


def test_weights_alone(small, tmp_path):
    export.export(tmp_path, "safetensors", out=tmp_path / "w.safetensors")
    stored = weights.read(tmp_path / "w.safetensors")
    jax.tree.map(np.testing.assert_array_equal, stored.weights, small.weights)
    card = json.loads((tmp_path / "w.safetensors.json").read_text())
    assert card["arrays"]["dense/bias"] == [2, 3]


def broken(monkeypatch, **changes):
    form = dataclasses.replace(formats.FORMATS["stablehlo"], **changes)
    monkeypatch.setitem(formats.FORMATS, "stablehlo", form)


def test_another_answer_is_never_written(small, tmp_path, monkeypatch):
    """The live model's answers but for 2e-4 of one class, and they pass without it."""
    live = Recognizer(small)

    def answers(error):
        def run(form, content, cases):
            batches = [
                [live(x[:n], 16_000).probabilities for x, n in zip(*case, strict=True)]
                for case in cases
            ]
            batches[1][0][2] += error
            return [np.array(batch) for batch in batches], "a runtime"

        return run

    broken(monkeypatch, write=lambda *_: b"program")
    monkeypatch.setattr(check, "_answers", answers(2e-4))
    with pytest.raises(InputError, match=r"within 0.0001 .*; a runtime gives others"):
        export.export(tmp_path, "stablehlo")
    assert not list(tmp_path.rglob("*"))
    monkeypatch.setattr(check, "_answers", answers(0.0))
    text = export.export(tmp_path, "stablehlo")
    assert "by a runtime: 7 answers for made sounds" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "process of its own; got"),
        ({"load": "import ser_jax"}, "import of ser_jax halted"),
        ({"packages": {"no_such_runtime": "none"}}, "expected the package no_such"),
    ],
)
def test_what_cannot_be_checked_is_never_written(
    small, tmp_path, monkeypatch, changes, message
):
    broken(monkeypatch, write=lambda *_: b"no program", **changes)
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
    with pytest.raises(InputError, match="--out"):
        export.export(tmp_path, "safetensors", out=tmp_path / "file" / "x")


def test_what_no_program_can_carry_is_refused(small, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="expected one of stablehlo, .*; got 'coreml'"):
        export.export(tmp_path, "coreml")
    config = small.config.copy_and_resolve_references()
    config.segment.rule, config.data.pad = "whole", "before_norm"
    heard = dataclasses.replace(small, config=config)
    monkeypatch.setattr(trained_model, "load", lambda workdir, run="": heard)
    with pytest.raises(InputError, match="do not depend on padding"):
        export.export(tmp_path, "stablehlo")
    assert not list(tmp_path.rglob("*"))
