"""What the choice of the epoch is worth: the same runs by validation, by test, last."""

from collections.abc import Mapping, Sequence

from ser_jax.report.document import TEXTS, Section, Table, code
from ser_jax.report.score_table import percent, spread
from ser_jax.workdir.contents import WorkdirContents

_TEXTS = TEXTS["compared_selections"]
_NAMES = {
    "val": "validation",
    "test": "test part (not honest)",
    "last": "none: the last",
}


def sections(results: Mapping) -> list[Section]:
    """A table of the ways to choose and what the test part is worth; often nothing."""
    found = results.get("selections")
    if not found:
        return []
    rows = [("epoch chosen by", "UA %", "WA %", "pooled UA %", "pooled WA %")]
    for name, scores in found.items():
        pooled = [percent(scores["pooled"][key]) for key in ("ua", "wa")]
        label = _NAMES[name] + (" (here)" if name == results["selection"] else "")
        rows.append((label, spread(scores, "ua"), spread(scores, "wa"), *pooled))
    used = "used" if results["selection"] == "test" else "unused"
    blocks = [
        f"{sentence(results)} {_TEXTS[used]}",
        Table(rows, "The same runs by the epoch that is scored, percent"),
        _TEXTS["about"],
    ]
    return [Section("selections", "If the test part chose the epoch", blocks)]


def sentence(results: Mapping) -> str:
    """What choosing on the test part adds to UA; empty where nothing was compared."""
    if not results.get("selections"):
        return ""
    honest, gain, pooled = _gain(results)
    return _TEXTS["gain"].format(_TEXTS[f"beside_{honest}"], gain, pooled)


def compared(trainings: Sequence[WorkdirContents]) -> list[Section]:
    """A row for each training that compared them; no section if none did."""
    rows = [("workdir", "by validation", "by test", "last", "by test: points")]
    for training in trainings:
        if found := training.results.get("selections"):
            scores = [spread(found[x], "ua") if x in found else "–" for x in _NAMES]
            gain = f"{_gain(training.results)[1]:+.2f}"
            rows.append((code(training.name), *scores, gain))
    if len(rows) == 1:
        return []
    table = Table(rows, "UA by the epoch that is scored, percent")
    return [
        Section(
            "selections", "If the test part chose the epoch", [table, _TEXTS["about"]]
        )
    ]


def _gain(results: Mapping) -> tuple[str, float, float]:
    """Beside which honest choice, and points of mean and of pooled UA."""
    found = results["selections"]
    honest = next(
        x for x in (results["selection"], "val", "last") if x in found and x != "test"
    )
    test, other = found["test"], found[honest]
    mean = 100 * (test["ua"]["mean"] - other["ua"]["mean"])
    return honest, mean, 100 * (test["pooled"]["ua"] - other["pooled"]["ua"])
