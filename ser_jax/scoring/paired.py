"""Whether two systems differ on the same utterances, speaker by speaker. NumPy only.

Utterances of a speaker are alike, so speakers are what is drawn: the interval of a
difference resamples them, the test flips the sign of each one's difference. Trainings
from several seeds decide by the mean of their posteriors; the interval may draw the
seeds as well, as a random effect, so that it holds for other seeds, too. The test takes
the trainings as they are.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ser_jax.scoring.bootstrap import RESAMPLES, interval, resampled_counts

FLIPS = 10_000  # drawn where there are too many to go through them all
_EXACT = 14  # speakers, up to which they are
_SEED_DRAWS = 200  # each with as many resamples of speakers as make `RESAMPLES`


class Difference(NamedTuple):
    """UA of the first system less that of the second, as fractions."""

    ua: float
    interval: tuple[float, float]  # 95 %
    p: float  # two-sided, of the sign-flip test
    speakers: int


def compare(
    labels: Sequence[int],
    first: Sequence[int],
    second: Sequence[int],
    speakers: Sequence[str],
    *,
    draw_seeds: Callable[[np.random.Generator], tuple] | None = None,
    seed: int = 0,
) -> Difference:
    """Compares decisions of two systems.

    The test is exact up to 14 speakers; of ten, no p is below 2 / 1024. The interval
    resamples speakers, and the utterances of each.

    Args:
      labels: Integers [N].
      first: Decisions [N] of the one system.
      second: Of the other, on the same utterances.
      speakers: [N] names.
      draw_seeds: Gives `first` and `second` of seeds that are drawn anew, for the
        interval; None = the seeds are what they are.
      seed: Of what is drawn.

    Raises:
      ValueError: The lengths differ, or there are fewer than two speakers.
    """
    labels, speakers = np.asarray(labels), np.asarray(speakers)
    if not len(labels) == len(first) == len(second) == len(speakers):
        raise ValueError("expected labels, decisions and speakers of the same length")
    _, speaker = np.unique(speakers, return_inverse=True)
    if not len(speaker) or speaker.max() < 1:
        raise ValueError("expected two speakers or more")
    _, classes = np.unique(labels, return_inverse=True)

    def count(first, second) -> np.ndarray:
        """How often the gain is -1, 0, 1, by speaker and class: [speakers, C, 3]."""
        gain = (np.asarray(first) == labels).astype(int) - (second == labels)
        table = np.zeros((speaker.max() + 1, classes.max() + 1, 3), np.int64)
        np.add.at(table, (speaker, classes, gain + 1), 1)
        return table

    rng, table = np.random.default_rng(seed), count(first, np.asarray(second))
    if draw_seeds is None:
        gains = _ua_gain(resampled_counts(table, RESAMPLES, rng))
    else:
        drawn = (count(*draw_seeds(rng)) for _ in range(_SEED_DRAWS))
        each = RESAMPLES // _SEED_DRAWS
        counts = [resampled_counts(one, each, rng) for one in drawn]
        gains = _ua_gain(np.concatenate(counts))
    ua = float(_ua_gain(table.sum(axis=0)))
    low, high = interval(gains)
    return Difference(ua, (low, high), _sign_flip(table, rng), len(table))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p values of several tests (Holm 1979), in their order."""
    order = np.argsort(p_values, kind="stable")
    left = len(p_values) - np.arange(len(p_values))
    raised = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * left))
    adjusted = np.empty(len(p_values))
    adjusted[order] = raised
    return adjusted.tolist()


def _ua_gain(table: np.ndarray) -> np.ndarray:
    """From counts [..., C, 3]: the mean over classes of the mean gain."""
    total = table.sum(axis=-1)
    gain = table[..., 2] - table[..., 0]
    mean = np.divide(gain, total, out=np.zeros(gain.shape), where=total > 0)
    return mean.sum(axis=-1) / (total > 0).sum(axis=-1)


def _sign_flip(table: np.ndarray, rng: np.random.Generator) -> float:
    """Share of the signs that give a difference at least as large as the one seen."""
    weight = 1 / table.sum(axis=(0, 2)) / table.shape[1]
    gain = ((table[..., 2] - table[..., 0]) * weight).sum(axis=1)  # [speakers]
    seen = abs(gain.sum()) - 1e-12
    if len(gain) <= _EXACT:
        sums = np.zeros(1)
        for one in gain:  # of all signs: twice as many with every speaker
            sums = np.concatenate([sums + one, sums - one])
        return float((abs(sums) >= seen).mean())
    signs = rng.choice((1, -1), size=(FLIPS, len(gain)))
    return float((1 + (abs(signs @ gain) >= seen).sum()) / (1 + FLIPS))
