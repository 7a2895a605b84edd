"""Intervals of UA: what they resample, and how often they hold the truth."""

import numpy as np
import pytest

from ser_jax.scoring import bootstrap


def test_few_or_nameless_speakers_are_not_resampled():
    assert bootstrap.drawn("abcde") == "speakers"
    assert (
        bootstrap.drawn("abcd" * 9) == bootstrap.drawn([*"abcdef", ""]) == "utterances"
    )


def test_speakers_that_are_all_alike_leave_chance_alone():
    """All right or all wrong: whichever speakers are drawn, UA is the same."""
    labels, speakers = [0, 1] * 12, np.repeat(list("abcdef"), 4)
    for hit in (True, False):
        found = bootstrap.ua_interval(labels, [hit] * 24, speakers)
        assert found == [float(hit)] * 2


def test_an_interval_by_hand():
    """Five speakers of one utterance, three right: of five drawn Binomial(5, 3/5).

    None right has the probability 0.4^5 = 0.010, at most one 0.087: a fortieth lies
    between. All right have 0.6^5 = 0.078.
    """
    found = bootstrap.ua_interval([0] * 5, [True, True, True, False, False], [*"abcde"])
    assert found == pytest.approx([1 / 5, 1])


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [10, 30])
def test_coverage_where_speakers_differ(speakers):
    """Hit rates vary by 0.12 between speakers; the truth is their mean, 0.7."""
    rng = np.random.default_rng(speakers)
    names = np.repeat(np.arange(speakers), 20)
    labels = np.tile([0, 1], len(names) // 2)
    held = {"speakers": 0, "utterances": 0}
    for _ in range(200):
        rates = rng.normal(0.7, 0.12, speakers).clip(0, 1)
        hits = rng.random(len(names)) < rates[names]
        for over, told in (
            ("speakers", names.astype(str)),
            ("utterances", [""] * len(names)),
        ):
            low, high = bootstrap.ua_interval(labels, hits, told)
            held[over] += low <= 0.7 <= high
    # Binomial, 200 draws: 0.95 less three deviations; who resamples utterances alone
    # is too sure of himself.
    assert held["speakers"] / 200 >= 0.9
    assert held["utterances"] < held["speakers"]
