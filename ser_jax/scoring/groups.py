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
      by the `ua` of the classes that both have, their difference, and, of five
      speakers or more on each side, its `interval`, which resamples them; no gap where
      they share no class. With more than two values the largest of several differences
      is taken, so that it is above 0 by chance alone.
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
    support = table.sum(axis=(0, 3))
    ua = (table[..., 1].sum(axis=0) / support).mean(axis=1)
    # By all of its classes the other one may have been the better.
    order = [0, 1] if ua[0] >= ua[1] else [1, 0]
    gap = {"best": ends[order[0]], "worst": ends[order[1]]}
    gap["ua"] = float(abs(ua[0] - ua[1]))
    if {bootstrap.drawn(speakers[part]) for part in parts} == {"speakers"}:
        gap["interval"] = _interval(table[:, order])
    return gap


def _interval(table: np.ndarray) -> list[float]:
    """Of the difference between two groups, counts [speakers, 2, C, 2].

    Speakers may be in both: one draw serves the two. Draws that miss one are left out.
    """
    used = table[table.any(axis=(1, 2, 3))]
    recalls, present = bootstrap.resampled_recalls(
        used.reshape(len(used), -1, 2), bootstrap.RESAMPLES, np.random.default_rng(0)
    )
    first, second = (
        x.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
        for x, there in zip(
            np.split(recalls, 2, 1), np.split(present, 2, 1), strict=True
        )
    )
    has_both = np.all([there.any(axis=1) for there in np.split(present, 2, 1)], axis=0)
    return bootstrap.interval((first - second)[has_both])
