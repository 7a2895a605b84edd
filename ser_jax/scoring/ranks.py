"""Several systems on the same speakers: who ranks where, and which ranks differ.

Demšar: Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006, with
speakers in place of data sets.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

ALPHA = 0.05
MIN_SYSTEMS = 3  # two are compared by `paired`


class Ranks(NamedTuple):
    """Mean ranks of M systems over speakers, 1 = best."""

    mean: tuple[float, ...]  # of each system
    # Ranks that are closer cannot be told apart (Nemenyi, 5 %, all pairs tested).
    critical_difference: float
    p: float  # Friedman's test: that all systems are alike
    speakers: int


def rank(scores: Sequence[Sequence[float]]) -> Ranks:
    """Ranks systems by their scores [speakers, M], higher is better.

    Equal scores share the mean of their ranks. Friedman's p follows from chi-squared
    with M - 1 degrees of freedom, which wants some ten speakers.

    Raises:
      ValueError: Fewer than three systems or two speakers, or a score is not finite.
    """
    table = np.asarray(scores, float)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < MIN_SYSTEMS:
        raise ValueError(
            "expected scores of two speakers or more by three systems or more; got "
            f"shape {table.shape}"
        )
    if not np.isfinite(table).all():
        raise ValueError("expected a score of every speaker by every system")
    speakers, systems = table.shape
    mean = stats.rankdata(-table, axis=1).mean(axis=0)
    studentized = stats.studentized_range.ppf(1 - ALPHA, systems, np.inf)
    spread = np.sqrt(systems * (systems + 1) / (6 * speakers))
    # All equal: SciPy divides 0 by 0.
    p = 1.0 if np.ptp(mean) == 0 else stats.friedmanchisquare(*table.T).pvalue
    critical = float(studentized / np.sqrt(2) * spread)
    return Ranks(tuple(map(float, mean)), critical, float(p), speakers)
