"""Which points of a sweep go on, and which is tested: by validation alone, fold by fold.

One fold's validation speakers are another fold's test speakers, so no fold chooses for
another one: what is chosen in a fold depends on its own training and validation parts.
"""

import collections
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ser_jax.data.batches import Run
from ser_jax.training import lengths
from ser_jax.training.sweep import Point
from ser_jax.workdir.checkpoint import RunRecord


class Validated(NamedTuple):
    """What validation knows of a run."""

    part: str  # see `parts`
    point: int  # number
    record: RunRecord


def parts(runs: Sequence[tuple[str, int, Sequence]]) -> list[str]:
    """What chooses by itself: the fold, of each run's (fold, seed, tested).

    Where a fold's seeds test other utterances (random splits), fold and seed, or one
    seed's validation would choose for another one's test.
    """
    tests = collections.defaultdict(set)
    for fold, _, tested in runs:
        tests[fold].add(tuple(tested))
    return [
        fold if len(tests[fold]) == 1 else f"{fold}, seed {seed}"
        for fold, seed, _ in runs
    ]


def rank(records: Sequence[RunRecord]) -> tuple[float, float]:
    """A point's score in a part: best validation UA, then loss, mean of its seeds."""
    ua = np.mean([record.best_ua for record in records])
    loss = np.mean([record.best_loss for record in records])
    return float(ua), -float(loss)


def choose(validated: Sequence[Validated]) -> dict[str, int]:
    """By part, the point that validates best; of equal ones the first."""
    return {
        part: _ordered({p: x for p, x in of.items() if not _is_halted(x)})[0]
        for part, of in _by_part(validated).items()
    }


def table(
    train,
    points: Iterable[Point],
    validated: Sequence[Validated],
    chosen: Mapping[str, int],
) -> dict:
    """The part `sweep` of results.json.

    `points`: `values` by key, `val_ua` and `val_loss` {mean, std} over parts, and by
    part in `parts` its own `val_ua` and `val_loss`, updates of a run (`updates`) and
    whether it was `halted` there. `chosen`: by part the number of its point, from 0.
    `runs` and `updates` are those of all points.
    """
    found, by_part = [], _by_part(validated)
    for point in sorted(points, key=lambda x: x.number):
        rows = {}
        for part, of in by_part.items():
            ua, loss = rank(of[point.number])
            rows[part] = {
                "val_ua": ua,
                "val_loss": -loss,
                "updates": max(record.updates for record in of[point.number]),
                "halted": _is_halted(of[point.number]),
            }
        spread = {
            key: _spread([row[key] for row in rows.values()])
            for key in ("val_ua", "val_loss")
        }
        found.append({"values": dict(point.values), **spread, "parts": rows})
    return {
        "points": found,
        "chosen": dict(chosen),
        "halving": train.halving,
        "first_rung": train.first_rung,
        "runs": len(validated),
        "updates": sum(row.record.updates for row in validated),
    }


def _spread(values: Sequence[float]) -> dict:
    std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": std}


def halve(train, runs: Sequence[Run], records: Sequence[RunRecord]) -> None:
    """Stops what validates worst once all points of a part have passed a rung.

    Successive halving (Jamieson and Talwalkar 2016) as ASHA orders it, but synchronous:
    runs of a program are in step anyway. After k rungs one in `halving`^k points is
    left, rounded up. Points of other groups play no part.
    """
    if not train.halving or not runs or runs[0].point is None:
        return
    about = [(run.fold.name, run.fold.seed, run.fold.test) for run in runs]
    points = [run.point.number for run in runs]
    rows = map(Validated, parts(about), points, records)
    for of in _by_part(rows).values():
        going = {p: x for p, x in of.items() if not _is_halted(x)}
        # What is out of patience has its score, and waits for nobody.
        done = min(_share(train, x) for own in going.values() for x in own)
        if done >= 1:  # nothing is left to be saved
            continue
        left = math.ceil(len(of) / train.halving ** rungs_passed(train, done))
        for point in _ordered(going)[left:]:
            for record in going[point]:
                record.active, record.halted = False, record.updates


def rungs_passed(train, done: float) -> int:
    """How many rungs lie at or before `done`, a share of the length."""
    passed, rung = 0, train.first_rung
    while rung <= done and rung < 1:
        passed, rung = passed + 1, rung * train.halving
    return passed


def _share(train, record: RunRecord) -> float:
    length = lengths.in_updates(train, "updates", record.steps_per_epoch)
    return record.updates / length if record.active else 1.0


def _is_halted(records: Sequence[RunRecord]) -> bool:
    return any(record.halted for record in records)


def _ordered(of: Mapping[int, Sequence[RunRecord]]) -> list[int]:
    """Points from the best to the worst."""
    return sorted(sorted(of), key=lambda point: rank(of[point]), reverse=True)


def _by_part(validated) -> dict[str, dict[int, list[RunRecord]]]:
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    for row in validated:
        found[row.part][row.point].append(row.record)
    return found
