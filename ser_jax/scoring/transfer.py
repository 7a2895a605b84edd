"""Scores on another corpus than the one trained on, and how sure they are."""

import math
from collections.abc import Sequence

import numpy as np

from ser_jax.scoring import bootstrap, metrics


def score(
    posteriors,
    labels,
    classes: Sequence[str],
    source_counts,
    speakers: Sequence[str],
    *,
    seen=None,
    seed: int = 0,
) -> dict:
    """Scores a corpus over the classes it has in common with the training.

    A class that has no label here is left out of UA and chance, but may be predicted.
    Intervals are those of `bootstrap.ua_interval`. The order of the utterances changes
    nothing.

    Args:
      posteriors: [N, K], not negative; rows need not sum to 1.
      labels: Integers [N] in [0, K).
      classes: K names.
      source_counts: [K], how many utterances of each class were trained on, above 0.
      speakers: [N] names; "" where unknown.
      seen: [K], how much of each class the training saw, if it did not draw and weigh
        all utterances alike: `seen_counts`.
      seed: Of the resampling.

    Returns:
      Plain values: `n`, `wa`, `ua`, `ua_interval` [low, high], `recalls` {class: share,
      where it has labels}, `interval_over` (`speakers` or `utterances`), `chance` (UA of
      guessing), `confusion` (rows true), `absent_classes`, `prior_source` and
      `prior_target` {class: share}, and in `logit_adjusted` the same `wa, ua,
      ua_interval, recalls` of decisions by posterior / what was seen, as if the training
      had had as much of every class.

    Raises:
      ValueError: No utterance, or an argument is not as above.
    """
    posteriors = np.asarray(posteriors, np.float64)
    labels, counts = np.asarray(labels), np.asarray(source_counts, np.float64)
    speakers = np.asarray(speakers, str)
    _check(posteriors, labels, len(classes), counts, speakers)
    seen = counts if seen is None else seen
    decisions, adjusted = posteriors.argmax(1), (posteriors / seen).argmax(1)
    confusion = metrics.confusion_matrix(labels, decisions, len(classes))
    support = confusion.sum(axis=1)
    return {
        "n": len(labels),
        **_scores(labels, decisions, classes, speakers, seed),
        "interval_over": bootstrap.drawn(speakers),
        "chance": 1 / np.count_nonzero(support),
        "confusion": confusion.tolist(),
        "absent_classes": [classes[k] for k in np.flatnonzero(support == 0)],
        "prior_source": _shares(classes, counts),
        "prior_target": _shares(classes, support),
        "logit_adjusted": _scores(labels, adjusted, classes, speakers, seed),
    }


def seen_counts(
    labels, corpora: Sequence[str], num_classes: int, *, sampling: str, weights: str
) -> np.ndarray:
    """How much of each class a training saw, or weighed, [K] up to a factor.

    Args:
      labels: Integers [N] in [0, K), of its utterances.
      corpora: N names.
      num_classes: K.
      sampling: `train.sampling`.
      weights: `train.class_weights`.
    """
    labels = np.asarray(labels)
    corpus = np.unique(np.asarray(corpora), return_inverse=True)[1]
    strata = {
        "all": np.zeros_like(labels),
        "balanced": labels,
        "corpus": corpus,
        "corpus_class": corpus * num_classes + labels,
    }[sampling]
    _, stratum, size = np.unique(strata, return_inverse=True, return_counts=True)
    seen = np.bincount(labels, 1 / size[stratum], num_classes)
    # Weights follow how many utterances there are, not how many are drawn.
    return seen if weights == "none" else seen / np.bincount(labels, None, num_classes)


def _check(posteriors, labels, num_classes, counts, speakers) -> None:
    size = len(labels)
    shapes = posteriors.shape, labels.shape, counts.shape, speakers.shape
    if not size or shapes != ((size, num_classes), (size,), (num_classes,), (size,)):
        raise ValueError(
            f"expected posteriors [N, {num_classes}], labels [N], source_counts "
            f"[{num_classes}] and speakers [N] of one utterance or more; got {shapes}"
        )
    if not np.isfinite(posteriors).all() or (posteriors < 0).any():
        raise ValueError("expected finite posteriors that are not negative, got others")
    if not (counts > 0).all():
        raise ValueError(
            f"expected training utterances of every class, got {counts.tolist()}"
        )


def _scores(labels, predictions, classes, speakers, seed) -> dict:
    confusion = metrics.confusion_matrix(labels, predictions, len(classes))
    recalls = zip(classes, metrics.recalls(confusion).tolist(), strict=True)
    return {
        "wa": metrics.weighted_accuracy(confusion),
        "ua": metrics.unweighted_accuracy(confusion),
        "ua_interval": bootstrap.ua_interval(
            labels, labels == predictions, speakers, seed=seed
        ),
        "recalls": {name: share for name, share in recalls if not math.isnan(share)},
    }


def _shares(classes, counts) -> dict[str, float]:
    return dict(zip(classes, (counts / counts.sum()).tolist(), strict=True))
