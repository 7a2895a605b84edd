"""UA by groups: by hand, and the gap's interval by simulation."""

import numpy as np
import pytest

from ser_jax.scoring import groups

CLASSES = ("angry", "sad")


def _people(women, men, right):
    """Labels, decisions, speakers, genders; of women the share `right[0]` is right."""
    speakers = [f"{g}{i}" for g, n in (("F", women), ("M", men)) for i in range(n)]
    speakers = np.repeat(speakers, 20)
    genders = np.array([name[0] for name in speakers])
    labels = np.tile([0, 1], len(speakers) // 2)
    rank = np.tile(np.repeat(np.arange(10), 2), len(speakers) // 20)
    hit = rank < 10 * np.where(genders == "F", *right)
    return labels, np.where(hit, labels, 1 - labels), speakers, genders


def test_by_hand():
    few = groups.compare(*_people(3, 6, (0.9, 0.6)), CLASSES)
    assert few["groups"][0]["interval_over"] == "utterances"
    assert few["gap"]["ua"] == pytest.approx(0.3) and "interval" not in few["gap"]
    found = groups.compare(*_people(5, 6, (0.9, 0.6)), CLASSES)
    women, men = found["groups"]
    assert (women["value"], women["n"], women["speakers"]) == ("F", 100, 5)
    assert (women["ua"], men["ua"]) == (pytest.approx(0.9), pytest.approx(0.6))
    assert (women["interval_over"], men["interval_over"]) == ("speakers", "speakers")
    gap = found["gap"]
    assert (gap["best"], gap["worst"]) == ("F", "M")
    assert gap["ua"] == pytest.approx(0.3)
    assert gap["interval"][0] < 0.3 < gap["interval"][1]


def test_few_and_unknown_are_listed_and_in_no_gap():
    labels, decisions, speakers, genders = _people(3, 6, (0.9, 0.6))
    values = genders.astype("U7")
    values[:19], values[60:90] = "few", ""
    found = groups.compare(labels, decisions, speakers, values, CLASSES)
    by_value = {x["value"]: x for x in found["groups"]}
    assert by_value["few"] == {"value": "few", "n": 19, "speakers": 1}
    assert "ua" in by_value[""] and {found["gap"]["best"], found["gap"]["worst"]} == {
        *"FM"
    }
    one = groups.compare(
        labels, decisions, speakers, np.where(values == "F", "F", ""), CLASSES
    )
    assert "gap" not in one


def test_a_gap_is_of_the_classes_that_both_have():
    labels, decisions, speakers, genders = _people(3, 6, (1.0, 1.0))
    only = (genders == "F") | (labels == 0)  # men are never sad
    decisions = np.where((genders == "F") & (labels == 1), 0, decisions)
    arguments = [x[only] for x in (labels, decisions, speakers, genders)]
    found = groups.compare(*arguments, CLASSES)
    by_value = {x["value"]: x for x in found["groups"]}
    assert by_value["F"]["ua"] == 0.5 and by_value["M"]["absent_classes"] == ["sad"]
    assert found["gap"]["ua"] == 0.0


def test_order_plays_no_part():
    arguments = _people(5, 6, (0.8, 0.5))
    order = np.random.default_rng(0).permutation(len(arguments[0]))
    shuffled = [x[order] for x in arguments]
    assert groups.compare(*arguments, CLASSES) == groups.compare(*shuffled, CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize("crossed", [False, True])
def test_coverage_of_the_gap(crossed):
    """Of women and men, or of a loud and a soft take of everybody; both truly alike."""
    rng = np.random.default_rng(3)
    speakers = np.repeat(np.arange(24), 16)
    values = np.where((np.arange(len(speakers)) if crossed else speakers) % 2, "a", "b")
    labels, held = np.arange(len(speakers)) // 2 % 2, 0
    for _ in range(60):
        rates = rng.normal(0.7, 0.1, 24).clip(0, 1)[speakers]
        decisions = np.where(rng.random(len(speakers)) < rates, labels, 1 - labels)
        found = groups.compare(labels, decisions, speakers.astype(str), values, CLASSES)
        held += found["gap"]["interval"][0] <= 0
    # The gap is the larger way round: 2.5 % of its intervals are above 0 on each side.
    assert held / 60 >= 0.86  # 0.95 less three deviations of 60 draws


def test_groups_that_share_no_class_have_no_gap():
    """As a column that says which class it is, of three: `neutral` or `emotional`."""
    labels = np.repeat([0, 1, 2], 20)
    values = np.where(labels == 0, "neutral", "emotional")
    speakers = np.resize(list("abcdef"), 60)
    found = groups.compare(labels, labels, speakers, values, ("n", "a", "s"))
    assert [x["ua"] for x in found["groups"]] == [1, 1] and "gap" not in found
