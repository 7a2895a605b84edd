"""A corpus by its name is the dataset that its manifest gives."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from configs import area_attn
from ser_jax.corpora import named
from ser_jax.data import protocols
from ser_jax.datasets import build, store
from ser_jax.training import loop
from tests import quick_model
from tests.corpora import corpus_names

EMODB = Path(__file__).parents[3] / "shared/data/emodb"
FIELDS = ("id", "emotion", "speaker", "gender", "text")


def config_for(folder, **changes):
    """The preset `:emodb_small` on few bands, for one epoch."""
    config = area_attn.get_config("emodb_small")
    config.data.update(tfds_dir=str(folder), file_format="array_record", **changes)
    config.protocol.groups = 5
    config.train.update(epochs=1, warmup_epochs=0.0, devices=1)
    return config


@pytest.fixture(name="configs")
def _configs(tmp_path):
    """By name and by manifest, of every tenth recording."""
    with (EMODB / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[::10]
    (tmp_path / "emodb" / "wav").mkdir(parents=True)
    listed = tmp_path / "emodb" / "listed.csv"
    with listed.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", *rows[0]])
        writer.writeheader()
        for row in rows:
            os.symlink(EMODB / row["path"], tmp_path / "emodb" / row["path"])
            writer.writerow(row | {"id": Path(row["path"]).stem})
    by_name = config_for(tmp_path / "a", root=str(tmp_path / "emodb"))
    by_list = config_for(tmp_path / "b", corpus="manifest", manifest=str(listed))
    return by_name, by_list


@pytest.mark.skipif(not EMODB.is_dir(), reason=f"EMO-DB is not at {EMODB}")
def test_emodb_by_name_is_emodb_by_its_manifest(configs, tmp_path, monkeypatch):
    one, two = (store.load(build.ensure_built(config.data)) for config in configs)
    for a, b in zip(one.utterances, two.utterances, strict=True):
        assert [getattr(a, x) for x in FIELDS] == [getattr(b, x) for x in FIELDS]
    np.testing.assert_array_equal(one.flat, two.flat)
    assert one.sound_digests == two.sound_digests and len(one.utterances) == 54
    assert build.ensure_built(configs[0].data) == one.directory

    quick_model.replace(monkeypatch, "area_attn")
    folders = tmp_path / "by_name", tmp_path / "by_list"
    for config, folder in zip(configs, folders, strict=True):
        loop.train_and_evaluate(config, str(folder))
    one, two = (json.loads((folder / "splits.json").read_text()) for folder in folders)
    assert one == two and "group5" in json.dumps(one)
    one, two = (predictions(folder / "predictions.csv") for folder in folders)
    assert one[0] == two[0] and len(one[0]) == 54
    # Equal arrays make equal programs; threads may add in another order.
    np.testing.assert_allclose(one[1], two[1], rtol=0, atol=1e-6)


def predictions(file):
    """(Ids, folds and labels; posteriors) of every test utterance."""
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    known = [(row["utterance"], row["fold"], row["label"]) for row in rows]
    return known, [[float(row[x]) for x in row if x.startswith("p_")] for row in rows]


def folds_of(corpus, root, names, **changes):
    """(Utterances, folds) of a corpus of which only the names are there."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    utterances = list(named.read(corpus, str(root)))
    config = area_attn.get_config("emodb_small")
    config.protocol.update(changes)
    classes = sorted({u.emotion for u in utterances})
    labels = np.array([classes.index(u.emotion) for u in utterances])
    return utterances, protocols.make_folds(utterances, labels, config.protocol)


def test_groups_hold_as_many_women_as_men(tmp_path):
    names = corpus_names.RULES["ravdess"]()
    utterances, folds = folds_of("ravdess", tmp_path, names, groups=6)
    for fold in folds:
        tested = {(utterances[i].speaker, utterances[i].gender) for i in fold.test}
        assert sorted(gender for _, gender in tested) == ["F", "F", "M", "M"]
        assert len(fold.test) == 240


def test_official_parts_are_the_corpus_own(tmp_path):
    parts = {"train": 60, "evaluation": 5, "test": 10}
    names = [
        f"0011/{label}/{part}/0011_{number:06}.wav"
        for start, label in enumerate(("Neutral", "Angry"))
        for part, many in parts.items()
        for number in range(500 * start + many, 500 * start + 2 * many)
    ]
    _, (fold,) = folds_of("esd", tmp_path, names, split="official", selection="val")
    assert [len(x) for x in (fold.train, fold.val, fold.test)] == [120, 10, 20]
