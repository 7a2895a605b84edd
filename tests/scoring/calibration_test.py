"""Calibration: by hand, against scikit-learn, and by simulation."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from ser_jax.scoring import calibration


def test_by_hand():
    """Two decisions of 0.9, one right; two of 0.6, both right: (0.8 + 0.8) / 4."""
    posteriors = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.6, 0.4]]
    found = calibration.score(posteriors, [0, 1, 1, 0])
    assert found["ece"] == pytest.approx(0.4)
    assert found["bins"] == [
        {"confidence": pytest.approx(0.6), "right": 1.0, "n": 2},
        {"confidence": pytest.approx(0.9), "right": 0.5, "n": 2},
    ]
    # (0.02 + 1.62 + 0.32 + 0.32) / 4
    assert found["brier"] == pytest.approx(0.57)
    assert found["nll"] == pytest.approx(-np.log([0.9, 0.1, 0.6, 0.6]).mean())


def test_a_confidence_of_one_is_in_the_last_bin():
    found = calibration.score([[1.0, 0.0], [0.0, 1.0]], [0, 0])
    assert [x["n"] for x in found["bins"]] == [2] and found["ece"] == 0.5
    assert np.isfinite(found["nll"])


def _draw(rng, size, temperature):
    """Labels drawn from posteriors, which are then made too sure or too shy."""
    honest = rng.dirichlet(np.ones(5), size)
    labels = (rng.random((size, 1)) > honest.cumsum(axis=1)).sum(axis=1)
    return calibration.tempered(honest, 1 / temperature), labels


def test_against_scikit_learn():
    posteriors, labels = _draw(np.random.default_rng(0), 90, 1.7)
    found = calibration.score(posteriors, labels)
    names = np.arange(5)
    nll = sklearn_metrics.log_loss(labels, posteriors, labels=names)
    assert found["nll"] == pytest.approx(nll)
    brier = sum(
        sklearn_metrics.brier_score_loss(labels == k, posteriors[:, k], pos_label=True)
        for k in names
    )
    assert found["brier"] == pytest.approx(brier)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_was_hidden_is_found(temperature):
    rng = np.random.default_rng(1)
    posteriors, labels = _draw(rng, 4000, temperature)
    found = calibration.temperature(posteriors, labels)
    assert found == pytest.approx(temperature, rel=0.08)
    cooled = calibration.tempered(posteriors, found)
    np.testing.assert_array_equal(cooled.argmax(1), posteriors.argmax(1))
    # An honest ECE of 4000 in 15 bins is about a hundredth.
    assert calibration.score(cooled, labels)["ece"] < 0.03


def test_the_surest_first_by_hand():
    posteriors = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.45, 0.55]]
    found = calibration.coverage(posteriors, [0, 1, 1, 0])
    by_share = {x["coverage"]: x for x in found["at"]}
    # All: recalls 1/2 and 1/2; three surest: 1 and 1/2; two surest: 1 and 1.
    assert [by_share[x]["ua"] for x in (1.0, 0.8, 0.5)] == [0.5, 0.75, 1.0]
    assert [by_share[x]["n"] for x in (1.0, 0.8, 0.5)] == [4, 3, 2]
    assert found["area"] == pytest.approx((1.0 + 0.75 + 0.5) / 3)
    one = calibration.coverage([[0.9, 0.1], [0.4, 0.6]], [0, 1])["at"][-1]
    assert (one["n"], one["ua"], one["absent"]) == (1, 1.0, 1)


def _lines(posteriors, labels, fold="a", seed=0):
    return [
        SimpleNamespace(fold=fold, seed=seed, label="vwxyz"[k], posteriors=tuple(row))
        for row, k in zip(posteriors, labels, strict=True)
    ]


def test_every_run_has_its_own_temperature_and_the_test_part_no_say():
    rng = np.random.default_rng(2)
    sure, shy = _draw(rng, 900, 3.0), _draw(rng, 900, 0.6)
    tested = [*_lines(*sure), *_lines(*shy, fold="b")]
    validated = [
        *_lines(*_draw(rng, 900, 3.0)),
        *_lines(*_draw(rng, 900, 0.6), fold="b"),
    ]
    found = calibration.summarise(tested, validated, "vwxyz")
    values = {x["fold"]: x["temperature"] for x in found["temperatures"]}
    assert values == pytest.approx({"a": 3.0, "b": 0.6}, rel=0.15)
    assert found["after"]["ece"] < 0.05 < found["before"]["ece"]
    # Other labels of the test part: other scores, the same temperatures.
    poisoned = [*_lines(sure[0], 4 - sure[1]), *_lines(shy[0], 4 - shy[1], fold="b")]
    other = calibration.summarise(poisoned, validated, "vwxyz")
    assert other["temperatures"] == found["temperatures"]
    assert other["before"]["ece"] > found["before"]["ece"]


@pytest.mark.parametrize("validated", [[], _lines([[0.2] * 5], [0], fold="b")])
def test_without_validation_there_is_no_temperature(validated):
    tested = _lines(*_draw(np.random.default_rng(3), 20, 1.0))
    found = calibration.summarise(tested, validated, "vwxyz")
    assert found.keys() == {"before", "selective"}
