"""What the probabilities mean, and how sure decisions score: sections of a report."""

from collections.abc import Mapping

from ser_jax.report import calibration_figures, figures
from ser_jax.report.document import TEXTS, Figure, Section, Table, span
from ser_jax.report.score_table import percent

_TEXTS = TEXTS["calibration"]


def sections(results: Mapping) -> list[Section]:
    """Calibration and the surest decisions; nothing of older workdirs."""
    found = results.get("calibration")
    if not found:
        return []
    return [
        Section("calibration", "Calibration", _calibration(found)),
        Section("selective", "Only the surest decisions", _selective(found)),
    ]


def _calibration(found: Mapping) -> list:
    after = {"with temperature": found["after"]} if "after" in found else {}
    measured = {"as they are": found["before"], **after}
    rows = [("posteriors", "ECE %", "Brier", "NLL")]
    for name, x in measured.items():
        rows.append((name, percent(x["ece"]), f"{x['brier']:.3f}", f"{x['nll']:.3f}"))
    text = _TEXTS["none"]
    if after:
        values = span((x["temperature"] for x in found["temperatures"]), ".2f")
        sizes = span(x["n_val"] for x in found["temperatures"])
        text = _TEXTS["fitted"].format(values, sizes)
        if found["after"]["nll"] > found["before"]["nll"]:
            text += _TEXTS["no_help"]
    caption = "Shares of right decisions by confidence"
    return [
        Figure(
            caption,
            lambda: [figures.svg(calibration_figures.reliability(measured), caption)],
        ),
        Table(rows, "Calibration of all tested decisions"),
        f"{_TEXTS['what']} {text}",
    ]


def _selective(found: Mapping) -> list:
    kept = found["selective"]["at"]
    rows = [("coverage %", "decisions", "UA %", "classes without any")]
    rows += [
        (f"{100 * x['coverage']:.0f}", x["n"], percent(x["ua"]), x["absent"])
        for x in kept
    ]
    points = [(x["coverage"], x["ua"]) for x in kept]
    caption = "UA of the surest decisions"
    text = _TEXTS["selective"].format(
        f"{100 * min(x for x, _ in points):.0f}", percent(found["selective"]["area"])
    )
    return [
        Figure(
            caption,
            lambda: [figures.svg(calibration_figures.coverage(points), caption)],
        ),
        Table(rows, caption),
        text,
    ]
