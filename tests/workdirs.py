"""Tiny workdirs that inference is held against."""

import csv
import dataclasses
from pathlib import Path

import numpy as np

from configs import acrnn, afcn, head_fusion, mscnn_spu, presets
from ser_jax import clock
from ser_jax.training import evaluation, loop
from ser_jax.training import experiment as experiment_lib
from ser_jax.training.trainer import Trainer
from ser_jax.workdir.checkpoint import Checkpointer, RunRecord
from ser_jax.workdir.workdir import Workdir
from tests import conftest


def small(module, manifest, datasets, recipe, rule, window_s):
    config = module.get_config("emodb_small")
    presets.without_vtlp(config)
    config.data.corpus = "manifest"
    config.data.manifest, config.data.tfds_dir = str(manifest), datasets
    config.data.recipe, config.data.file_format = recipe, "array_record"
    config.data.num_workers = 1
    config.protocol.groups = 2
    config.protocol.selection, config.protocol.validation = "val", "random"
    config.segment.rule, config.segment.window_s = rule, window_s
    config.segment.test_step_s = config.segment.train_step_s = 0.2
    config.model.width = 0.05
    config.train.batch_size = 8
    config.train.devices = 1
    return config


def _area_attn(tones, datasets):
    config = conftest.make_tiny_config(tones, datasets)
    config.protocol.groups = 2
    config.protocol.validation = "random"
    config.train.epochs = 2
    return config


def _acrnn(tones, datasets):
    config = small(acrnn, tones, datasets, "logmel40_psf", "first_last", 0.5)
    config.data.pad = "before_norm"
    return config


def _afcn(tones, datasets):
    return small(afcn, tones, datasets, "spectrogram200", "whole", 0.8)


def _head_fusion(tones, datasets):
    config = small(head_fusion, tones, datasets, "mfcc26", "tile", 0.4)
    config.segment.vote, config.data.level = "max", "unit"
    return config


def _mscnn_spu(tones, datasets):
    config = small(mscnn_spu, spoken(tones), datasets, "mfcc32_3d", "first", 0.5)
    config.data.text, config.model.modality = "transcript", "both"
    config.data.word_vectors = str(tones.parent / "vectors.txt")
    return config


def spoken(tones) -> Path:
    """The tones with a text each, and word vectors beside them."""
    with tones.open() as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["text"] = f"{row['emotion']} it is" if number % 4 else "unheard"
    path = tones.parent / "said.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    rng = np.random.default_rng(0)
    words = ("low", "mid", "high", "it", "is")
    lines = (f"{w} " + " ".join(f"{x:.3f}" for x in rng.normal(size=6)) for w in words)
    (tones.parent / "vectors.txt").write_text("\n".join(lines) + "\n")
    return path


CONFIGS = {
    "area_attn": _area_attn,
    "acrnn": _acrnn,
    "afcn": _afcn,
    "head_fusion": _head_fusion,
    "mscnn_spu": _mscnn_spu,
}


def make(name: str, tones: Path, datasets: str, folder: Path) -> None:
    """Fills a folder: trained for one system, untrained for the others."""
    config = CONFIGS[name](tones, datasets)
    if name == "area_attn":
        loop.train_and_evaluate(config, str(folder))
    else:
        evaluate_untrained(config, folder)


def evaluate_untrained(config, folder: Path) -> None:
    """All that a training leaves, with the weights it would start from."""
    workdir = Workdir(folder)
    workdir.claim(config.to_dict())
    experiment = experiment_lib.prepare(config)
    trainer = Trainer(config, experiment)
    records = [RunRecord(best_update=1, active=False) for _ in experiment.runs]
    snapshot = dataclasses.replace(trainer.initial_snapshot(), records=records)
    checkpointer = Checkpointer(
        folder, provenance=loop.checkpoint_meta(config, experiment)
    )
    statistics = {x: getattr(experiment.constants, x) for x in ("mean", "std")}
    checkpointer.save(snapshot, normalisation=statistics)
    checkpointer.close()
    with clock.running():
        evaluation.evaluate(config, workdir, trainer, snapshot)
