"""What other systems than the flagship need of the main path, on the tiny corpus."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from configs import acrnn, adrnn, afcn, mscnn_spu, presets
from ser_jax.report import report
from ser_jax.training import experiment as experiment_lib
from ser_jax.training import loop
from ser_jax.training.trainer import Trainer
from tests import quick_model
from tests.training.common import posteriors_of, stop_after

WORDS = {"low": "so sad", "mid": "it is here", "high": "great news"}


@pytest.fixture(
    autouse=True,
    params=["quick model", pytest.param("own model", marks=pytest.mark.slow)],
)
def _model(request, monkeypatch):
    """Every system's recipe around the quick model; `-m slow`: around its own."""
    if request.param == "quick model":
        for name in ("acrnn", "adrnn", "afcn", "mscnn_spu"):
            quick_model.replace(monkeypatch, name)


def tiny(module, tones, datasets, *, recipe):
    """A system's `:emodb_small`, thinner still, on the tones."""
    config = module.get_config("emodb_small")
    presets.without_vtlp(config)
    config.data.corpus = "manifest"
    config.data.manifest = str(tones)
    config.data.tfds_dir = datasets
    config.data.recipe = recipe
    config.data.file_format = "array_record"
    config.data.num_workers = 1
    config.protocol.groups = 0
    config.protocol.selection, config.protocol.validation = "val", "speaker"
    config.model.width = 0.05
    config.train.batch_size = 8
    config.train.learning_rate = 1e-2
    config.train.epochs = 2
    config.train.warmup_epochs = 0.0
    config.train.devices = 1
    return config


def test_buckets_and_centers_survive_a_stop(tones, datasets, tmp_path, monkeypatch):
    """Stopped inside the second epoch, between buckets: the very same posteriors."""
    config = tiny(afcn, tones, datasets, recipe="logmel64")
    config.segment.rule, config.segment.window_s = "whole", 0.9
    config.segment.buckets = 2
    config.train.center_weight = 0.1
    loop.train_and_evaluate(config, str(tmp_path / "a"))
    experiment = experiment_lib.prepare(config)
    assert len(experiment.sizes) == 2
    trainer = Trainer(config, experiment)
    steps = trainer.plan(trainer.initial_snapshot().records).steps
    with monkeypatch.context() as patch:
        stop_after(patch, steps + 2)
        with pytest.raises(loop.Stopped, match="epoch 2"):
            loop.train_and_evaluate(config, str(tmp_path / "b"))
    loop.train_and_evaluate(config, str(tmp_path / "b"))
    np.testing.assert_array_equal(
        posteriors_of(tmp_path / "a"), posteriors_of(tmp_path / "b")
    )


def test_scores_of_buckets_are_those_of_each_utterance(tones, datasets):
    """Whichever bucket an utterance is in, it gets its own posteriors."""
    config = tiny(afcn, tones, datasets, recipe="logmel64")
    config.segment.rule, config.segment.window_s = "whole", 0.9
    scores = []
    for buckets in (1, 4):
        config.segment.buckets = buckets
        experiment = experiment_lib.prepare(config)
        trainer = Trainer(config, experiment)
        weights = [state.weights for state in trainer.states]
        windows = [run.test for run in experiment.runs]
        scores.append(trainer.posteriors(weights, windows))
    for one, four in zip(*scores, strict=True):
        assert np.ptp(one, axis=0).max() > 0  # utterances do differ
        np.testing.assert_allclose(one, four, rtol=1e-4, atol=1e-6)


def test_the_recipe_of_the_acrnn_code_trains(tones, datasets, tmp_path):
    config = tiny(acrnn, tones, datasets, recipe="logmel40_psf")
    config.data.pad = "before_norm"
    config.segment.rule, config.segment.window_s = "first_last", 0.5
    config.data.label_map = {"low": "sadness", "mid": "mid", "high": "high"}
    config.segment.train_step_s, config.segment.dense_classes = 0.1, ("sad",)
    config.train.sampling, config.train.per_class = "balanced", 11
    config.train.squared_error_weight, config.train.nesterov = 0.01, True
    experiment = experiment_lib.prepare(config)
    low = np.flatnonzero(experiment.labels == experiment.classes.index("sadness"))
    run = experiment.runs[0]
    dense = np.isin(run.train.utterance, low)
    assert np.bincount(run.train.utterance[dense]).max() > 2
    assert np.bincount(run.train.utterance[~dense]).max() <= 2
    assert experiment.constants.steps_per_epoch.tolist() == [5] * 5  # 3 x 11 of 8
    found = loop.train_and_evaluate(config, str(tmp_path))
    assert sum(run["n_test"] for run in found["runs"]) == 48
    assert "text" not in found


def test_center_loss_brings_features_to_their_centers(tones, datasets):
    """The centres leave zero and differ by class."""
    config = tiny(adrnn, tones, datasets, recipe="logmel40_3d")
    config.segment.rule, config.segment.window_s = "tile", 0.5
    config.segment.train_step_s = config.segment.test_step_s = 0.5
    assert config.train.center_weight > 0
    experiment = experiment_lib.prepare(config)
    trainer = Trainer(config, experiment)
    planned = trainer.plan(trainer.initial_snapshot().records)
    for call in trainer.calls(planned):
        trainer.train(call)
    centers = trainer.placement.collect(trainer.states).centers
    assert centers.shape[:2] == (5, 3)
    gaps = np.abs(centers[:, :, None] - centers[:, None]).max(axis=-1)
    assert (gaps[:, ~np.eye(3, dtype=bool)] > 1e-3).all()


@pytest.fixture(scope="module")
def spoken(tones) -> Path:
    """The tones with a transcript each, word vectors and speaker embeddings."""
    folder = tones.parent
    with tones.open() as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["id"] = f"t{number:02d}"
        row["text"] = WORDS[row["emotion"]] if number % 5 else ""
    with (folder / "spoken.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    rng = np.random.default_rng(0)
    known = sorted(set(" ".join(WORDS.values()).split()) - {"news"})
    lines = (f"{w} " + " ".join(f"{x:.3f}" for x in rng.normal(size=6)) for w in known)
    (folder / "vectors.txt").write_text("\n".join(lines) + "\n")
    np.savez(
        folder / "speakers.npz",
        id=np.array([row["id"] for row in rows]),
        vector=rng.normal(size=(len(rows), 4)),
    )
    return folder


def test_words_and_speaker_embeddings_reach_the_model(spoken, datasets, tmp_path):
    """Words tell the class here: the model must learn it, and the report warns."""
    config = tiny(mscnn_spu, spoken / "spoken.csv", datasets, recipe="mfcc32_3d")
    config.segment.window_s = 0.5
    config.data.text = "transcript"
    config.data.word_vectors = str(spoken / "vectors.txt")
    config.data.speaker_embeddings = str(spoken / "speakers.npz")
    config.model.modality = "both"
    config.train.epochs = 6
    found = loop.train_and_evaluate(config, str(tmp_path))
    assert found["pooled"]["ua"] > 0.7
    text = found["text"]
    assert text["source"] == "transcript" and text["unknown_words"] > 0
    assert text["without_words"] == 10  # every fifth of 48
    assert 0.5 < text["sentences_also_in_training"]["mean"] <= 1
    assert "warning: " in report.write_report(tmp_path)
    shapes = experiment_lib.prepare(config).input_shapes
    assert shapes["words"] == (3, 6) and shapes["speaker_embedding"] == (4,)
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["text"] == text
