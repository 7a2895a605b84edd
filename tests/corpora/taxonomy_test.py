"""Labels of all corpora that have a name, in classes that they share."""

import pytest

from ser_jax.corpora import descriptions, iemocap, taxonomy

LABELS = sorted(
    {
        label
        for about in descriptions.load().values()
        for label in about.emotion.values()
    }
    | {*iemocap.LABELS}
)


def test_happy_means_one_thing_and_calm_is_not_neutral():
    got = taxonomy.class_of_labels(LABELS, "basic4")
    happy = {label for label, name in got.items() if name == "happiness"}
    assert happy == {"amused", "exc", "excited", "hap", "happiness", "happy", "joy"}
    assert {label for label, name in got.items() if name == "neutral"} == {
        "neu",
        "neutral",
    }
    left_out = {"calm", "boredom", "surprise", "fru", "xxx", "other", "no agreement"}
    assert not left_out & {*got}
    assert "anxious" not in taxonomy.class_of_labels(LABELS, "basic6")  # is it fear?


def test_cases_do_not_count():
    got = taxonomy.class_of_labels(["Angry", "NEUTRAL", "Bliss"], "basic6")
    assert got == {"Angry": "anger", "NEUTRAL": "neutral"}


@pytest.mark.parametrize("name", taxonomy.SETS)
def test_no_emotion_is_in_two_classes_and_no_class_is_empty(name):
    groups = [set(x) for x in taxonomy.SETS[name].values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert {*taxonomy.class_of_labels(LABELS, name).values()} == {*taxonomy.SETS[name]}


def test_neutral_has_no_valence_and_anger_is_awake():
    assert "neutral" not in taxonomy.class_of_labels(LABELS, "valence2")
    got = taxonomy.class_of_labels(LABELS, "arousal2")
    assert (got["anger"], got["sad"], got["neutral"]) == ("high", "low", "low")


def test_words_for_one_emotion_meet():
    """RAVDESS's labels, and what a system trained on IEMOCAP or EMO-DB calls them."""
    labels = ["angry", "calm", "disgust", "fearful", "happy", "neutral", "sad"]
    iemocap = taxonomy.classes_named_alike(labels, ("neutral", "happy", "sad", "angry"))
    assert iemocap == {x: (x,) for x in ("angry", "happy", "neutral", "sad")}
    emodb = taxonomy.classes_named_alike(
        labels, ("anger", "boredom", "disgust", "fear", "happiness", "sadness")
    )
    assert emodb["fearful"] == ("fear",) and emodb["happy"] == ("happiness",)
    assert "neutral" not in emodb and "calm" not in emodb


def test_several_classes_may_name_an_emotion_and_others_none():
    got = taxonomy.classes_named_alike(
        ["exc", "hap", "Sleepiness", "oth", "fru"],
        ("excited", "happy", "sleepiness", "other"),
    )
    both = ("excited", "happy")
    assert got == {"exc": both, "hap": both, "Sleepiness": ("sleepiness",)}


def test_classes_of_a_set_take_all_its_labels():
    got = taxonomy.classes_named_alike(["fear", "calm", "disgust"], ("high", "low"))
    assert got == {"fear": ("high",), "calm": ("low",)}
