"""Several corpora, from their files to the report."""

import collections
import csv
import json
import shutil
import types
from unittest import mock

import numpy as np
import pytest

from ser_jax.baseline import baseline
from ser_jax.corpora.utterance import Utterance
from ser_jax.data.protocols import Fold
from ser_jax.errors import InputError
from ser_jax.predict import cross_corpus, trained_model
from ser_jax.report import report
from ser_jax.training import corpus_matrix, evaluation, experiment, loop
from ser_jax.workdir import contents
from ser_jax.workdir.config import as_config
from ser_jax.workdir.predictions import Prediction
from tests import quick_model
from tests.conftest import make_tiny_config, write_tones

LABELS = {"one": ("low", "mid", "high"), "two": ("sad", "Mid", "joy")}
MAPS = {
    "one": {"low": "sadness", "mid": "neutral", "high": "happiness"},
    "two": {"Mid": "neutral"},
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Two corpora of tones with labels of their own, speakers s1 to s5 both."""
    found = {}
    for seed, (name, labels) in enumerate(LABELS.items()):
        folder = tmp_path_factory.mktemp(name)
        manifest = write_tones(folder, per_cell=2 + seed, seed=seed)
        text = manifest.read_text()
        for old, new in zip(LABELS["one"], labels, strict=True):
            text = text.replace(f",{old},", f",{new},")
        manifest.write_text(text)
        found[name] = str(manifest)
    return found


def _config(places, tones, datasets, split="pairs", **changes):
    config = make_tiny_config(tones, datasets)
    config.data.corpus, config.data.manifest = "multi", ""
    config.data.corpora, config.data.taxonomy = places, "basic4"
    config.data.label_maps = MAPS
    config.protocol.split, config.protocol.groups = split, 2
    for key, value in changes.items():
        group, name = key.split("__")
        config[group][name] = value
    return config


@pytest.fixture(scope="module")
def pairs(places, tones, datasets, tmp_path_factory):
    """A finished training of two seeds: workdir, results, lines of predictions.csv."""
    folder = tmp_path_factory.mktemp("pairs")
    config = _config(places, tones, datasets, protocol__seeds=(0, 1))
    with pytest.MonkeyPatch.context() as patch:
        quick_model.replace(patch, config.model.name)
        results = loop.train_and_evaluate(config, str(folder))
    with (folder / "predictions.csv").open(newline="") as file:
        return folder, results, list(csv.DictReader(file))


def _ua(lines):
    hits = collections.defaultdict(list)
    for line in lines:
        hits[line["label"]].append(line["prediction"] == line["label"])
    return np.mean([np.mean(x) for x in hits.values()])


def test_every_score_follows_from_the_predictions(pairs):
    _, results, lines = pairs
    cells = {
        (*cell["train"], cell["test"]): cell for cell in results["corpora"]["cells"]
    }
    assert list(cells) == [
        ("one", "one"), ("one", "two"), ("two", "one"), ("two", "two")
    ]  # fmt: skip
    classes = results["classes"]
    for (source, target), cell in cells.items():
        assert cell["own"] == (source == target)
        tested = collections.defaultdict(list)
        for line in lines:
            if (line["fold"], line["corpus"]) == (source, target):
                tested[line["utterance"]].append(line)
        averaged = []
        for same in tested.values():
            assert sorted(x["seed"] for x in same) in (["0", "1"], ["0"], ["1"])
            mean = [np.mean([float(x[f"p_{k}"]) for x in same]) for k in classes]
            averaged.append(same[0] | {"prediction": classes[int(np.argmax(mean))]})
        assert cell["n"] == len(averaged)
        assert cell["ua"] == pytest.approx(_ua(averaged), abs=1e-12)
    for run in results["runs"]:
        assert run["tested"] != run["fold"]
        own = (run["fold"], str(run["seed"]), run["tested"])
        mine = [x for x in lines if (x["fold"], x["seed"], x["corpus"]) == own]
        assert run["ua"] == pytest.approx(_ua(mine)) and run["n_test"] == len(mine)
    assert len(results["runs"]) == 4
    assert results["ua"]["mean"] == pytest.approx(
        np.mean([run["ua"] for run in results["runs"]])
    )


def test_a_corpus_that_only_validates_is_not_said_to_train():
    utterances = [
        Utterance(id=f"{name}/{k}", wav="", speaker=f"{name}/{k}", session="s",
                  emotion="", extra={"corpus": name})
        for name in "abc"
        for k in range(2)
    ]  # fmt: skip
    fold = Fold("a", 0, train=(4, 5), val=(2, 3), test=(0, 1))
    made = mock.Mock(
        spec=experiment.Experiment,
        runs=[types.SimpleNamespace(fold=fold)],
        utterances=utterances,
        labels=np.array([0, 1] * 3),
        classes=("x", "y"),
    )
    lines = [
        Prediction(u.id, "a", 0, u.speaker, "s", "xy"[k], "x", (0.6, 0.4), "a")
        for k, u in enumerate(utterances[:2])
    ]
    train = types.SimpleNamespace(sampling="all", class_weights="none")
    config = types.SimpleNamespace(train=train)
    (cell,) = corpus_matrix.cells(made, lines, config)
    assert (cell["train"], cell["test"]) == (["c"], "a")
    assert cell["prior_source"] == {"x": 0.5, "y": 0.5}


@pytest.mark.parametrize(
    ("other", "known"), [("demo", {"happy"}), ("iemocap", {"happy"}), ("emodb", set())]
)
def test_the_happy_policy_is_said_where_it_decides(
    places, tones, datasets, other, known
):
    config = _config({"one": places["one"], other: ""}, tones, datasets)
    assert evaluation.rules(config).keys() & {"happy", "subset"} == known


def test_a_corpus_of_one_utterance_is_scored_without_a_probe():
    utterances = [types.SimpleNamespace(extra={"corpus": x}, speaker=x) for x in "aab"]
    made = types.SimpleNamespace(utterances=utterances)
    trainer = types.SimpleNamespace(experiment=made)
    assert corpus_matrix.probe(trainer, []) is None


def test_it_says_what_it_is(pairs):
    _, results, _ = pairs
    assert (
        results["corpus"] == "one+two" and results["protocol"]["target_use"] == "none"
    )
    assert results["classes"] == ["happiness", "neutral", "sadness"]
    labels = {
        (x["corpus"], x["label"]): x["used_as"] for x in results["utterances"]["labels"]
    }
    assert labels["two", "joy"] == "happiness" and labels["one", "low"] == "sadness"
    probe = results["corpora"]["probe"]
    assert 0 <= probe["accuracy"] <= 1 and probe["chance"] == 0.5
    assert probe["unknown"] == "speakers"


def test_the_report_has_the_matrix_with_its_diagonal_apart(pairs, tmp_path):
    folder = shutil.copytree(pairs[0], tmp_path / "w")
    printed = report.write_report(folder)
    assert "one → two" in printed and "[target use: none]" in printed
    page = (folder / "report.html").read_text()
    assert "From corpus to corpus" in page and "Target use: none." in page
    assert (folder / "figures" / "corpora.png").stat().st_size > 5_000
    text = (folder / "report.md").read_text()
    assert "| two | two (own, other speakers) |" in text
    assert "Corpus probe" in text and "| one | low | sadness | 11 |" in text


@pytest.mark.slow
def test_evaluating_again_and_from_elsewhere_gives_the_same(
    pairs, places, tmp_path, monkeypatch
):
    quick_model.replace(monkeypatch, "area_attn")
    folder = shutil.copytree(pairs[0], tmp_path / "w")
    moved = shutil.copytree(places["two"].rpartition("/")[0], tmp_path / "moved")
    again = loop.evaluate(str(folder), f"two={moved / 'manifest.csv'}")
    assert again["corpora"] == pairs[1]["corpora"]
    with pytest.raises(InputError, match="--data: expected name=path.*of one, two"):
        loop.evaluate(str(folder), str(moved))


def test_a_corpus_that_trained_is_no_other_one(pairs, monkeypatch):
    quick_model.replace(monkeypatch, "area_attn")
    with pytest.raises(InputError, match="--corpus: expected another corpus than two"):
        cross_corpus.evaluate(str(pairs[0]), "two")
    trained = trained_model.load(pairs[0])
    # Of what was tested; a new recording has no part in it.
    assert trained.provenance["stamps"] == []


def test_other_corpora_are_another_experiment(pairs, places, tones, datasets):
    stored = json.loads((pairs[0] / "config.json").read_text())["config"]
    assert as_config(stored).data.corpora == tuple(places.items())
    other = {"one": places["one"], "three": places["two"]}
    config = _config(other, tones, datasets, protocol__seeds=(0, 1))
    config.data.label_maps = {"one": MAPS["one"], "three": MAPS["two"]}
    with pytest.raises(InputError, match="data.corpora: here .'one', 'two'."):
        loop.train_and_evaluate(config, str(pairs[0]))


@pytest.mark.parametrize(
    ("split", "scaled_by", "sampling"),
    [("corpus", "corpus", "corpus_class"), ("group", "speaker", "corpus")],
)
def test_the_other_splits_score_each_corpus(
    places, tones, datasets, tmp_path, monkeypatch, split, scaled_by, sampling
):
    quick_model.replace(monkeypatch, "area_attn")
    changes = {"data__normalize": scaled_by, "train__sampling": sampling}
    config = _config(places, tones, datasets, split, **changes)
    results = loop.train_and_evaluate(config, str(tmp_path / "w"))
    cells = results["corpora"]["cells"]
    trained = [["two"], ["one"]] if split == "corpus" else [["one", "two"]] * 2
    assert [
        (x["test"], x["train"]) for x in sorted(cells, key=lambda x: x["test"])
    ] == [*zip(("one", "two"), trained, strict=True)]
    (stamp,) = trained_model.load(tmp_path / "w").provenance["stamps"]
    assert stamp == f"scaled by the training, tests by their own {scaled_by}"
    use = "unlabelled" if split == "corpus" else "labelled"
    assert results["protocol"]["target_use"] == use
    report.write_report(tmp_path / "w")


@pytest.mark.parametrize(
    ("scaled_by", "owners", "sampling", "strata"),
    [("corpus", 2, "corpus", 2), ("speaker", 10, "corpus_class", 6)],
)
def test_what_is_scaled_and_drawn_together(
    places, tones, datasets, scaled_by, owners, sampling, strata
):
    changes = {"data__normalize": scaled_by, "train__sampling": sampling}
    prepared = experiment.prepare(_config(places, tones, datasets, "group", **changes))
    assert len(prepared.tables.owner_mean) == owners
    names = [
        u.speaker if scaled_by == "speaker" else u.speaker.partition("/")[0]
        for u in prepared.utterances
    ]
    assert len({*zip(prepared.tables.owner.tolist(), names, strict=True)}) == owners
    for run in prepared.runs:
        assert len(run.strata) == len(run.train.utterance)
        assert len(np.unique(run.strata)) == strata


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__root": "/data"}, "data.root: expected '' with data.corpus=multi"),
        ({"data__corpora": None}, "data.corpora: expected two or more"),
        ({"data__taxonomy": "", "data__label_maps": None}, "data.taxonomy: expected"),
        ({"data__taxonomy": "basic5"}, "data.taxonomy: expected.*basic4"),
        (
            {"data__label_maps": {"three": {"a": "b"}}},
            "maps of corpora in data.corpora",
        ),
        ({"data__label_maps": {"one": "sad"}}, "data.label_maps, one: expected"),
        ({"data__label_map": {"low": "sad"}}, "data.label_map: expected None"),
        ({"data__corpus": "demo"}, "data.corpus: expected multi with data.corpora"),
    ],
)
def test_what_does_not_go_together_is_refused(
    places, tones, datasets, tmp_path, changes, message
):
    config = _config(places, tones, datasets, **changes)
    with pytest.raises(InputError, match=message):
        loop.train_and_evaluate(config, str(tmp_path / "w"))


def test_the_baseline_has_the_same_pairs(pairs, tmp_path):
    folder, results, lines = pairs
    workdir = shutil.copytree(folder, tmp_path / "w")
    found = baseline.run(str(workdir))
    keys = ("fold", "seed", "tested", "n_test")
    assert [[run[k] for k in keys] for run in found["runs"]] == [
        [run[k] for k in keys] for run in results["runs"]
    ]
    assert len(contents.read(workdir).baseline.predictions) == len(lines)
    assert "linear SVM" in report.write_report(workdir)
