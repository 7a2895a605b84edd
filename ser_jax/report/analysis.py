"""Numbers behind the report's details, from predictions and metrics. NumPy only."""

import collections
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from ser_jax.scoring import metrics
from ser_jax.workdir.results import Prediction

PARTS = {"train": "training", "val": "validation", "test": "test part"}
CHOOSES = {"val_ua", "test_ua"}  # what an epoch can be chosen by


@dataclasses.dataclass(frozen=True)
class Group:
    """Some of the decisions and their scores.

    Attributes:
      name: What they share.
      n: How many decisions; an utterance counts once per run that tested it.
      ua: Mean recall of the classes that occur; NaN without any.
      wa: Share of right decisions.
      recalls: K, per class; NaN where the class does not occur.
    """

    name: str
    n: int
    ua: float
    wa: float
    recalls: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Series:
    """One measured quantity over epochs.

    Attributes:
      key: As in metrics.jsonl, e.g. `val_ua`.
      label: Of the part of the corpus it was measured on.
      runs: Per run, value by epoch.
      mean: Over runs, for the epochs that every run reached; empty for one run.
      scored: (epoch, value) of each run at the epoch it was scored at.
    """

    key: str
    label: str
    runs: tuple[dict[int, float], ...]
    mean: dict[int, float]
    scored: tuple[tuple[int, float], ...]


def groups(
    predictions: Sequence[Prediction], classes: Sequence[str], field: str
) -> list[Group]:
    """Scores per value of a field (`speaker`, `session`), numbers in order."""
    found = collections.defaultdict(list)
    for record in predictions:
        found[getattr(record, field)].append(record)
    return [_group(name, found[name], classes) for name in sorted(found, key=_natural)]


def durations(
    predictions: Sequence[Prediction],
    seconds: Mapping[str, float],
    classes: Sequence[str],
    bins: int = 5,
) -> list[tuple[float, float, Group]]:
    """Scores by how long recordings are, in bins of about equally many decisions.

    Args:
      predictions: Decisions; those of unknown length are left out.
      seconds: Length by utterance.
      classes: K class names.
      bins: At most; equal lengths are never divided, so there may be fewer.

    Returns:
      (shortest, longest, scores) per bin, in seconds; bounds are recordings' lengths.
    """
    known = [record for record in predictions if record.utterance in seconds]
    if not known:
        return []
    lengths = np.array([seconds[record.utterance] for record in known])
    edges = np.unique(np.quantile(lengths, np.arange(1, bins) / bins))
    place = np.searchsorted(edges, lengths, side="left")
    found = []
    for number in np.unique(place):
        inside = np.flatnonzero(place == number)
        low, high = lengths[inside].min(), lengths[inside].max()
        group = _group("", [known[index] for index in inside], classes)
        found.append((float(low), float(high), group))
    return found


def mistakes(
    predictions: Sequence[Prediction], classes: Sequence[str], most: int = 10
) -> list[tuple[Prediction, float, float]]:
    """The wrong decisions with the highest probability, an utterance only once.

    Returns:
      (decision, probability of the decided class, of the true class), highest first,
      equal ones in the order of the file.
    """
    index = {name: number for number, name in enumerate(classes)}
    wrong = [record for record in predictions if record.label != record.prediction]
    wrong.sort(key=lambda r: -r.posteriors[index[r.prediction]])  # stable
    first = {}
    for record in wrong:
        first.setdefault(record.utterance, record)
    return [
        (r, r.posteriors[index[r.prediction]], r.posteriors[index[r.label]])
        for r in list(first.values())[:most]
    ]


def curves(results: Mapping, lines: Sequence[Mapping]) -> dict[str, list[Series]]:
    """Learning curves: `loss` and `UA`, each where something of it was measured.

    Args:
      results: Content of results.json.
      lines: Entries of metrics.jsonl (`results.read_metrics`): `epoch, fold, seed` and
        any of `train_loss, val_loss, val_ua`; `test_loss, test_ua` in paper mode.
    """
    best = {(run["seed"], run["fold"]): run["best_epoch"] for run in results["runs"]}
    panels = {"loss": [], "UA": []}
    for name, found in panels.items():
        for part in PARTS:
            series = _series(f"{part}_{name.lower()}", part, lines, best)
            found.extend([series] if series.runs else [])
    return {name: found for name, found in panels.items() if found}


def number(value) -> bool:
    """Whether a value of metrics.jsonl can be drawn."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def _series(key, part, lines, best) -> Series:
    runs = collections.defaultdict(dict)
    for line in lines:
        if number(line.get(key)):
            runs[line["seed"], line["fold"]][line["epoch"]] = line[key]
    scored = [
        (best[run], points[best[run]])
        for run, points in runs.items()
        if key in CHOOSES and best.get(run) in points
    ]
    shared = sorted(set.intersection(*map(set, runs.values()))) if runs else []
    mean = {}
    if len(runs) > 1:
        mean = {e: float(np.mean([p[e] for p in runs.values()])) for e in shared}
    return Series(key, PARTS[part], tuple(runs.values()), mean, tuple(scored))


def _group(name, records, classes) -> Group:
    index = {name: number for number, name in enumerate(classes)}
    labels = np.array([index[record.label] for record in records])
    decided = np.array([index[record.prediction] for record in records])
    confusion = metrics.confusion_matrix(labels, decided, len(classes))
    return Group(
        name=name,
        n=len(records),
        ua=metrics.unweighted_accuracy(confusion),
        wa=metrics.weighted_accuracy(confusion),
        recalls=tuple(metrics.recalls(confusion).tolist()),
    )


def _natural(name: str) -> list:
    """Sorts `2F` before `10F`."""
    parts = re.split(r"(\d+)", name)
    return [
        (part.isdecimal(), int(part) if part.isdecimal() else part) for part in parts
    ]
