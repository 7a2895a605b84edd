"""Late fusion: the weighted mean of what several systems answer. Arrays in and out."""

from collections.abc import Sequence

import numpy as np
from scipy import optimize

from ser_jax.scoring import calibration, metrics

_DECIMALS = 4  # of a weight: few utterances validate


def mean(posteriors: Sequence, weights: Sequence) -> np.ndarray:
    """The weighted mean of M systems' posteriors, whose order plays no part.

    Args:
      posteriors: [M, N, K].
      weights: [M] or, of every utterance, [M, N]; they sum to 1 over M.

    Returns:
      float64 [N, K].
    """
    posteriors = np.asarray(posteriors, np.float64)
    weights = np.asarray(weights, np.float64).reshape(len(posteriors), -1, 1)
    # Sorted, because rounding depends on the order, and a tie on rounding.
    return np.sort(weights * posteriors, axis=0).sum(axis=0)


def choose_weights(posteriors: Sequence, labels: Sequence[int]) -> np.ndarray:
    """The weights of M systems with the lowest mean negative log posterior.

    The posterior is that of the true class in the weighted mean. It is convex in the
    weights, which are not negative and sum to 1. They are found by sequential quadratic
    programming from equal weights, whatever the order of the systems, and hold four
    decimals.

    Args:
      posteriors: [M, N, K], of utterances that test nothing.
      labels: Integers [N] in [0, K).

    Returns:
      float64 [M].
    """
    posteriors, labels = np.asarray(posteriors, np.float64), np.asarray(labels)
    chosen = posteriors[:, np.arange(len(labels)), labels]
    chosen = np.maximum(chosen, calibration.LOWEST)
    order = np.lexsort(chosen.T[::-1])  # that of their answers
    chosen, equal = chosen[order], np.full(len(chosen), 1 / len(chosen))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        """NLL, and its gradient."""
        mixed = np.maximum(weights @ chosen, calibration.LOWEST)
        return -np.log(mixed).mean(), -(chosen / mixed).mean(axis=1)

    found = optimize.minimize(
        loss,
        equal,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * len(equal),
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": 1e-10, "maxiter": 1000},
    )
    best = np.round(np.clip(found.x, 0, 1), _DECIMALS)
    weights = np.empty(len(best))
    weights[order] = best / best.sum()
    return weights


def choose_one(posteriors: Sequence, labels: Sequence[int]) -> np.ndarray:
    """All weight to the system with the highest UA.

    Of equal ones to that with the lowest mean negative log posterior; those that are
    equal in both share it.

    Args:
      posteriors: [M, N, K], of utterances that test nothing.
      labels: Integers [N] in [0, K).

    Returns:
      float64 [M].
    """
    posteriors, labels = np.asarray(posteriors, np.float64), np.asarray(labels)

    def rank(system: np.ndarray) -> tuple:
        counts = metrics.confusion_matrix(labels, system.argmax(1), system.shape[1])
        return metrics.unweighted_accuracy(counts), -calibration.nll(system, labels)

    ranks = [rank(system) for system in posteriors]
    best = np.array([own == max(ranks) for own in ranks])
    return best / best.sum()
