"""The deletion test's result as a table, JSON, CSV and a sentence."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from tabulate import tabulate

from ser_jax.explain import deletion
from ser_jax.explain.deletion import RunScores

_DESCRIPTIONS = {
    deletion.ATTENDED: "the most attended cells",
    deletion.SALIENT: "the cells of the largest saliency",
    deletion.RANDOM: f"as many cells at random, mean of {deletion.DRAWS} draws",
    deletion.OTHER: "what another recording attends to, likewise",
    deletion.LEAST: "the least attended cells",
}
# What deletion.json calls the drop beyond each control's.
_CONTROLS = {
    deletion.RANDOM: "drop_beyond_random",
    deletion.OTHER: "drop_beyond_another_recordings",
    deletion.LEAST: "drop_beyond_least_attended",
}
COLUMNS = ("fold", "seed", "condition", "share", "draw", "ua", "drop", "stamps")


def summarise(runs: Sequence[RunScores], provenance: dict) -> dict:
    """The content of deletion.json.

    UA and drops are fractions in [0, 1]. `drop_beyond_random` is the drop of the most
    attended cells less the mean drop of random ones, run by run.
    """
    return {
        "format": 1,
        **{key: provenance[key] for key in ("model", "corpus", "stamps", "workdir")},
        "hidden": "normalised input set to 0, the mean of the training part",
        "shares": list(deletion.SHARES),
        "draws": deletion.DRAWS,
        "ua": _spread([run.plain for run in runs]),
        "runs": [_run(run) for run in runs],
        "rows": [_row(runs, case) for case in runs[0].hidden],
        **{key: _beyond(runs, control) for control, key in _CONTROLS.items()},
        "conclusion": conclude(runs),
    }


def _run(run: RunScores) -> dict:
    hidden = [
        {"condition": case[0], "share": case[1], "ua": run.mean_ua(*case), "draws": ua}
        for case, ua in run.hidden.items()
    ]
    return {
        "fold": run.fold,
        "seed": run.seed,
        "utterances": run.utterances,
        "cells_per_window": run.cells,
        "ua": run.plain,
        "hidden": hidden,
    }


def _row(runs: Sequence[RunScores], case: tuple[str, float]) -> dict:
    return {
        "condition": case[0],
        "share": case[1],
        "ua": _spread([run.mean_ua(*case) for run in runs]),
        "drop": _spread([run.plain - run.mean_ua(*case) for run in runs]),
        "std_over_draws": np.mean([np.std(run.hidden[case]) for run in runs]),
    }


def _beyond(runs: Sequence[RunScores], control: str) -> list[dict]:
    drops = np.transpose([run.drops_beyond(control) for run in runs])
    by_share = zip(deletion.SHARES, drops, strict=True)
    return [{"share": share, **_spread(values)} for share, values in by_share]


def _spread(values: list[float]) -> dict:
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std}


def conclude(runs: Sequence[RunScores]) -> str:
    """Whether the attention matters, in words.

    The evidence is, per run, the drop of UA when the most attended cells are hidden
    less that of as many others, averaged over the shares; it counts if its mean over
    runs is two standard errors or more from 0.
    """
    drops = [[run.drops_beyond(x).mean() for run in runs] for x in _CONTROLS]
    random, other, least = map(_points, drops)
    shares = ", ".join(f"{share:.0%}" for share in deletion.SHARES)
    text = (
        f"Mean over {shares}: hiding the most attended cells costs {random} "
        f"beyond random cells, {other} beyond what another recording "
        f"attends to, and {least} beyond the least attended. "
    )
    text += _verdict(*map(_sign, drops))
    if len(runs) == 1:
        text += " (One run has no spread; 5 points were taken for a difference.)"
    return text


def _verdict(random: int, other: int, least: int) -> str:
    """In words, from the signs of the three differences."""
    if random > 0 and other > 0:
        return "The attention matters: it points at what this answer rests on."
    if random > 0 and least > 0:
        return (
            "The attended places matter, but what another recording attends to does as "
            "much harm: the attention has not been shown to follow the recording."
        )
    if random > 0:
        return (
            "The least attended cells do as much harm: cells that lie together matter "
            "more than scattered ones, attended or not."
        )
    if other > 0:
        return (
            "Attended cells matter more than those of another recording, but no more "
            "than scattered ones."
        )
    text = "This test does not show that the attention matters."
    return text if random == 0 else f"{text} Random cells do more harm."


def _sign(values: list[float]) -> int:
    """1 or -1 if the mean is two standard errors from 0; of one value, 5 points."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return int(np.sign(mean)) * (abs(mean) >= 0.05)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    # Equal runs have an error of 0, and rounding must not become a difference.
    return int(np.sign(mean)) * (abs(mean) >= 2 * error and abs(mean) > 1e-9)


def _points(values: list[float]) -> str:
    points = 100 * np.array(values)
    if len(points) == 1:
        return f"{points[0]:+.1f} points of UA"
    return (
        f"{points.mean():+.1f} ± {points.std(ddof=1):.1f} points of UA (more in "
        f"{(points > 0).sum()} of {len(points)} runs)"
    )


def make_table(runs: Sequence[RunScores], provenance: dict) -> str:
    """For the terminal: UA of every condition and share, every run's drops, a sentence."""
    title = (
        f"Deletion test of {provenance['model']} trained on {provenance['corpus']}: each of "
        f"{len(runs)} runs on its own test part. UA in percent, mean ± std over runs."
    )
    rows = [["nothing", _percent([run.plain for run in runs])]]
    for condition, text in _DESCRIPTIONS.items():
        by_share = np.transpose([run.curve(condition) for run in runs])
        rows.append([text, *map(_percent, by_share)])
    rows.append(["Drop beyond random cells, per run (points of UA):"])
    for run in runs:
        name = f"{run.fold}, seed {run.seed} (n = {run.utterances}, UA {run.plain:.1%})"
        drops = 100 * run.drops_beyond(deletion.RANDOM)
        rows.append([name, *(f"{drop:+.1f}" for drop in drops)])
    table = tabulate(
        rows,
        headers=["hidden", *(f"{share:.0%} hidden" for share in deletion.SHARES)],
        tablefmt="plain",
        disable_numparse=True,
        colalign=("left", *["right"] * len(deletion.SHARES)),
    )
    stamps = [f"[ {stamp} ]" for stamp in provenance["stamps"]]
    return "\n".join([title, *stamps, table, conclude(runs)])


def _percent(values: list[float]) -> str:
    spread = f" ± {100 * np.std(values, ddof=1):4.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):5.1f}{spread}"


def csv_rows(runs: Sequence[RunScores], stamps: Sequence[str] = ()) -> Iterator[tuple]:
    """Rows of deletion.csv: per run, condition, share (0: nothing hidden) and draw."""
    stamp = "; ".join(stamps)
    for run in runs:
        yield run.fold, run.seed, "nothing", 0, 0, f"{run.plain:.6f}", 0, stamp
        for case, draws in run.hidden.items():
            for draw, ua in enumerate(draws):
                scores = f"{ua:.6f}", f"{run.plain - ua:.6f}"
                yield run.fold, run.seed, *case, draw, *scores, stamp
