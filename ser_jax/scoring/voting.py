"""From the posteriors of segments to one posterior per utterance. NumPy only."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ser_jax.scoring import metrics


class Rule(NamedTuple):
    """How the posteriors of an utterance's segments become one."""

    # Accumulates them; the name of a ufunc of `numpy` and of `jax.numpy`, so that
    # exported programs vote by this table too.
    ufunc: str
    # (accumulated [..., K], number of segments [...]) -> divisor [...].
    total: Callable


RULES = {
    # Xu et al. 2021, AACNN, decide by the mean.
    "mean": Rule("add", lambda accumulated, count: count),
    # The largest probability of each class, made a distribution again: dividing changes
    # no decision.
    "max": Rule("maximum", lambda accumulated, count: accumulated.sum(-1)),
}


def vote(posteriors, utterance, num_utterances: int, rule: str = "mean") -> np.ndarray:
    """Joins the posteriors of each utterance's segments.

    Args:
      posteriors: [S, K] class probabilities per segment, finite and not negative.
      utterance: Integers [S] in [0, num_utterances): the segment's utterance.
      num_utterances: U.
      rule: A key of `RULES`.

    Returns:
      float64 [U, K]; rows sum to 1 if those of `posteriors` do. The row of an utterance
      without segments is NaN: it was not scored and must not be counted.

    Raises:
      ValueError: Shapes, indices, values or the rule are not as above.
    """
    posteriors = np.asarray(posteriors, np.float64)
    utterance = np.asarray(utterance)
    if rule not in RULES:
        raise ValueError(f"expected segment.vote of {', '.join(RULES)}; got {rule!r}")
    if posteriors.ndim != 2 or utterance.shape != posteriors.shape[:1]:
        raise ValueError(
            "expected posteriors [S, K] and utterance [S], got "
            f"{posteriors.shape} and {utterance.shape}; pass one row per segment"
        )
    if not np.isfinite(posteriors).all() or (posteriors < 0).any():
        raise ValueError(
            "expected finite posteriors that are not negative, got others; pass "
            "softmax outputs, not logits"
        )
    remedy = "leave padding segments out"
    utterance = metrics.check_indices("utterance", utterance, num_utterances, remedy)
    voted = np.zeros((num_utterances, posteriors.shape[1]))
    getattr(np, RULES[rule].ufunc).at(voted, utterance, posteriors)
    count = np.bincount(utterance, minlength=num_utterances)
    total = RULES[rule].total(voted, count)[:, None]
    return np.divide(voted, total, out=np.full_like(voted, np.nan), where=total > 0)
