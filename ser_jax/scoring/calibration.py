"""Whether posteriors mean what they say, and what is gained by leaving doubts out.

Arrays in, numbers out. A temperature is fitted on validation utterances alone: Guo et
al.: On Calibration of Modern Neural Networks, ICML 2017.
"""

import collections
from collections.abc import Sequence

import numpy as np
from scipy import optimize

BINS = 15  # of equal width, as in Guo et al.
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
LOWEST = 1e-12  # a posterior of 0 must not make a logarithm infinite
_TEMPERATURES = (0.05, 20.0)


def summarise(
    predictions: Sequence, validation: Sequence, classes: Sequence[str]
) -> dict:
    """Calibration of all tested decisions, before and after a temperature per run.

    Args:
      predictions: The tested utterances of every run; objects with `fold, seed, label,
        posteriors`.
      validation: Likewise those that a run validated; empty, or of some runs, if there
        are none.
      classes: K names, in the order of the posteriors.

    Returns:
      Plain values: `before` (see `score`), `selective` (see `coverage`) and, where every
      run has validated, `temperatures` (a list of `fold, seed, temperature, n_val`) and
      `after`, of the tested posteriors at these temperatures.
    """
    tested, held_out = _by_run(predictions, classes), _by_run(validation, classes)
    posteriors, labels = map(np.concatenate, zip(*tested.values(), strict=True))
    found = {
        "before": score(posteriors, labels),
        "selective": coverage(posteriors, labels),
    }
    if not held_out or tested.keys() - held_out.keys():
        return found
    fitted = {run: temperature(*held_out[run]) for run in tested}
    cooled = [tempered(tested[run][0], fitted[run]) for run in tested]
    found["temperatures"] = [
        {
            "fold": fold,
            "seed": seed,
            "temperature": value,
            "n_val": len(held_out[run][1]),
        }
        for run, value in fitted.items()
        for fold, seed in [run]
    ]
    return found | {"after": score(np.concatenate(cooled), labels)}


def score(posteriors, labels) -> dict:
    """How far posteriors [N, K] are from the shares of right decisions.

    Returns:
      `ece`, the expected calibration error: mean over decisions of |confidence - share
      right| of its bin, of `BINS` equal ones, [low, high), the last with 1; `brier`: mean
      of the squared distance to the true class's unit vector, in [0, 2]; `nll`: mean
      negative log posterior of the true class, nats; and `bins`, those that are not empty:
      `confidence`, `right` (both means) and `n`.
    """
    posteriors, labels = np.asarray(posteriors, np.float64), np.asarray(labels)
    confidence = posteriors.max(axis=1)
    right = posteriors.argmax(axis=1) == labels
    number = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = [
        {
            "confidence": float(confidence[number == b].mean()),
            "right": float(right[number == b].mean()),
            "n": int((number == b).sum()),
        }
        for b in np.unique(number)
    ]
    gap = sum(x["n"] * abs(x["confidence"] - x["right"]) for x in bins)
    truth = np.eye(posteriors.shape[1])[labels]
    return {
        "ece": gap / len(labels),
        "brier": float(((posteriors - truth) ** 2).sum(axis=1).mean()),
        "nll": nll(posteriors, labels),
        "bins": bins,
    }


def temperature(posteriors, labels) -> float:
    """T in [0.05, 20] with the lowest NLL of `tempered(posteriors, T)`."""
    posteriors, labels = np.asarray(posteriors, np.float64), np.asarray(labels)
    found = optimize.minimize_scalar(
        lambda log_t: nll(tempered(posteriors, np.exp(log_t)), labels),
        bounds=np.log(_TEMPERATURES),
        method="bounded",
    )
    return float(np.exp(found.x))


def tempered(posteriors, temperature: float) -> np.ndarray:
    """The softmax of log posteriors [N, K] / T: above 1 less sure, no decision changes."""
    logits = (
        np.log(np.maximum(np.asarray(posteriors, np.float64), LOWEST)) / temperature
    )
    logits -= logits.max(axis=1, keepdims=True)
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


def coverage(posteriors, labels) -> dict:
    """UA of the surest decisions, as if the system could pass on the others.

    Returns:
      `at`: for each of `COVERAGES` its `coverage`, `n`, `ua` and `absent` (how many
      classes are left out of that UA because none of their utterances is kept); and
      `area`: the mean UA over all coverages from the lowest of these to 1.
    """
    posteriors, labels = np.asarray(posteriors, np.float64), np.asarray(labels)
    order = np.argsort(-posteriors.max(axis=1), kind="stable")
    truth, decided = labels[order], posteriors.argmax(axis=1)[order]
    num_classes, total = posteriors.shape[1], len(labels)
    # Utterances and hits by class among the first n.
    is_class = truth[:, None] == np.arange(num_classes)
    support = is_class.cumsum(axis=0)
    hits = (is_class & (truth == decided)[:, None]).cumsum(axis=0)
    recalls = np.divide(hits, support, out=np.zeros(hits.shape), where=support > 0)
    ua = recalls.sum(axis=1) / (support > 0).sum(axis=1)
    kept = [max(1, round(share * total)) for share in COVERAGES]
    present = np.unique(labels).size
    return {
        "at": [
            {
                "coverage": share,
                "n": n,
                "ua": float(ua[n - 1]),
                "absent": int(present - (support[n - 1] > 0).sum()),
            }
            for share, n in zip(COVERAGES, kept, strict=True)
        ],
        "area": float(ua[min(kept) - 1 :].mean()),
    }


def nll(posteriors: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log posterior of the true class; finite where one is 0 in float32."""
    chosen = posteriors[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, LOWEST)).mean())


def _by_run(predictions: Sequence, classes: Sequence[str]) -> dict:
    """(Fold, seed) -> (posteriors [N, K], labels [N])."""
    lines = collections.defaultdict(list)
    for line in predictions:
        lines[line.fold, line.seed].append(line)
    index = {name: number for number, name in enumerate(classes)}
    return {
        run: (
            np.array([x.posteriors for x in of]),
            np.array([index[x.label] for x in of]),
        )
        for run, of in lines.items()
    }
