"""Copies of a recording are left out, or stay on one side of every split."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from ser_jax.corpora.utterance import Utterance
from ser_jax.data import duplicates, protocols

# Four speakers with six utterances each; three pairs are copies across speakers, one
# triple within and across.
SPEAKERS, TAKES = "abcd", 6
COPIES = (("a0", "b0"), ("b1", "c1"), ("a2", "d2"), ("a3", "a4", "c3"))


def utterances(labels="xy"):
    return [
        Utterance(f"{s}{i}", "", s, "session1", labels[i % len(labels)])
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


def test_only_copies_leave_a_part():
    turns = utterances()
    labels = np.array([int(u.emotion == "y") for u in turns])
    plain = protocols.make_folds(turns, labels, protocol())
    folds = protocols.make_folds(turns, labels, protocol(), COPIES)
    copies = {name for group in COPIES for name in group}
    for before, fold in zip(plain, folds, strict=True):
        left = {*before.train, *before.val} - {*fold.train, *fold.val}
        assert {turns[u].id for u in left} <= copies


def test_equal_sounds_are_found_whatever_their_names():
    got = duplicates.find_equal(utterances()[:6], "xyxzyy")
    assert got == [("a0", "a2"), ("a1", "a4", "a5")]


def test_two_labels_for_one_sound_are_left_out_and_both_named():
    turns = utterances()
    groups = [("a0", "b1"), ("c0", "d0")]  # x and y; x and x
    got = duplicates.settle(turns, groups, "apart")
    assert got.apart == (("c0", "d0"),)
    assert [e.id for e in got.excluded] == ["a0", "b1"]
    assert {e.reason for e in got.excluded} == {"two labels for one sound"}
    assert "a0 (x, speaker a), b1 (y, speaker b)" in got.excluded[0].detail


def test_the_first_copy_stays_on_request_or_all_if_nobody_looks(caplog):
    groups = [("a0", "a2", "b0")]
    got = duplicates.settle(utterances(), groups, "first")
    assert got.apart == () and [e.id for e in got.excluded] == ["a2", "b0"]
    assert {e.reason for e in got.excluded} == {"same sound"}
    assert "One sound, two speakers: a0" in caplog.text
    assert duplicates.settle(utterances(), groups, "ignore") == ((), ())


def test_copies_that_the_protocol_does_not_use_do_not_count():
    got = duplicates.settle(utterances()[1:], [("a0", "b0")], "apart")
    assert got == ((), ())
