"""Scores a person can recompute, and the caveats beside them."""

import types

import pytest
from ml_collections import ConfigDict

from ser_jax.errors import InputError
from ser_jax.predict import label_scores
from ser_jax.predict.sources import Source

CLASSES = ("neutral", "happy", "sad", "angry")


def _trained(
    corpus="demo",
    happy="hap+exc",
    label_map=None,
    classes=CLASSES,
    taxonomy="",
    label_maps=None,
):
    data = {"corpus": corpus, "taxonomy": taxonomy}
    config = ConfigDict({"data": data, "protocol": {"happy": happy}})
    config.data.label_map, config.data.label_maps = label_map, label_maps
    folds = ({"train": ["a", "b"], "val": ["c"], "test": ["d"]},)
    return types.SimpleNamespace(config=config, classes=classes, folds=folds)


def _summary(trained, *rows):
    """`rows`: (id, label, prediction)."""
    predictions = [(Source(x, x, x, label), chosen) for x, label, chosen in rows]
    class_of = label_scores.classes_of_labels(trained)
    return label_scores.summarise(trained, class_of, predictions)


def test_scores_by_hand():
    """neutral 1 of 2, sad 1 of 1, angry 0 of 1: UA 1/2, WA 2/4; the rest is counted."""
    text = _summary(
        _trained(happy="exc"),
        ("x1", "neu", "neutral"),
        ("x2", "neutral", "sad"),
        ("x3", "sad", "sad"),
        ("x4", "ang", "happy"),
        ("x5", "hap", "happy"),  # this model's happy is excited only
        ("x6", "fru", "sad"),
        ("x7", "fru", "sad"),
        ("x8", "", "sad"),  # no label: no score
    )
    assert "Against 4 labels: UA 50.00%, WA 50.00% (no recording of happy)" in text
    assert "fru 2, hap 1" in text and "speakers may have been" in text


def test_recordings_that_trained_are_no_test():
    text = _summary(_trained(), *((name, "sad", "sad") for name in "abcd"))
    assert "Not a test result: 3 of them" in text


def test_recordings_of_several_corpora_are_known_without_their_corpus():
    trained = _trained("multi", taxonomy="basic4", classes=("anger", "sadness"))
    trained.folds = ({"train": ["x/a", "y/s/b"], "val": [], "test": ["x/d"]},)
    rows = [(name, "Sad", "sadness") for name in ("a", "s/b", "d", "x/a")]
    text = _summary(trained, *rows)
    assert "Against 4 labels: UA 100.00%" in text  # in any case, as in training
    assert "Not a test result: 2 of them are called as some that trained" in text


def test_maps_of_several_corpora_count_where_they_agree():
    maps = (
        ("x", {"calm": "low", "mad": "high", "fear": ""}),
        ("y", {"calm": "low", "mad": "low"}),
    )
    trained = _trained("multi", classes=("high", "low"), taxonomy="arousal2")
    trained.config.data.label_maps = maps
    class_of = label_scores.classes_of_labels(trained, "sad=high")
    asked = {x: class_of[x] for x in ("calm", "mad", "fear", "anger", "sad")}
    assert asked == {
        "calm": "low",
        "mad": "",
        "fear": "",
        "anger": "high",
        "sad": "high",
    }


def test_without_labels_nothing_is_said():
    assert _summary(_trained(), ("a", "", "sad")) == _summary(_trained()) == ""


def test_whose_labels_are_which_classes():
    own = label_scores.classes_of_labels(_trained())
    assert own["exc"] == own["hap"] == "happy" and own["angry"] == "angry"
    mapped = _trained("manifest", label_map=(("Wut", "angry"),))
    class_of = label_scores.classes_of_labels(mapped, "Freude=happy, Wut = sad")
    assert class_of["Freude"] == "happy" and class_of["Wut"] == "sad"
    assert "exc" not in class_of
    several = _trained("multi", taxonomy="arousal2", classes=("high", "low"))
    class_of = label_scores.classes_of_labels(several, "Wut=high")
    assert (class_of["ang"], class_of["bored"], class_of["Wut"]) == (
        "high",
        "low",
        "high",
    )
    for wrong in ("Freude", "Freude=joy"):
        with pytest.raises(InputError, match="--labels: expected raw=class"):
            label_scores.classes_of_labels(mapped, wrong)
