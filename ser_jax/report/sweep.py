"""The points of a sweep: how each validated, and which folds chose it."""

from collections.abc import Mapping

from ser_jax.report.document import TEXTS, Section, Table, code, plain
from ser_jax.report.score_table import percent

_TEXTS = TEXTS["sweep"]
_MANY = 4  # parts whose names a cell still holds


def sections(results: Mapping) -> list[Section]:
    """A table of the points; nothing of a training without a sweep."""
    if not (about := results.get("sweep")):
        return []
    keys = list(about["points"][0]["values"])
    halted = any(row["halted"] for x in about["points"] for row in x["parts"].values())
    header = ["point", *map(code, keys), "chosen by", "of folds", "validation UA %"]
    header.append("± folds")
    rows = [header + ["stopped in"] * halted]
    for number, point in enumerate(about["points"]):
        names = _chose(about, number)
        ua, of = point["val_ua"], point["parts"].values()
        row = [
            str(number),
            *(code(value) for value in point["values"].values()),
            plain(", ".join(names) if len(names) <= _MANY else "several") or "–",
            str(len(names)),
            percent(ua["mean"]),
            percent(ua["std"]),
        ]
        rows.append(row + [str(sum(part["halted"] for part in of))] * halted)
    caption = "Points of the sweep by validation, percent; none of it saw a test part"
    blocks = [
        _TEXTS["what"].format(len(about["points"]), about["runs"]),
        Table(rows, caption, len(keys) + 2),
    ]
    if halted:
        blocks.append(_TEXTS["halted"].format(about["halving"]))
    return [Section("sweep", "Which point of the sweep", blocks)]


def lines(results: Mapping) -> list[str]:
    """What was chosen, for a terminal; nothing without a sweep."""
    if not (about := results.get("sweep")):
        return []
    said = ["point chosen by validation, fold by fold (nested; tests seen once):"]
    for number, point in enumerate(about["points"]):
        if names := _chose(about, number):
            values = ", ".join(f"{k} {x}" for k, x in point["values"].items())
            said.append(f"  {values}: {len(names)} of {len(about['chosen'])} folds")
    if not about["one_network"]:
        said.append(
            "  They are different networks: predict from points/N of this workdir."
        )
    return said


def _chose(about: Mapping, number: int) -> list[str]:
    return [part for part, point in about["chosen"].items() if point == number]
