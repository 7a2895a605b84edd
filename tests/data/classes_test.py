"""Which utterances are used, and as what."""

import numpy as np
import pytest

from ser_jax.data.classes import IEMOCAP_CLASSES, assign_classes, classes_called
from ser_jax.errors import InputError
from tests.data.turns import config, iemocap_turns, small_turns, source, turn


@pytest.fixture
def iemocap():
    return iemocap_turns()


@pytest.fixture
def small():
    return small_turns()


@pytest.mark.parametrize(
    ("subset", "happy", "used"),
    [
        ("improvised", "hap", 2280),
        ("improvised", "exc", 2659),
        ("improvised", "hap+exc", 2943),
        ("scripted", "hap", 2210),
        ("scripted", "hap+exc", 2588),
        ("all", "hap", 4490),
        ("all", "hap+exc", 5531),
    ],
)
def test_subset_and_happy_policy_give_the_published_counts(
    iemocap, subset, happy, used
):
    classes, labels, excluded = assign_classes(
        iemocap, source(), config(subset=subset, happy=happy)
    )
    assert classes == ("neutral", "happy", "sad", "angry")
    assert (labels >= 0).sum() == used
    assert len(excluded) == 5531 - used
    assert labels.dtype == np.int32


def test_classes_of_a_session_and_the_reasons(iemocap):
    _, labels, excluded = assign_classes(
        [*iemocap, turn("1F_xxx_000", "1F", "xxx")],
        source(),
        config(subset="improvised", happy="exc"),
    )
    first = [u.session == "session1" for u in iemocap] + [True]
    # EmoBox's list, session 1 improvised: neu 223, exc 99, sad 104, ang 62.
    assert [int(((labels == k) & first).sum()) for k in range(4)] == [
        *(223, 99, 104, 62)
    ]
    reasons = [item.reason for item in excluded]
    assert reasons.count("label hap") == 284
    assert reasons.count("label xxx") == 1
    assert reasons.count("outside the subset") == 5531 - 2943
    assert labels[-1] == -1


def test_manifest_without_a_map_takes_every_label():
    turns = [turn("a", "1F", "wut"), turn("b", "1F", "angst"), turn("c", "1F", "wut")]
    classes, labels, excluded = assign_classes(turns, source("manifest"), config())
    assert classes == ("angst", "wut")
    assert labels.tolist() == [1, 0, 1]
    assert not excluded


def test_manifest_map_merges_and_excludes():
    turns = [turn(str(i), "1F", e) for i, e in enumerate(("joy", "calm", "fun", "eh"))]
    mapping = {"joy": "happy", "fun": "happy", "calm": "neutral"}
    classes, labels, excluded = assign_classes(
        turns, source("manifest", mapping), config()
    )
    assert classes == ("happy", "neutral")
    assert labels.tolist() == [0, 1, 0, -1]
    (left_out,) = excluded
    assert (left_out.id, left_out.reason) == ("3", "unmapped label")
    assert "eh" in left_out.detail


def test_a_class_may_go_by_any_name_of_its_emotion():
    called = classes_called
    assert called(("happy",), IEMOCAP_CLASSES) == ("happy",)
    assert called(("happy",), ("anger", "boredom", "happiness")) == ("happiness",)
    # Not the other name of the same emotion, where one is the class itself.
    assert called(("happy",), ("excited", "happy")) == ("happy",)
    assert called((), ("a", "b")) == ()
    # An emotion that the corpus has not is no mistake, a misspelt one is.
    assert called(("happy", "sad"), ("anger", "sadness")) == ("sadness",)
    with pytest.raises(
        InputError, match="expected some of loud, quiet, or .* got hapy"
    ):
        called(("hapy",), ("loud", "quiet"))


def test_a_mapping_typo_lists_the_labels_present():
    turns = [turn("a", "1F", "joy"), turn("b", "1F", "calm")]
    with pytest.raises(InputError, match=r"calm, joy.*got jooy"):
        assign_classes(
            turns, source("manifest", {"jooy": "happy", "calm": "n"}), config()
        )


@pytest.mark.parametrize(
    ("data", "changes", "words"),
    [
        (source("manifest"), {"subset": "improvised"}, "subset.*IEMOCAP"),
        (source("iemocap", {"neu": "n"}), {}, "label_map"),
        (source("manifest", {}), {}, "labels none"),
        (source("manifest", "neu"), {}, "mapping"),
        (source("manifest", {"neu": "n"}), {}, "two or more classes"),
        (source(), {"subset": "scripted"}, "improvised 220"),
        (source(), {"happy": "exc"}, "none of happy"),
        (source("iemocap", "neu"), {}, "label_map.*mapping"),
        (source("manifest", {"neu": None}), {}, "label_map.*got None for 'neu'"),
        (source("manifest", {"neu": 0}), {}, "label_map.*got 0 for 'neu'"),
        (source("manifest", {"neu": " "}), {}, "label_map.*got ' ' for 'neu'"),
        (source("manifest", (("neu",),)), {}, "label_map.*pairs"),
    ],
)
def test_a_choice_that_does_not_fit_is_refused(small, data, changes, words):
    with pytest.raises(InputError, match=words):
        assign_classes(small[:220], data, config(**changes))
