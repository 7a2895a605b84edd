"""Numbers behind the report's details, from predictions and metrics. NumPy only."""

import collections
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from ser_jax.scoring.summary import count_decisions
from ser_jax.workdir.predictions import Prediction

PARTS = {"train": "training", "val": "validation", "test": "test part"}
CHOOSES = {"val_ua", "test_ua"}  # what an epoch can be chosen by


@dataclasses.dataclass(frozen=True)
class Series:
    """One measured quantity over epochs or updates."""

    key: str  # as in metrics.jsonl, e.g. `val_ua`
    label: str  # the part of the corpus it was measured on
    runs: tuple[dict[float, float], ...]  # per run, value by epoch
    # For the epochs that every run reached, so that early stopping does not bend it;
    # empty for one run.
    mean: dict[float, float]
    scored: tuple[tuple[float, float], ...]  # (epoch, value) that a run was scored at
    axis: str = "epoch"  # or `update`


def groups(
    predictions: Sequence[Prediction], classes: Sequence[str], field: str
) -> dict[str, np.ndarray]:
    """Confusion matrix per value of a field (`speaker`, `session`), `2F` before `10F`."""
    members = collections.defaultdict(list)
    for record in predictions:
        members[getattr(record, field)].append(record)
    names = sorted(members, key=_natural)
    return {name: count_decisions(members[name], classes) for name in names}


def durations(
    predictions: Sequence[Prediction],
    seconds: Mapping[str, float],
    classes: Sequence[str],
    bins: int = 5,
) -> list[tuple[float, float, np.ndarray]]:
    """Decisions by how long recordings are, in at most `bins` of about equally many.

    Those whose length is not in `seconds` are left out; equal lengths share a bin.

    Returns:
      (shortest, longest, confusion matrix) per bin; lengths of recordings, seconds.
    """
    timed = [record for record in predictions if record.utterance in seconds]
    if not timed:
        return []
    lengths = np.array([seconds[record.utterance] for record in timed])
    # Quantiles that coincide are one edge.
    edges = np.unique(np.quantile(lengths, np.arange(1, bins) / bins))
    place = np.searchsorted(edges, lengths, side="left")
    table = []
    for number in np.unique(place):
        inside = np.flatnonzero(place == number)
        low, high = lengths[inside].min(), lengths[inside].max()
        counts = count_decisions([timed[index] for index in inside], classes)
        table.append((float(low), float(high), counts))
    return table


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
    surest = {}  # of each utterance, over the runs that tested it
    for record in wrong:
        surest.setdefault(record.utterance, record)
    return [
        (r, r.posteriors[index[r.prediction]], r.posteriors[index[r.label]])
        for r in list(surest.values())[:most]
    ]


def curves(results: Mapping, lines: Sequence[Mapping]) -> dict[str, list[Series]]:
    """Learning curves, `loss` and `UA`, each where something of it was measured.

    `lines`, of metrics.jsonl, have `epoch, fold, seed`, newer ones `update`, and any of
    `train_loss, val_loss, val_ua`; `test_loss, test_ua` in paper mode.
    """
    over = axis(lines)
    best = {(run["seed"], run["fold"]): run[f"best_{over}"] for run in results["runs"]}
    panels = {}
    for name in ("loss", "UA"):
        series = [_series(part, name.lower(), lines, best, over) for part in PARTS]
        if measured := [item for item in series if item.runs]:
            panels[name] = measured
    return panels


def axis(lines: Sequence[Mapping]) -> str:
    """`update` where runs were validated at the same updates, else `epoch`."""
    if all(line["epoch"] % 1 == 0 for line in lines):
        return "epoch"
    shared = {}
    for name in ("epoch", "update"):
        places = collections.defaultdict(set)
        for line in lines:
            places[line["seed"], line["fold"]].add(line[name])
        shared[name] = len(set.intersection(*places.values()))
    return "epoch" if shared["epoch"] > shared["update"] else "update"


def is_number(value) -> bool:
    """Whether a value of metrics.jsonl can be drawn."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def _series(part, quantity, lines, best, over) -> Series:
    key = f"{part}_{quantity}"
    runs = collections.defaultdict(dict)
    for line in lines:
        if is_number(line.get(key)):
            runs[line["seed"], line["fold"]][line[over]] = line[key]
    scored = [
        (best[run], points[best[run]])
        for run, points in runs.items()
        # The epoch was chosen by this very curve; on others a ring would mislead.
        if key in CHOOSES and best.get(run) in points
    ]
    mean = {}
    if len(runs) > 1:
        for place in sorted(set.intersection(*map(set, runs.values()))):
            mean[place] = float(np.mean([points[place] for points in runs.values()]))
    return Series(key, PARTS[part], tuple(runs.values()), mean, tuple(scored), over)


def _natural(name: str) -> list:
    """A sorting key in which numbers are numbers."""
    parts = re.split(r"(\d+)", name)  # at odd places the numbers
    parts[1::2] = map(int, parts[1::2])
    return parts
