"""Whether a system serves all alike: UA by what is known of speakers and recordings."""

from collections.abc import Sequence

import numpy as np

from ser_jax.scoring import bootstrap, metrics

MIN_SIZE = 20  # utterances: of fewer, one more right moves UA by points
UNKNOWN = ""


def compare(
    labels: Sequence[int],
    decisions: Sequence[int],
    speakers: Sequence[str],
    values: Sequence[str],
    classes: Sequence[str],
) -> dict:
    """UA of the utterances of each value of a column. Their order plays no part.

    Args:
      labels: Integers [N] in [0, K).
      decisions: Likewise.
      speakers: [N] names.
      values: [N], e.g. `F` or `M`; "" where unknown.
      classes: K names.

    Returns:
      `groups`, by value: `value`, `n`, `speakers` and, of `MIN_SIZE` utterances or more,
      `ua`, `ua_interval`, `interval_over` and `absent_classes`, which that UA leaves
      out. And, if two known values or more are scored, `gap`: `best` and `worst` value,
      by the `ua` of the classes that both have, their difference, and its `interval`,
      which resamples speakers; none where they share no class. With more than two values
      the largest of several differences is taken, so that it is above 0 by chance alone.
    """
    labels, decisions, speakers, values = map(
        np.asarray, (labels, decisions, speakers, values)
    )
    found = []
    for value in np.unique(values):
        here = values == value
        group = {"value": str(value), "n": int(here.sum())}
        group["speakers"] = len(np.unique(speakers[here]))
        if group["n"] >= MIN_SIZE:
            group |= _score(labels[here], decisions[here], speakers[here], classes)
        found.append(group)
    ranked = [x for x in found if "ua" in x and x["value"] != UNKNOWN]
    if len(ranked) < 2:
        return {"groups": found}
    ranked.sort(key=lambda x: x["ua"])
    ends = ranked[-1]["value"], ranked[0]["value"]
    both = np.intersect1d(*(labels[values == end] for end in ends))
    if not both.size:
        return {"groups": found}
    hits = labels == decisions
    gap = _gap(labels, hits, speakers, values, ends, both)
    return {"groups": found, "gap": gap}


def _score(labels, decisions, speakers, classes) -> dict:
    confusion = metrics.confusion_matrix(labels, decisions, len(classes))
    absent = np.flatnonzero(confusion.sum(axis=1) == 0)
    return {
        "ua": metrics.unweighted_accuracy(confusion),
        "ua_interval": bootstrap.ua_interval(labels, labels == decisions, speakers),
        "interval_over": bootstrap.drawn(speakers),
        "absent_classes": [classes[k] for k in absent],
    }


def _gap(labels, hits, speakers, values, ends, both) -> dict:
    """Between two values, of the classes `both` have."""
    parts = [values == end for end in ends]
    names, speaker = np.unique(speakers, return_inverse=True)
    table = np.zeros((len(names), 2, labels.max() + 1, 2), np.int64)
    for number, part in enumerate(parts):
        at = (speaker[part], number, labels[part], hits[part].astype(int))
        np.add.at(table, at, 1)
    table = table[:, :, both]
    of_both = table.sum(axis=(2, 3)) > 0  # which speakers each group has
    rng = np.random.default_rng(0)
    if (of_both.sum(axis=1) > 1).any():  # speakers are in both: one draw for the two
        used = table[of_both.any(axis=1)].reshape(of_both.any(axis=1).sum(), -1, 2)
        recalls = bootstrap.resampled_recalls(used, bootstrap.RESAMPLES, rng)
        sides = [np.split(x, 2, axis=1) for x in recalls]
        drawn = [_mean(*side) for side in zip(*sides, strict=True)]
    else:
        drawn = [
            _mean(
                *bootstrap.resampled_recalls(
                    table[of_both[:, side], side], bootstrap.RESAMPLES, rng
                )
            )
            for side in (0, 1)
        ]
    support = table.sum(axis=(0, 3))
    ua = (table[..., 1].sum(axis=0) / support).mean(axis=1)
    return {
        "best": ends[0],
        "worst": ends[1],
        "ua": float(ua[0] - ua[1]),
        "interval": bootstrap.interval(drawn[0] - drawn[1]),
    }


def _mean(recalls: np.ndarray, present: np.ndarray) -> np.ndarray:
    return recalls.sum(axis=1) / np.maximum(present.sum(axis=1), 1)
