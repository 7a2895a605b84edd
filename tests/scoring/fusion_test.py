"""Fused posteriors and their weights, against what a person or a grid finds."""

import itertools

import numpy as np
import pytest

from ser_jax.scoring import calibration, fusion


def _systems(num_systems, num_utterances=40, num_classes=3, seed=0):
    """Posteriors [M, N, K] of systems that get better one after the other; labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_classes, size=num_utterances)
    logits = rng.normal(size=(num_systems, num_utterances, num_classes))
    for system in range(num_systems):
        logits[system, np.arange(num_utterances), labels] += 0.5 * system
    powers = np.exp(2 * logits)
    return powers / powers.sum(axis=2, keepdims=True), labels


def test_a_mean_by_hand():
    one, other = [[0.8, 0.2], [0.4, 0.6]], [[0.2, 0.8], [0.5, 0.5]]
    even = fusion.mean([one, other], [0.5, 0.5])
    np.testing.assert_allclose(even, [[0.5, 0.5], [0.45, 0.55]], rtol=1e-15)
    by_utterance = fusion.mean([one, other], [[0.75, 0.5], [0.25, 0.5]])
    np.testing.assert_allclose(by_utterance, [[0.65, 0.35], [0.45, 0.55]], rtol=1e-15)


@pytest.mark.parametrize("decimals", [4, 15])
def test_the_order_of_systems_plays_no_part_to_the_last_bit(decimals, monkeypatch):
    monkeypatch.setattr(fusion, "_DECIMALS", decimals)
    posteriors, labels = _systems(4)
    weights = fusion.choose_weights(posteriors, labels)
    fused = fusion.mean(posteriors, weights)
    for order in itertools.permutations(range(4)):
        turned = posteriors[list(order)]
        found = fusion.choose_weights(turned, labels)
        np.testing.assert_array_equal(found, weights[list(order)])
        np.testing.assert_array_equal(fusion.mean(turned, found), fused)


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_the_best_of_a_fine_grid(seed):
    posteriors, labels = _systems(3, seed=seed)

    def nll(weights):
        return calibration.nll(fusion.mean(posteriors, weights), labels)

    found = fusion.choose_weights(posteriors, labels)
    assert found.min() >= 0 and found.sum() == pytest.approx(1, abs=1e-12)
    steps = np.linspace(0, 1, 101)
    grid = [(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1]
    best = min(grid, key=nll)
    # Four decimals cost less than a step of the grid.
    assert nll(found) <= nll(best) + 1e-9
    np.testing.assert_allclose(found, best, atol=0.011)


def test_a_system_that_knows_all_gets_all_and_one_that_errs_surely_nothing():
    posteriors, labels = _systems(2)
    truth = np.eye(3)[labels]
    np.testing.assert_array_equal(
        fusion.choose_weights([posteriors[0], truth], labels), [0, 1]
    )
    wrong = np.eye(3)[(labels + 1) % 3]  # posteriors of 0 for what is true
    np.testing.assert_array_equal(
        fusion.choose_weights([wrong, posteriors[1]], labels), [0, 1]
    )


def test_systems_that_answer_alike_weigh_alike():
    posteriors, labels = _systems(1)
    np.testing.assert_array_equal(
        fusion.choose_weights(np.repeat(posteriors, 3, axis=0), labels), [1 / 3] * 3
    )


def test_two_systems_that_complement_each_other_by_hand():
    # Right on three of four and one of four: 0.9 and 0.1. -3 log(.1 + .8 w) - log(.9 -
    # .8 w) is least where 3 (.9 - .8 w) = .1 + .8 w: w = 0.8125.
    posteriors = [
        [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]],
        [[0.1, 0.9], [0.1, 0.9], [0.1, 0.9], [0.9, 0.1]],
    ]
    found = fusion.choose_weights(posteriors, [0, 0, 0, 0])
    np.testing.assert_allclose(found, [0.8125, 0.1875], atol=1e-4)


def test_the_one_with_the_highest_ua_whatever_the_order():
    labels = [0, 0, 0, 1]
    # UA 1/2, 2/3 and 2/3: the first is right on most utterances, the third is surer.
    always = [[0.9, 0.1]] * 4
    fair = [[0.6, 0.4], [0.4, 0.6], [0.4, 0.6], [0.4, 0.6]]
    surer = [[0.6, 0.4], [0.4, 0.6], [0.4, 0.6], [0.1, 0.9]]
    systems = {"always": always, "fair": fair, "surer": surer}
    for names in itertools.permutations(systems):
        weights = fusion.choose_one([systems[name] for name in names], labels)
        assert dict(zip(names, weights, strict=True)) == {
            "always": 0,
            "fair": 0,
            "surer": 1,
        }
    twice = fusion.choose_one([surer, always, surer], labels)
    np.testing.assert_array_equal(twice, [0.5, 0, 0.5])
