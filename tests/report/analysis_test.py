"""Numbers behind the details, against examples worked by hand."""

import pytest

from ser_jax.report import analysis
from ser_jax.workdir.predictions import Prediction

CLASSES = ("angry", "happy", "sad")


def _decisions(*rows):
    """(utterance, speaker, label, decided, posteriors or None)."""
    return [
        Prediction(
            name, "f", 0, speaker, "s", label, decided, scores or (0.2, 0.3, 0.5)
        )
        for name, speaker, label, decided, scores in rows
    ]


def test_groups_by_hand():
    counts = analysis.groups(
        _decisions(
            ("a", "10F", "angry", "angry", None),
            ("b", "2M", "angry", "sad", None),
            ("c", "2M", "angry", "angry", None),
            ("d", "2M", "angry", "angry", None),
            ("e", "2M", "sad", "angry", None),
            ("f", "2M", "sad", "sad", None),
        ),
        CLASSES,
        "speaker",
    )
    assert list(counts) == ["2M", "10F"]
    # Angry: two of three right; sad: one of two; no happy.
    assert counts["2M"].tolist() == [[2, 0, 1], [0, 0, 0], [1, 0, 1]]
    assert counts["10F"].tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_durations_by_hand():
    seconds = {"a": 4.0, "b": 1.0, "c": 3.0, "d": 2.0, "e": 9.0}
    tested = _decisions(
        ("a", "", "sad", "sad", None),
        ("b", "", "sad", "angry", None),
        ("c", "", "happy", "sad", None),
        ("d", "", "sad", "sad", None),
        ("unknown", "", "sad", "angry", None),
        ("e", "", "happy", "happy", None),
    )
    # The median of 1, 2, 3, 4, 9 is 3, which belongs to the lower bin.
    short, long = analysis.durations(tested, seconds, CLASSES, bins=2)
    assert short[:2] == (1.0, 3.0) and long[:2] == (4.0, 9.0)
    assert short[2].tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 1]]
    assert long[2].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_equal_durations_stay_in_one_bin():
    tested = _decisions(*((name, "", "sad", "sad", None) for name in "abcdefg"))
    seconds = {name: 2.0 for name in "abcdef"} | {"g": 5.0}
    bins = analysis.durations(tested, seconds, CLASSES)
    assert [(low, high, counts.sum()) for low, high, counts in bins] == [
        (2.0, 2.0, 6),
        (5.0, 5.0, 1),
    ]
    assert analysis.durations(tested, {}, CLASSES) == []


def test_mistakes_are_the_surest_wrong_ones_each_once():
    tested = _decisions(
        ("a", "", "angry", "sad", (0.1, 0.2, 0.7)),
        ("right", "", "sad", "sad", (0.0, 0.0, 1.0)),
        ("b", "", "angry", "happy", (0.05, 0.9, 0.05)),
        ("c", "", "sad", "happy", (0.1, 0.7, 0.2)),
        ("a", "", "angry", "sad", (0.0, 0.2, 0.8)),
    )
    worst = analysis.mistakes(tested, CLASSES)
    assert [(record.utterance, sure, true) for record, sure, true in worst] == [
        ("b", 0.9, 0.05),
        ("a", 0.8, 0.0),
        ("c", 0.7, 0.2),
    ]
    assert [r.utterance for r, _, _ in analysis.mistakes(tested, CLASSES, 1)] == ["b"]


def test_curves_by_hand():
    lines = [
        {"fold": "x", "seed": 0, "epoch": 1, "train_loss": 3.0, "val_ua": 0.2},
        {"fold": "x", "seed": 0, "epoch": 2, "train_loss": 1.0, "val_ua": 0.6},
        {"fold": "y", "seed": 0, "epoch": 1, "train_loss": 2.0, "val_ua": None},
        {"fold": "y", "seed": 0, "epoch": 2, "train_loss": float("nan"), "val_ua": 0.5},
    ]
    runs = [
        {"fold": "x", "seed": 0, "best_epoch": 2},
        {"fold": "y", "seed": 0, "best_epoch": None},
    ]
    panels = analysis.curves({"runs": runs}, lines)
    assert list(panels) == ["loss", "UA"]
    (loss,), (ua,) = panels.values()
    assert loss.label == "training" and ua.label == "validation"
    assert loss.runs == ({1: 3.0, 2: 1.0}, {1: 2.0})
    assert loss.mean == {1: 2.5} and loss.scored == ()
    assert ua.mean == {2: pytest.approx(0.55)} and ua.scored == ((2, 0.6),)
    assert analysis.curves({"runs": runs}, []) == {}


def test_curves_stand_over_updates_where_runs_are_validated_at_the_same_ones():
    """Folds of 10 and 8 updates an epoch, validated every 6."""
    lines = [
        {"fold": fold, "seed": 0, "epoch": update / steps, "update": update}
        | {"val_ua": update / 100}
        for fold, steps in (("x", 10), ("y", 8))
        for update in (6, 12)
    ]
    runs = [{"fold": "x", "seed": 0, "best_epoch": 1.2, "best_update": 12}]
    ((ua,),) = analysis.curves({"runs": runs}, lines).values()
    assert (ua.axis, ua.scored) == ("update", ((12, 0.12),))
    assert ua.mean == {6: pytest.approx(0.06), 12: pytest.approx(0.12)}
    # After every epoch until update 25: in the middle of the third and of the fourth.
    places = {"x": (10, 20, 25), "y": (8, 16, 24, 25)}
    lines = [
        {"fold": x, "seed": 0, "epoch": n / places[x][0], "update": n, "val_ua": 0.5}
        for x in places
        for n in places[x]
    ]
    runs[0] |= {"best_epoch": 2, "best_update": 20}
    ((ua,),) = analysis.curves({"runs": runs}, lines).values()
    assert ua.axis == "epoch" and list(ua.mean) == [1, 2] and ua.scored == ((2, 0.5),)
