"""Spellings of one label or speaker are warned of, and merged on request only."""

import pytest
from ml_collections import ConfigDict

from ser_jax.corpora.utterance import Utterance
from ser_jax.data import spellings


def utterances(emotions, speakers=None):
    speakers = speakers or ["s"] * len(emotions)
    return [
        Utterance(f"u{i}", "", speaker, "session1", emotion)
        for i, (emotion, speaker) in enumerate(zip(emotions, speakers, strict=True))
    ]


def data(*, merge=False, label_map=None, corpus="manifest"):
    fields = {"merge_spellings": merge, "label_map": label_map, "corpus": corpus}
    return ConfigDict(fields, convert_dict=False)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("angry", "Angry"),
        ("angry", "angry\u200b"),
        ("\ufeffangry", "angry"),
        ("verärgert", "vera\u0308rgert"),
        ("ﬁne", "fine"),
        ("very angry", "very\u00a0angry"),
        ("very angry", "very  angry"),
        ("Straße", "STRASSE"),
        ("3", "03"),
        ("s3", "s003"),
        ("1", "1.0"),
        ("Speaker_1", "speaker 1"),
        ("speaker-1", "speaker 1"),
        ("anger", "\u0430nger"),  # Cyrillic
        *(("mad", f"ma{c}d") for c in "\0\a\x1b\u034f\ufe0f\u3164\u202e"),
    ],
)
def test_look_alikes_are_named_with_their_counts(one, other, caplog):
    given = utterances([one, one, other, "sad"])
    (item,) = spellings.find(given, data())
    assert spellings.merge(given, [item], data()) == tuple(given)
    assert (item.column, item.counts) == ("emotion", {one: 2, other: 1})
    assert f"{one!a} 2" in caplog.text and f"{other!a} 1" in caplog.text
    assert "taken as different; see data.merge_spellings" in caplog.text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("anger", "angry"),
        ("1", "11"),
        ("10", "1"),
        ("a1", "a10"),
        ("s 1", "s1"),
        ("1.05", "1.5"),
        ("1.10", "1.1"),
        ("-1", "1"),
    ],
)
def test_other_words_do_not_look_alike(one, other):
    assert spellings.find(utterances([one, other]), data()) == []


def test_merging_takes_the_spelling_of_the_label_map_or_the_most_frequent():
    emotions = ["Anger", "Anger", "anger", "sad"]
    speakers = ["3", "03", "03", "003"]
    given = utterances(emotions, speakers)
    found = spellings.find(given, data(merge=True))
    kept = spellings.merge(given, found, data(merge=True))
    assert [u.emotion for u in kept] == ["Anger", "Anger", "Anger", "sad"]
    assert {u.speaker for u in kept} == {"03"}
    assert [u.id for u in kept] == [u.id for u in given]
    assert all(item.merged for item in found)
    both = data(merge=True, label_map={"anger": "angry", "Anger": "angry"})
    apart = spellings.find(given, both)
    assert [(x.column, x.merged) for x in apart] == [
        ("emotion", False),
        ("speaker", True),
    ]
    assert spellings.merge(given, apart, both)[2].emotion == "anger"
    kept = spellings.merge(given, found, data(label_map={"anger": "angry"}))
    assert [u.emotion for u in kept] == ["anger", "anger", "anger", "sad"]


@pytest.mark.parametrize(
    "name", ["nan", "None", "NULL", "n/a", "-", "NaN", "#N/A", "Unknown", "--"]
)
def test_what_reads_like_a_missing_value_is_named(name):
    given = utterances(["sad", "sad"], [name, "s1"])
    (item,) = spellings.find(given, data(merge=True))
    assert spellings.merge(given, [item], data(merge=True)) == tuple(given)
    assert (item.column, item.merged) == ("speaker", False)
    assert str(item) == f"speaker {name!r} 1: reads like a missing value"


def test_speakers_of_several_corpora_are_compared_within_each():
    names = ["a/1", "a/01", "b/1", "B/1", "b/nan", "a/s/nan"]
    given = utterances(["sad"] * len(names), names)
    several = data(corpus="multi", merge=True)
    found = spellings.find(given, several)
    assert [({*x.counts}, x.missing) for x in found] == [
        ({"a/01", "a/1"}, False),
        ({"b/nan"}, True),
    ]
    merged = [u.speaker for u in spellings.merge(given, found, several)]
    assert merged[2:] == names[2:] and len({*merged[:2]}) == 1
