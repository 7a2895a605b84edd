"""What the deletion test says, as a table, JSON, CSV and a sentence."""

import csv
import io
import math
from collections.abc import Sequence

import numpy as np

from ser_jax.explain import deletion
from ser_jax.explain.corpus import RunScores

_EXPLAINED = {
    deletion.ATTENDED: "the most attended cells",
    deletion.SALIENT: "the cells of the largest saliency",
    deletion.RANDOM: f"as many cells at random, mean of {deletion.DRAWS} draws",
    deletion.OTHER: "what another recording attends to, likewise",
    deletion.LEAST: "the least attended cells",
}


def summary(runs: Sequence[RunScores], about: dict) -> dict:
    """The content of deletion.json.

    UA and drops are fractions in [0, 1]. `drop_beyond_random` is the drop of the most
    attended cells less the mean drop of random ones, run by run.

    Args:
      runs: Their scores.
      about: `TrainedModel.provenance`.
    """
    rows = []
    for share in deletion.SHARES:
        for condition in deletion.CONDITIONS:
            ua = [_mean_ua(run, condition, share) for run in runs]
            drops = [run.plain - x for run, x in zip(runs, ua, strict=True)]
            draws = [np.std(_draws(run, condition, share)) for run in runs]
            rows.append(
                {
                    "condition": condition,
                    "share": share,
                    "ua": _spread(ua),
                    "drop": _spread(drops),
                    "std_over_draws": float(np.mean(draws)),
                }
            )
    beyond = {
        against: [
            {"share": share, **_spread(_beyond(runs, against, [share]))}
            for share in deletion.SHARES
        ]
        for against in (deletion.RANDOM, deletion.OTHER, deletion.LEAST)
    }
    return {
        "format": 1,
        **{key: about[key] for key in ("model", "corpus", "stamps", "workdir")},
        "hidden": "normalised input set to 0, the mean of the training part",
        "shares": list(deletion.SHARES),
        "draws": deletion.DRAWS,
        "ua": _spread([run.plain for run in runs]),
        "runs": [_run(run) for run in runs],
        "rows": rows,
        "drop_beyond_random": beyond[deletion.RANDOM],
        "drop_beyond_another_recordings": beyond[deletion.OTHER],
        "drop_beyond_least_attended": beyond[deletion.LEAST],
        "conclusion": conclusion(runs),
    }


def conclusion(runs: Sequence[RunScores]) -> str:
    """Whether the attention matters, in words.

    The evidence is, per run, the drop of UA when the most attended cells are hidden
    less that of as many others, averaged over the shares; it counts if its mean over
    runs is two standard errors or more from 0.
    """
    against = (deletion.RANDOM, deletion.OTHER, deletion.LEAST)
    random, other, least = (_beyond(runs, x, deletion.SHARES) for x in against)
    shares = ", ".join(f"{share:.0%}" for share in deletion.SHARES)
    said = (
        f"Mean over {shares}: hiding the most attended cells costs {_figures(random)} "
        f"beyond random cells, {_figures(other)} beyond what another recording "
        f"attends to, and {_figures(least)} beyond the least attended. "
    )
    said += _verdict(*(_sign(values) for values in (random, other, least)))
    if len(runs) == 1:
        said += " (One run has no spread; 5 points were taken for a difference.)"
    return said


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
    said = "This test does not show that the attention matters."
    return said if random == 0 else f"{said} Random cells do more harm."


