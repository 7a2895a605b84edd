"""A trained workdir on another corpus: what is scored, what is left out, what is kept."""

import csv
import dataclasses
import json
import shutil
import types

import numpy as np
import pytest
from ml_collections import ConfigDict

from ser_jax.corpora.source import Source
from ser_jax.corpora.utterance import Utterance
from ser_jax.errors import InputError
from ser_jax.predict import cross_corpus, known_recordings, predict
from ser_jax.predict.common_classes import CommonClasses
from ser_jax.report import report
from ser_jax.workdir import contents, files
from tests import conftest


def _rows(path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(name="other", scope="module")
def _other(tones, tmp_path_factory):
    """Tones of another seed, in other words; one that trained, one no recording."""
    folder = tmp_path_factory.mktemp("other")
    manifest = conftest.write_tones(folder, seed=1)
    rows = _rows(manifest)
    shutil.copy(tones.parent / "s1_low_0.wav", folder / "copied.wav")
    (folder / "broken.wav").write_text("no sound")
    rows.append({"path": "copied.wav", "emotion": "low", "speaker": "s1"})
    rows.append({"path": "broken.wav", "emotion": "low", "speaker": "s1"})
    for row in rows:
        # Two labels are one class, one is spelled otherwise, one has no class.
        wide = {"low": "deep", "mid": "MID"}.get(row["emotion"], row["emotion"])
        row["emotion"] = "hum" if row["path"].endswith("s5_low_0.wav") else wide
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return manifest


@pytest.fixture(name="scored", scope="module")
def _scored(workdirs, other, tmp_path_factory):
    """(The workdir's copy, what `evaluate` returned.)"""
    workdir = tmp_path_factory.mktemp("scored") / "w"
    shutil.copytree(workdirs("area_attn"), workdir)
    options = {"name": "tones-2", "labels": "deep=low"}
    return workdir, cross_corpus.evaluate(str(workdir), str(other), **options)


def test_scores_are_those_of_predict(scored, workdirs, other, tmp_path):
    _, content = scored
    out = tmp_path / "x.csv"
    predict.predict(str(workdirs("area_attn")), [str(other)], out=str(out))
    names, truth = ["high", "low", "mid"], {"deep": "low", "MID": "mid", "high": "high"}
    answers, hits = {row["file"]: row for row in _rows(out)}, {x: [] for x in names}
    for row in _rows(other):
        if row["path"] in ("copied.wav", "broken.wav") or row["emotion"] == "hum":
            continue
        label = truth[row["emotion"]]
        hits[label].append(answers[row["path"]]["label"] == label)
    recalls = {name: float(np.mean(hits[name])) for name in names}
    assert content["classes"] == names and content["n"] == 47
    assert content["recalls"] == pytest.approx(recalls)
    assert content["ua"] == pytest.approx(np.mean([*recalls.values()]))
    assert content["chance"] == 1 / 3 and content["speakers"] == 5
    low, high = content["ua_interval"]
    assert 0 <= low <= content["ua"] <= high <= 1


def test_what_is_left_out_is_listed(scored):
    _, content = scored
    assert content["labels"] == {"deep": "low", "MID": "mid", "high": "high"}
    assert content["dropped_labels"] == {"hum": 1} and content["dropped_classes"] == []
    skipped = content["utterances"]["skipped"]
    assert skipped == {"known from the training": 1, "unreadable": 1}
    assert {x["id"] for x in content["utterances"]["excluded"]} == {"copied", "broken"}
    assert content["notes"] and "1 of 50 recordings" in content["notes"][0]
    assert content["target_use"] == "none" and len(content["runs"]) == 2
    assert content["versions"]["jax"] and content["trained_on"] != content["corpus"]


def test_priors_are_of_the_training_parts(scored):
    workdir, content = scored
    splits = json.loads((workdir / files.SPLITS).read_text())
    trained = [splits["labels"][x] for fold in splits["folds"] for x in fold["train"]]
    shares = {name: trained.count(name) / len(trained) for name in content["classes"]}
    assert content["prior_source"] == pytest.approx(shares)
    assert content["prior_target"]["mid"] == pytest.approx(16 / 47)


def test_both_files_and_the_report_say_it(scored):
    workdir, content = scored
    folder = workdir / "cross_corpus"
    assert json.loads((folder / "tones-2.json").read_text()) == content
    rows = _rows(folder / "tones-2.csv")
    assert len(rows) == 47 and {*rows[0]} == {
        *("utterance", "speaker", "label", "class", "prediction"),
        *("p_high", "p_low", "p_mid"),
    }
    hits = [row["class"] == row["prediction"] for row in rows]
    assert np.mean(hits) == pytest.approx(content["wa"])
    printed = report.write_cross_corpus(str(workdir), "tones-2")
    score = f"{100 * content['ua']:.2f}"
    assert score in printed and "hum 1" in printed and "target use: none" in printed
    assert "tones-2.json" in printed
    page = (workdir / "report.html").read_text()
    assert "On other corpora" in page and "tones-2" in page and score in page
    assert score in (workdir / "report.md").read_text()


def test_the_same_name_is_replaced(scored, other, tmp_path):
    workdir = tmp_path / "w"
    shutil.copytree(scored[0], workdir)
    cross_corpus.evaluate(str(workdir), str(other), name="tones-2")
    (kept,) = contents.read(workdir).cross_corpus
    assert kept["classes"] == ["high", "mid"] and "deep" in kept["dropped_labels"]
    assert kept["dropped_classes"] == ["low"] and kept["chance"] == 0.5
    assert {path.name for path in (workdir / "cross_corpus").iterdir()} == {
        "tones-2.json",
        "tones-2.csv",
    }


def test_the_corpus_trained_on_is_no_other(workdirs, tones, tmp_path):
    workdir = workdirs("area_attn")
    with pytest.raises(InputError, match="got the same 48 recordings"):
        cross_corpus.evaluate(str(workdir), str(tones))
    copy = tmp_path / "copy"
    shutil.copytree(tones.parent, copy)
    with pytest.raises(InputError, match="got the same 48 recordings"):
        cross_corpus.evaluate(str(workdir), str(copy / "manifest.csv"))
    assert not (workdir / "cross_corpus").exists()


@pytest.mark.parametrize("name", ["../x", ".x", "a b", "a" * 90])
def test_names_that_are_no_file_are_refused(workdirs, other, name):
    with pytest.raises(InputError, match="--name: expected letters"):
        cross_corpus.evaluate(str(workdirs("area_attn")), str(other), name=name)


def test_a_training_that_has_not_ended_has_no_score(workdirs, other, tmp_path):
    shutil.copytree(workdirs("area_attn"), tmp_path / "w")
    (tmp_path / "w" / files.RESULTS).unlink()
    with pytest.raises(InputError, match="once training has ended"):
        cross_corpus.evaluate(str(tmp_path / "w"), str(other))


def _trained(*classes, corpus="manifest", sampling="all", class_weights="none"):
    config = ConfigDict({"data": {"corpus": corpus, "demo_turns": 2, "demo_seed": 0}})
    config.train = {"sampling": sampling, "class_weights": class_weights}
    return types.SimpleNamespace(
        config=config,
        classes=classes,
        folds=({"train": ["a", "b", "c"], "val": ["d"], "test": ["e"]},),
        provenance={"workdir": "W"},
    )


def _said(*labels):
    return [Utterance(f"u{n}", "", "s", "s1", x) for n, x in enumerate(labels)]


def test_classes_that_are_one_here_are_added():
    trained = _trained("angry", "excited", "happy", "tired")
    common = CommonClasses.of(trained, "T", _said("anger", "joy", "joy", "calm"))
    assert common.names == ["angry", "excited+happy"] and common.index("joy") == 1
    got = common.restrict(np.array([0.2, 0.1, 0.3, 0.4]))
    np.testing.assert_allclose(got, [1 / 3, 2 / 3])
    assert common.restrict(np.array([0, 0, 0, 1.0])).tolist() == [0, 0]
    described = common.describe(_said("anger", "joy", "joy", "calm"))
    assert described["dropped_labels"] == {"calm": 1}
    assert described["dropped_classes"] == ["tired"]


def test_labels_may_be_named_class_by_class():
    trained = _trained("angry", "excited", "happy")
    said = _said("hap", "exc", "ang")
    pairs = "hap=happy,exc=excited"
    assert CommonClasses.of(trained, "T", said, pairs).names == [*trained.classes]
    with pytest.raises(InputError, match="Name the class of each"):
        CommonClasses.of(trained, "T", said, "hap=happy")
    with pytest.raises(
        InputError, match="expected labels of T, ang, exc, hap; got 'x'"
    ):
        CommonClasses.of(trained, "T", said, "x=happy")


def test_too_little_in_common_names_both_sides():
    with pytest.raises(InputError) as error:
        CommonClasses.of(_trained("Wut", "happy"), "T", _said("anger", "joy"))
    text = str(error.value)
    assert "got happy" in text and "Wut, happy" in text and "anger, joy" in text
    assert "--labels=raw=class" in text


def test_counts_of_the_training(tmp_path):
    labels = {"a": "angry", "b": "happy", "c": "excited", "d": "happy", "e": "angry"}
    files.write_json(tmp_path / files.SPLITS, {"labels": labels})
    trained = _trained("angry", "excited", "happy")
    common = CommonClasses.of(trained, "T", _said("anger", "joy"))
    counts, seen = common.source_counts(tmp_path)
    assert counts.tolist() == [1, 2] and seen[1] == 2 * seen[0]


def test_ids_say_of_which_corpus_as_much_was_seen(tmp_path):
    labels = {"a/1": "angry", "a/2": "angry", "a/3": "happy", "b/1": "angry"}
    files.write_json(tmp_path / files.SPLITS, {"labels": labels})
    trained = _trained("angry", "happy", corpus="multi", sampling="corpus")
    trained.folds = ({"train": [*labels]},)
    common = CommonClasses.of(trained, "T", _said("anger", "joy"))
    counts, seen = common.source_counts(tmp_path)
    assert counts.tolist() == [3, 1]
    np.testing.assert_allclose(seen, [2 / 3 + 1, 1 / 3])


def _answers(*probabilities):
    return [
        (u, types.SimpleNamespace(probabilities=np.array(p)))
        for u, p in zip(_said("anger", "joy"), probabilities, strict=True)
    ]


def test_a_balanced_training_has_nothing_to_adjust():
    """0.6 / 3 < 0.4 / 1: adjusted, both are joy; not if training saw as much of each."""
    answered = _answers([0.6, 0.4], [0.6, 0.4])
    counts = np.array([3.0, 1.0])
    common = CommonClasses.of(_trained("anger", "joy"), "T", _said("anger", "joy"))
    scores = cross_corpus._score(common, counts, counts, answered)
    assert not scores["balanced_training"]
    assert scores["recalls"] == {"anger": 1.0, "joy": 0.0}
    assert scores["logit_adjusted"]["recalls"] == {"anger": 0.0, "joy": 1.0}
    scores = cross_corpus._score(common, counts, np.ones(2), answered)
    assert scores["balanced_training"]
    assert scores["logit_adjusted"]["recalls"] == scores["recalls"]
    assert scores["prior_source"] == {"anger": 0.75, "joy": 0.25}


def test_models_that_read_words_need_a_text():
    read = []
    recognizer = types.SimpleNamespace(
        words=types.SimpleNamespace(look_up=read.extend),
        open=lambda wav, text: text,
        answers=lambda items: [
            (u, types.SimpleNamespace(warnings=(f"short: {text} s",)))
            for u, text in items
        ],
    )
    said = [
        Utterance("a", "", "s", "s1", "joy", text="yes"),
        Utterance("b", "", "s", "s1", "joy", text=" "),
    ]
    answered, failed, warnings = cross_corpus._answer(recognizer, said, "x")
    assert [u.id for u, _ in answered] == ["a"] and read == ["yes"]
    assert [(x.id, x.reason) for x in failed] == [("b", "no text")]
    assert warnings == {"short": 1}


def test_names_are_compared_where_files_are_gone(tmp_path):
    """Ids `x/a` and `a` may be one recording; `z` is none of the training's."""
    wav = tmp_path / "a.wav"
    wav.write_bytes(b"1")
    said = tuple(Utterance(x, str(wav), "s", "s1", "joy") for x in ("x/a", "z"))
    found = Source("t", "T", "here", said, (), {})
    others, excluded, (note,) = known_recordings.leave_out(_trained(), tmp_path, found)
    assert [*others] == [*said] and not excluded
    assert "1 of 2 recordings of T are called as some that W was trained on" in note


def test_half_a_corpus_is_said_to_be_one():
    found = Source("t", "T", "here", tuple(_said("joy", "joy", "fear")), (), {})
    assert cross_corpus._differing_counts(found) == []
    found = dataclasses.replace(found, published={"joy": 4, "fear": 1, "anger": 2})
    (note,) = cross_corpus._differing_counts(found)
    assert note.endswith("were published: joy 2 of 4, anger 0 of 2.")


def test_the_corpus_of_the_same_name_is_refused():
    with pytest.raises(InputError, match="another corpus than CREMA-D, which W"):
        cross_corpus._find(_trained(corpus="crema_d"), "CREMA-D", "")


def test_the_demo_and_iemocap_are_corpora(tmp_path, monkeypatch):
    from tests.corpora import iemocap_tree

    root = str(iemocap_tree.write_tree(tmp_path / "i"))
    found = cross_corpus._find(_trained(), "iemocap", root)
    assert found.name == "iemocap" and found.utterances
    made = []
    monkeypatch.setattr(
        cross_corpus.demo, "make", lambda folder, **how: made.append(how) or root
    )
    found = cross_corpus._find(_trained(), "demo", "")
    assert found.name == "demo" and made == [{"turns": 2, "seed": 0}]
