"""Ranks of several systems, against Demšar's example and by simulation."""

import numpy as np
import pytest

from ser_jax.scoring import ranks

# Demšar 2006, table 6: AUC of C4.5 and three variants of it on 14 data sets.
DEMSAR = """
0.763 0.768 0.771 0.798; 0.599 0.591 0.590 0.569; 0.954 0.971 0.968 0.967
0.628 0.661 0.654 0.657; 0.882 0.888 0.886 0.898; 0.936 0.931 0.916 0.931
0.661 0.668 0.609 0.685; 0.583 0.583 0.563 0.625; 0.775 0.838 0.866 0.875
1.000 1.000 1.000 1.000; 0.940 0.962 0.965 0.962; 0.619 0.666 0.614 0.669
0.972 0.981 0.9751 0.975; 0.957 0.978 0.946 0.970
"""


def test_the_example_of_the_paper():
    rows = DEMSAR.replace("\n", ";").split(";")
    found = ranks.rank([list(map(float, row.split())) for row in rows if row.strip()])
    assert found.mean == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    # q 2.569 for four systems: 2.569 * sqrt(4 * 5 / (6 * 14)).
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)
    assert found.speakers == 14


def test_friedman_by_hand():
    """Ranks 1, 2, 3 by all four speakers: chi-squared 12 * 4 / 12 * (9 + 4 + 1 ...)."""
    found = ranks.rank([[0.9, 0.8, 0.7]] * 4)
    assert found.mean == (1, 2, 3)
    # 12 N / (k (k + 1)) * (1 + 4 + 9 - k (k + 1)^2 / 4) = 4 * 2 = 8; exp(-8 / 2).
    assert found.p == pytest.approx(np.exp(-4))
    assert ranks.rank([[0.5, 0.5, 0.5]] * 4).p == 1.0


@pytest.mark.slow
def test_systems_that_are_alike_seldom_differ():
    rng = np.random.default_rng(0)
    draws = [ranks.rank(rng.random((12, 4))) for _ in range(300)]
    apart = np.mean([np.ptp(x.mean) > x.critical_difference for x in draws])
    rejected = np.mean([x.p <= 0.05 for x in draws])
    # Binomial, 300 draws: 0.05 within 0.04 (three deviations).
    assert apart <= 0.09 and rejected <= 0.09


@pytest.mark.parametrize(
    "scores", [[[1, 2]] * 3, [[1, 2, 3]], [[1, 2, np.nan]] * 3, [1, 2, 3]]
)
def test_what_cannot_be_ranked_is_refused(scores):
    with pytest.raises(ValueError, match="expected"):
        ranks.rank(scores)