def _sign(values: list[float]) -> int:
    """1 or -1 if the mean is two standard errors from 0; alone, 5 points."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return int(np.sign(mean)) * (abs(mean) >= 0.05)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return int(np.sign(mean)) * (abs(mean) >= 2 * error and abs(mean) > 1e-9)


def _figures(values: list[float]) -> str:
    points = 100 * np.array(values)
    if len(points) == 1:
        return f"{points[0]:+.1f} points of UA"
    return (
        f"{points.mean():+.1f} ± {points.std(ddof=1):.1f} points of UA (more in "
        f"{(points > 0).sum()} of {len(points)} runs)"
    )


def table(runs: Sequence[RunScores], about: dict) -> str:
    """For the terminal: UA of every condition and share, every run's drops, the words."""
    head = f"Deletion test of {about['model']} trained on {about['corpus']}: each of "
    head += (
        f"{len(runs)} runs on its own test part. UA in percent, mean ± std over runs."
    )
    lines = [head, *(f"[ {stamp} ]" for stamp in about["stamps"])]
    wide = max(len(text) for text in _EXPLAINED.values())
    head = "  ".join(f"{share:.0%} hidden".rjust(13) for share in deletion.SHARES)
    lines.append(f"{'hidden'.ljust(wide)}  {head}")
    plain = _cell([run.plain for run in runs])
    lines.append(f"{'nothing'.ljust(wide)}  {plain.rjust(13)}")
    for condition, text in _EXPLAINED.items():
        cells = [
            _cell([_mean_ua(run, condition, share) for run in runs]).rjust(13)
            for share in deletion.SHARES
        ]
        lines.append(f"{text.ljust(wide)}  {'  '.join(cells)}")
    lines.append("Drop beyond random cells, per run (points of UA):")
    for run in runs:
        gains = [_beyond([run], deletion.RANDOM, [s])[0] for s in deletion.SHARES]
        name = f"{run.fold}, seed {run.seed} (n = {run.utterances}, UA {run.plain:.1%})"
        cells = "  ".join(f"{100 * x:+.1f}".rjust(13) for x in gains)
        lines.append(f"{name.ljust(wide)}  {cells}")
    lines.append(conclusion(runs))
    return "\n".join(lines)


def as_csv(runs: Sequence[RunScores], stamps: Sequence[str] = ()) -> bytes:
    """One row per run, condition, share and draw; share 0 is nothing hidden."""
    stamp = "; ".join(stamps)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["fold", "seed", "condition", "share", "draw", "ua", "drop", "stamps"]
    )
    for run in runs:
        writer.writerow(
            [run.fold, run.seed, "nothing", 0, 0, f"{run.plain:.6f}", 0, stamp]
        )
        for case, ua in run.hidden.items():
            row = [run.fold, run.seed, case.condition, case.share, case.draw]
            writer.writerow([*row, f"{ua:.6f}", f"{run.plain - ua:.6f}", stamp])
    return out.getvalue().encode()


def mean_ua(runs: Sequence[RunScores], condition: str, share: float) -> list[float]:
    """UA of every run, the mean over draws."""
    return [_mean_ua(run, condition, share) for run in runs]


def _draws(run: RunScores, condition: str, share: float) -> list[float]:
    return [
        ua
        for case, ua in run.hidden.items()
        if (case.condition, case.share) == (condition, share)
    ]


def _mean_ua(run: RunScores, condition: str, share: float) -> float:
    return float(np.mean(_draws(run, condition, share)))


def _beyond(runs, against: str, shares) -> list[float]:
    """Per run the drop beyond that of other cells, averaged over the shares."""
    return [
        float(
            np.mean(
                [
                    _mean_ua(run, against, share)
                    - _mean_ua(run, deletion.ATTENDED, share)
                    for share in shares
                ]
            )
        )
        for run in runs
    ]


def _spread(values: list[float]) -> dict:
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std}


def _cell(values: list[float]) -> str:
    spread = f" ± {100 * np.std(values, ddof=1):4.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):5.1f}{spread}"


def _run(run: RunScores) -> dict:
    return {
        "fold": run.fold,
        "seed": run.seed,
        "utterances": run.utterances,
        "cells_per_window": run.cells,
        "ua": run.plain,
        "hidden": [
            {
                "condition": condition,
                "share": share,
                "ua": _mean_ua(run, condition, share),
                "draws": _draws(run, condition, share),
            }
            for share in deletion.SHARES
            for condition in deletion.CONDITIONS
        ],
    }
