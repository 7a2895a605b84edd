"""Who a system works for: UA by gender and other columns."""

from collections.abc import Mapping

from ser_jax.report import figures
from ser_jax.report.document import TEXTS, Figure, Section, Table, code, plain
from ser_jax.report.score_table import percent

_TEXTS = TEXTS["groups"]


def sections(results: Mapping) -> list[Section]:
    """A table and a chart per column; nothing where no column tells groups apart."""
    found = results.get("groups")
    if not found:
        return []
    blocks = [_TEXTS["what"]]
    for name, column in found.items():
        blocks += _column(name, column)
    return [Section("fairness", "Who it works for", blocks)]


def _column(name: str, column: Mapping) -> list:
    rows = [
        (plain(name), "speakers", "n", "UA %", "95 % interval", "classes without any")
    ]
    scored = []
    for group in column["groups"]:
        value = group["value"] or "unknown"
        numbers = (group["speakers"], group["n"])
        if "ua" not in group:
            rows.append((code(value), *numbers, "–", "too few", "–"))
            continue
        low, high = map(percent, group["ua_interval"])
        over = "" if group["interval_over"] == "speakers" else " (utterances)"
        absent = ", ".join(group["absent_classes"]) or "none"
        interval = f"{low} to {high}{over}"
        rows.append((code(value), *numbers, percent(group["ua"]), interval, absent))
        ends = [100 * end for end in group["ua_interval"]]
        tip = f"{value}: UA {percent(group['ua'])} %, {low} to {high}"
        scored.append((value, 100 * group["ua"], ends, tip))
    caption = f"UA by {name}"
    blocks = [Table(rows, plain(caption))]
    if len(scored) > 1:

        def draw() -> list[str]:
            chart = figures.spans(scored, "UA, %", ("UA", "95 % interval"))
            return [figures.svg(chart, caption)]

        blocks.insert(0, Figure(plain(caption), draw))
    if gap := column.get("gap"):
        difference = f"{100 * gap['ua']:+.2f}"
        text = _TEXTS["gap"].format(code(gap["best"]), code(gap["worst"]), difference)
        if "interval" in gap:
            low, high = (f"{100 * end:+.2f}" for end in gap["interval"])
            text += _TEXTS["gap_interval"].format(low, high)
        else:
            text += _TEXTS["few_speakers"]
        blocks.append(text + _TEXTS["of_several"] * (len(scored) > 2))
    return blocks
