"""A frozen encoder on the main path: built, trained, answered with, explained, moved."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ser_jax.datasets import state_extraction
from ser_jax.errors import InputError
from ser_jax.explain import explain
from ser_jax.features import audio, hidden_states
from ser_jax.predict import trained_model
from ser_jax.predict.recognizer import Recognizer
from ser_jax.training import experiment as experiment_lib
from ser_jax.training import loop
from ser_jax.training.config_check import check_config
from tests import encoder_folder
from tests.training.common import posteriors_of


@pytest.fixture(scope="module")
def folder(once):
    return once("encoder", encoder_folder.write)


@pytest.fixture(scope="module")
def config(tones, datasets, folder):
    return encoder_folder.tiny_config(tones, datasets, folder)


@pytest.fixture(scope="module")
def workdir(once, config):
    return once(
        "encoder_workdir", lambda path: loop.train_and_evaluate(config, str(path))
    )


def test_answers_are_those_of_the_evaluation(workdir, tones):
    """Recordings are encoded anew, alone; the test's states came from a batch."""
    with (workdir / "predictions.csv").open() as file:
        first = {row["fold"]: row for row in csv.DictReader(file)}
    assert len(first) == 2
    for fold, row in first.items():
        recognizer = Recognizer.from_workdir(workdir, f"{fold},0")
        path = tones.parent / f"{row['utterance']}.wav"
        answer = recognizer(audio.load(path, 16_000), 16_000)
        expected = [float(row[f"p_{name}"]) for name in answer.classes]
        # States are rounded to 11 bits, here and there from other float32 numbers.
        np.testing.assert_allclose(answer.probabilities, expected, atol=5e-3)


def test_frames_of_layers_and_copies_reach_the_model(config):
    experiment = experiment_lib.prepare(config)
    assert experiment.corpus.flat.dtype == np.float16
    assert experiment.corpus.warp_factors.shape[1] == 1
    assert experiment.input_shapes["frames"][1:] == (2, 24)


def test_attention_and_saliency_lie_over_layers_and_time(workdir, tones, tmp_path):
    name = str(next(tones.parent.glob("*.wav")))
    explain.explain_files(workdir, [name], out=str(tmp_path))
    assert list(tmp_path.glob("*.png"))


def test_a_killed_build_goes_on_with_what_was_encoded(
    config, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(state_extraction, "PART", 8)
    changed = config.copy_and_resolve_references()
    changed.data.tfds_dir = str(tmp_path)
    calls, run = [], hidden_states.StateReader.__call__

    def counted(self, recordings, factors=None):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(len(recordings))
        return run(self, recordings, factors)

    with monkeypatch.context() as patch:
        patch.setattr(hidden_states.StateReader, "__call__", counted)
        with pytest.raises(KeyboardInterrupt):
            experiment_lib.prepare(changed)
    assert calls == [16, 16, 16]  # each recording and its copy
    parts = sorted(tmp_path.glob("encoded/*/*.npz"))
    assert len(parts) == 3
    parts[1].write_bytes(parts[1].read_bytes()[:100])  # cut short
    calls.clear()

    def counted_on(self, recordings, factors=None):
        calls.append(len(recordings))
        return run(self, recordings, factors)

    monkeypatch.setattr(hidden_states.StateReader, "__call__", counted_on)
    again = experiment_lib.prepare(changed).corpus
    total = 2 * len(again.utterances)
    assert sum(calls) == total - 2 * 16
    assert not list(tmp_path.glob("encoded/*/*"))  # the dataset has them now
    whole = experiment_lib.prepare(config).corpus
    for a, b in zip(again.frames, whole.frames, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_disk_too_small_is_said_before_the_work_begins(config, tmp_path, monkeypatch):
    changed = config.copy_and_resolve_references()
    changed.data.tfds_dir = str(tmp_path)
    usage = type(shutil.disk_usage(tmp_path))(10**6, 10**6, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="fewer --config.encoder.layers"):
        experiment_lib.prepare(changed)


def test_weights_may_move_but_not_change(workdir, config, folder, tmp_path):
    copy = tmp_path / "workdir"
    shutil.copytree(workdir, copy)
    stored = json.loads((copy / "config.json").read_text())["config"]["encoder"]
    assert len(stored["digest"]) == 8 and Path(stored["weights"]) == folder
    moved = config.copy_and_resolve_references()
    moved.encoder.weights = str(shutil.copytree(folder, tmp_path / "moved"))
    before = posteriors_of(copy)
    loop.train_and_evaluate(moved, str(copy))
    np.testing.assert_array_equal(posteriors_of(copy), before)
    stored = json.loads((copy / "config.json").read_text())["config"]["encoder"]
    assert stored["weights"] == moved.encoder.weights
    assert trained_model.load(copy).config.encoder.weights == moved.encoder.weights
    encoder_folder.write(tmp_path / "moved", seed=1)
    with pytest.raises(InputError, match="encoder.digest"):
        loop.train_and_evaluate(moved, str(copy))
    with pytest.raises(InputError, match="that were trained with"):
        loop.evaluate(str(copy))


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("data.recipe", "logmel64", "data.recipe"),
        ("encoder.weights", "", "encoder.weights"),
        ("encoder.weights", "whisper-huge", "whisper-base or a folder"),
        ("encoder.layers", (0.5,), "encoder.layers"),
        ("encoder.pool_s", 0.0, "encoder.pool_s"),
        ("encoder.pool_s", 0.25, "a multiple of 0.02"),
        ("encoder.pool_s", float("inf"), "a multiple of 0.02"),
        ("encoder.dtype", "bfloat16", "encoder.dtype"),
        ("encoder.mask_share", 0.1, "encoder.mask_share"),
        ("encoder.tuning", "lora", "encoder.tuning"),
        ("model.queries", 0, "queries"),
        ("data.vtlp_mode", "textbook", "data.vtlp_mode"),
        ("data.vtlp_low", 0.5, "data.vtlp_low"),
        ("data.vtlp_high", 2.5, "data.vtlp_high"),
        ("augment.vtlp", "online", "augment.vtlp"),
        ("data.level", "unit", "data.level"),
        ("data.channels", 1, "data.channels"),
    ],
)
def test_what_an_encoder_cannot_do_is_refused(config, key, value, named):
    changed = config.copy_and_resolve_references()
    group, name = key.split(".")
    with changed[group].unlocked(), changed[group].ignore_type():
        changed[group][name] = value
    with pytest.raises(InputError, match=named):
        check_config(changed)


def test_channels_of_other_recipes_are_counted(tiny_config):
    tiny_config.data.channels = 0
    with pytest.raises(InputError, match="data.channels: expected 1, 2 or 3"):
        check_config(tiny_config)


def test_a_frame_may_be_a_whole_turn(config):
    changed = config.copy_and_resolve_references()
    changed.encoder.pool_s, changed.model.max_area = 30.0, (1, 1)
    check_config(changed)
