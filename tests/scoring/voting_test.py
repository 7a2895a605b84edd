"""Segments to utterances: hand-computed values and invariances."""

import numpy as np
import pytest

from ser_jax.scoring.voting import vote

# Utterance 0 has two segments, 1 none, 2 one.
POSTERIORS = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.0, 1.0, 0.0]])
UTTERANCE = np.array([0, 0, 2])


def test_mean_by_hand():
    voted = vote(POSTERIORS, UTTERANCE, 3)
    np.testing.assert_allclose(voted[0], [0.4, 0.25, 0.35])
    np.testing.assert_array_equal(voted[2], POSTERIORS[2])


def test_max_by_hand_is_a_distribution_with_another_winner():
    voted = vote(POSTERIORS, UTTERANCE, 3, "max")
    np.testing.assert_allclose(voted[0], np.array([0.6, 0.3, 0.6]) / 1.5)
    np.testing.assert_array_equal(voted[2], POSTERIORS[2])


@pytest.mark.parametrize("rule", ["mean", "max"])
def test_utterance_without_segments_is_nan(rule):
    voted = vote(POSTERIORS, UTTERANCE, 4, rule)
    assert np.isnan(voted[[1, 3]]).all()
    assert not np.isnan(voted[[0, 2]]).any()


@pytest.mark.parametrize("rule", ["mean", "max"])
def test_order_of_the_segments_does_not_matter(rule):
    rng = np.random.default_rng(5)
    posteriors = rng.dirichlet(np.ones(4), size=61).astype(np.float32)
    utterance = rng.integers(9, size=61)
    shuffled = rng.permutation(61)
    voted = vote(posteriors, utterance, 9, rule)
    again = vote(posteriors[shuffled], utterance[shuffled], 9, rule)
    # 1e-14: float64 sums of at most 61 numbers below 1 in another order.
    np.testing.assert_allclose(again, voted, atol=1e-14)
    # 1e-6: the float32 posteriors sum to 1 only so far.
    np.testing.assert_allclose(voted.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("rule", ["mean", "max"])
def test_repeating_every_segment_changes_nothing(rule):
    twice = vote(np.tile(POSTERIORS, (2, 1)), np.tile(UTTERANCE, 2), 3, rule)
    np.testing.assert_allclose(twice, vote(POSTERIORS, UTTERANCE, 3, rule))


@pytest.mark.parametrize(
    ("posteriors", "utterance", "rule", "said"),
    [
        (POSTERIORS, UTTERANCE, "median", "'median'"),
        (POSTERIORS, UTTERANCE[:2], "mean", r"\(3, 3\) and \(2,\)"),
        (POSTERIORS, np.array([0, 1, 3]), "mean", r"\[0, 3\)"),
        (POSTERIORS, np.array([0, 1, -1]), "mean", r"\[-1, 1\]"),
        (POSTERIORS - 1, UTTERANCE, "max", "softmax outputs"),
        (POSTERIORS * np.nan, UTTERANCE, "mean", "softmax outputs"),
    ],
)
def test_bad_input_is_refused(posteriors, utterance, rule, said):
    with pytest.raises(ValueError, match=said):
        vote(posteriors, utterance, 3, rule)
