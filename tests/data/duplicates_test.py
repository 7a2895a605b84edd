"""Copies of a recording are left out, or stay on one side of every split."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from ser_jax.corpora.utterance import Utterance
from ser_jax.data import duplicates, protocols

# Four speakers with six utterances each; three pairs are copies across speakers, one
# triple within and across.
SPEAKERS, TAKES = "abcd", 6
SESSION_OF = {"a": "session1", "b": "session1", "c": "session2", "d": "session2"}
COPIES = (("a0", "b0"), ("b1", "c1"), ("a2", "d2"), ("a3", "a4", "c3"))


def utterances(labels="xy"):
    return [
        Utterance(f"{s}{i}", "", s, SESSION_OF[s], labels[i % len(labels)])
        for s in SPEAKERS
        for i in range(TAKES)
    ]


def protocol(**changes):
    values = {"split": "group", "group_by": "speaker", "groups": 0, "seeds": (0, 1)}
    values |= {"selection": "val", "validation": "speaker", "val_fraction": 0.2}
    return ConfigDict(values | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"groups": 3, "validation": "group"},
        {"validation": "random"},
        {"selection": "last"},
        {"split": "random_80_20"},
        {"split": "random_811"},
        {"split": "random_811", "selection": "test"},
        {"split": "speaker10"},
    ],
)
def test_no_sound_is_in_two_parts(changes):
    turns = utterances()
    labels = np.array([int(u.emotion == "y") for u in turns])
    plain = protocols.make_folds(turns, labels, protocol(**changes))
    folds = protocols.make_folds(turns, labels, protocol(**changes), COPIES)
    assert [fold.test for fold in folds] == [fold.test for fold in plain]
    sound = {name: group[0] for group in COPIES for name in group}
    shared = 0
    for before, fold in zip(plain, folds, strict=True):
        sounds = [
            {sound.get(turns[u].id, turns[u].id) for u in part}
            for part in (fold.train, fold.val, fold.test)
        ]
        assert not (
            sounds[0] & sounds[1] | sounds[0] & sounds[2] | sounds[1] & sounds[2]
        )
        assert {*fold.train} <= {*before.train} and {*fold.val} <= {*before.val}
        shared += before != fold
    assert shared  # or nothing was tested


def test_groups_that_are_split_are_counted():
    turns = utterances()
    labels = np.array([int(u.emotion == "y") for u in turns])
    folds = protocols.make_folds(turns, labels, protocol(), COPIES)
    assert duplicates.in_two_parts(folds, turns, COPIES) == []
    # Speakers are whole in every part, so what two of them share is split.
    near = [("a0", "b0"), ("a1", "a2"), ("c4", "d5", "not used")]
    assert duplicates.in_two_parts(folds[:1], turns, near[1:2]) == []
    plain = protocols.make_folds(turns, labels, protocol())
    assert duplicates.in_two_parts(plain, turns, near) == [near[0], near[2]]


def test_only_copies_leave_a_part():
    turns = utterances()
    labels = np.array([int(u.emotion == "y") for u in turns])
    plain = protocols.make_folds(turns, labels, protocol())
    folds = protocols.make_folds(turns, labels, protocol(), COPIES)
    copies = {name for group in COPIES for name in group}
    for before, fold in zip(plain, folds, strict=True):
        left = {*before.train, *before.val} - {*fold.train, *fold.val}
        assert {turns[u].id for u in left} <= copies


def leave_out(turns, groups, choice, classes="xy"):
    """What is left out; the classes' labels are known by their first letters."""
    labels = np.array([classes.find(u.emotion[0]) for u in turns])
    got, excluded = duplicates.leave_out(turns, labels, groups, choice)
    gone = [u.id for u, a, b in zip(turns, labels, got, strict=True) if a != b]
    assert {*gone} == {e.id for e in excluded} and set(got[got != labels]) <= {-1}
    return excluded


def test_recordings_are_compared_whatever_their_names():
    got = duplicates.find(utterances()[:6], "pqprqq")
    assert got == [("a0", "a2"), ("a1", "a4", "a5")]


def test_two_labels_for_one_recording_are_left_out_and_both_named():
    groups = [("a0", "b1"), ("c0", "d0")]  # x and y; x and x
    got = leave_out(utterances(), groups, "apart")
    assert [e.id for e in got] == ["a0", "b1"]
    assert {e.reason for e in got} == {"two labels for one recording"}
    assert "a0 (x, speaker a), b1 (y, speaker b)" in got[0].detail


def test_labels_of_one_class_do_not_contradict_each_other():
    turns = utterances(labels=("x1", "x2", "y", "other", "other2"))
    assert leave_out(turns, [("a0", "b1")], "apart") == []
    # One that is of no class contradicts, of whatever kind it is.
    assert [e.id for e in leave_out(turns, [("a0", "b3")], "apart")] == ["a0"]
    assert leave_out(turns, [("a3", "b4")], "apart") == []


def test_the_first_copy_stays_on_request_or_all_if_they_are_ignored(caplog):
    groups = [("a0", "a2", "b0")]
    got = leave_out(utterances(), groups, "first")
    assert [e.id for e in got] == ["a2", "b0"]
    assert {e.reason for e in got} == {"duplicate"}
    assert "1 recordings are listed under several speakers, first a0" in caplog.text
    assert leave_out(utterances(), groups, "ignore") == []
    assert leave_out(utterances(), [("a0", "b1")], "ignore") == []


def test_the_first_copy_is_the_first_that_the_protocol_uses():
    turns = utterances()
    labels = np.array([-1, *[int(u.emotion == "y") for u in turns[1:]]])
    got, excluded = duplicates.leave_out(turns, labels, [("a0", "b0", "c0")], "first")
    assert [e.id for e in excluded] == ["c0"] and got[0] == -1
