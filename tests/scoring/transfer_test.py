"""Scores on another corpus: numbers by hand, intervals by the binomial distribution."""

import json

import numpy as np
import pytest
from scipy.stats import binom

from ser_jax.scoring import transfer

CLASSES = ("anger", "joy", "neutral")
# Four utterances: anger hit, anger taken for joy, joy hit, joy taken for anger. The
# training had nine of anger to one of joy, and one neutral.
POSTERIORS = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]]
LABELS, COUNTS = [0, 0, 1, 1], [9, 1, 1]


def _by_share(hits, total, speakers=None):
    """One class, `hits` of `total` utterances recognised, those first."""
    posteriors = [[1, 0]] * hits + [[0, 1]] * (total - hits)
    speakers = speakers or [""] * total
    return transfer.score(posteriors, [0] * total, ("a", "b"), [1, 1], speakers)


def test_scores_by_hand():
    score = transfer.score(POSTERIORS, LABELS, CLASSES, COUNTS, [""] * 4)
    assert score["n"] == 4
    assert score["wa"] == score["ua"] == 0.5
    assert score["recalls"] == {"anger": 0.5, "joy": 0.5}
    assert score["chance"] == 0.5  # neutral has no label here
    assert score["absent_classes"] == ["neutral"]
    assert score["confusion"] == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert score["prior_source"] == {"anger": 9 / 11, "joy": 1 / 11, "neutral": 1 / 11}
    assert score["prior_target"] == {"anger": 0.5, "joy": 0.5, "neutral": 0.0}
    # 0.8 / 9 < 0.1 / 1: no utterance is taken for anger any more.
    adjusted = score["logit_adjusted"]
    assert adjusted["recalls"] == {"anger": 0.0, "joy": 1.0}
    assert adjusted["ua"] == adjusted["wa"] == 0.5
    assert json.loads(json.dumps(score)) == score


def test_interval_over_utterances_is_the_binomial_distributions():
    score = _by_share(80, 100)
    assert score["interval_over"] == "utterances"
    expected = binom.ppf([0.025, 0.975], 100, 0.8) / 100  # 0.72, 0.87
    np.testing.assert_allclose(score["ua_interval"], expected, atol=0.011)


def test_interval_over_speakers_knows_that_their_utterances_are_alike():
    # One of five speakers is never understood: 1 - Binomial(5, 1/5) / 5.
    score = _by_share(80, 100, [str(i // 20) for i in range(100)])
    assert score["interval_over"] == "speakers"
    assert score["ua_interval"] == pytest.approx([0.4, 1.0])
    four = _by_share(80, 100, [str(i // 25) for i in range(100)])
    assert four["interval_over"] == "utterances"
    unnamed = _by_share(80, 100, ["", *(str(i // 20) for i in range(1, 100))])
    assert unnamed["interval_over"] == "utterances"


def test_within_speakers_utterances_are_resampled():
    # Of each speaker half: without the second stage the interval had no width.
    posteriors, speakers = [[1, 0], [0, 1]] * 50, [str(i // 10) for i in range(100)]
    score = transfer.score(posteriors, [0] * 100, ("a", "b"), [1, 1], speakers)
    expected = binom.ppf([0.025, 0.975], 100, 0.5) / 100
    np.testing.assert_allclose(score["ua_interval"], expected, atol=0.011)


def _random(num):
    rng = np.random.default_rng(3)
    posteriors = rng.dirichlet(np.ones(6), num)
    labels = rng.integers(6, size=num)
    speakers = np.array([f"s{i}" for i in rng.integers(91, size=num)])
    return posteriors, labels, speakers


def test_order_plays_no_part_and_the_seed_little():
    posteriors, labels, speakers = _random(500)
    classes, counts = tuple("abcdef"), np.arange(1, 7)
    score = transfer.score(posteriors, labels, classes, counts, speakers)
    order = np.random.default_rng(1).permutation(500)
    shuffled = (posteriors[order], labels[order], classes, counts, speakers[order])
    assert transfer.score(*shuffled) == score
    other = transfer.score(posteriors, labels, classes, counts, speakers, seed=1)
    assert other["ua"] == score["ua"] and other["ua_interval"] != score["ua_interval"]
    gaps = np.subtract(other["ua_interval"], score["ua_interval"])
    np.testing.assert_allclose(gaps, 0, atol=0.01)


def test_a_balanced_training_has_nothing_to_adjust():
    arguments = (POSTERIORS, LABELS, CLASSES, COUNTS, [""] * 4)
    score = transfer.score(*arguments, seen=[2, 2, 2][: len(CLASSES)])
    assert score["logit_adjusted"]["recalls"] == score["recalls"]
    plain = transfer.score(*arguments)
    assert score["prior_source"] == plain["prior_source"]


@pytest.mark.parametrize(
    ("sampling", "weights", "seen"),
    [
        ("all", "none", [2, 3, 1]),
        ("balanced", "none", [1, 1, 1]),
        ("all", "balanced", [1, 1, 1]),
        ("corpus", "none", [1 / 2, 1 / 2 + 1 / 2, 1 / 2]),
        # Only one of the two corpora has the last class, and only one the first.
        ("corpus_class", "none", [1, 2, 1]),
        ("balanced", "balanced", [1 / 2, 1 / 3, 1]),  # twice is too much
    ],
)
def test_what_a_training_saw_of_each_class(sampling, weights, seen):
    labels, corpora = [0, 0, 1, 1, 1, 2], ["a", "a", "a", "a", "b", "b"]
    got = transfer.seen_counts(labels, corpora, 3, sampling=sampling, weights=weights)
    np.testing.assert_allclose(got / got.sum(), np.array(seen) / np.sum(seen))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 0, 1]}, "one utterance or more"),
        ({"posteriors": [[np.nan] * 3] * 4}, "finite posteriors"),
        ({"source_counts": [9, 1, 0]}, "training utterances of every class"),
        ({"labels": [0, 0, 1, 3]}, "integers in"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {
        "posteriors": POSTERIORS,
        "labels": LABELS,
        "classes": CLASSES,
        "source_counts": COUNTS,
        "speakers": [""] * 4,
    }
    with pytest.raises(ValueError, match=message):
        transfer.score(**arguments | change)
