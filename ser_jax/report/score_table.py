"""The table of a training: a row per run, mean ± std, pooled, and the paper's."""

from collections.abc import Mapping

import numpy as np

from ser_jax.report import text_overlap
from ser_jax.report.document import counted
from ser_jax.report.phrases import percent, stamps

COMPARED = ("corpus", "subset", "happy", "split", "selection")
HEADER = ("fold", "seed", "UA %", "WA %", "macro-F1 %", "n", "best epoch")
SCORES = ("ua", "wa", "macro_f1")


def text(results: Mapping, published: Mapping | None = None) -> str:
    """The table for the terminal.

    Args:
      results: Content of results.json.
      published: `paper, wa, ua, protocol` of the config (fractions, text or None) and
        optionally the fields of `COMPARED`; None where nothing is published.

    Returns:
      Text without a final newline; scores are percent.
    """
    cells = [HEADER, *rows(results, published)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADER))]
    lines = []
    for row in cells:
        padded = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        padded[0] = row[0].ljust(widths[0])
        lines.append("  ".join(padded).rstrip())
    rule = "-" * max(map(len, lines))
    runs = len(results["runs"])
    lines[1 + runs : 1 + runs] = [rule]
    lines.insert(1, rule)
    title = f"{results['model']} on {results['corpus']}, {_protocol_line(results)}"
    stamped = [f"[{stamp}]" for stamp in stamps(results)]
    if text_overlap.repeats(results):
        stamped.append(f"warning: {text_overlap.repeated_line(results)}")
    differs = differences(results, published) if has_paper(published) else []
    if differs:
        differs = ["differs from the paper:", *(f"  {line}" for line in differs)]
    return "\n".join([title, *stamped, "", *lines, "", *differs]).rstrip()


def rows(results: Mapping, published: Mapping | None) -> list[tuple[str, ...]]:
    """The rows below `HEADER`; a star marks a fold that lacks a class."""
    found = []
    for run in results["runs"]:
        scores = [percent(run[key]) for key in SCORES]
        epoch = "–" if run["best_epoch"] is None else str(run["best_epoch"])
        name = str(run["fold"]) + ("*" if run.get("absent_classes") else "")
        found.append((name, str(run["seed"]), *scores, str(run["n_test"]), epoch))
    means = [spread(results, key) for key in SCORES]
    found.append(("mean ± std", "", *means, "", ""))
    pooled = results["pooled"]
    tested = str(int(np.sum(pooled["confusion"])))
    found.append(("pooled", "", *(percent(pooled[k]) for k in SCORES), tested, ""))
    if has_paper(published):
        scores = [percent(published.get(key)) for key in ("ua", "wa")]
        found.append(("paper", "", *scores, "–", "", ""))
    return found


def spread(results: Mapping, key: str) -> str:
    """`70.42 ± 8.12` of a score over runs, percent."""
    return f"{percent(results[key]['mean'])} ± {percent(results[key]['std'])}"


def headline(results: Mapping) -> str:
    """The scores in a sentence."""
    pooled = results["pooled"]
    return (
        f"UA **{spread(results, 'ua')} %**, WA {spread(results, 'wa')} % (mean ± std "
        f"of {counted(len(results['runs']), 'run')}); pooled UA "
        f"{percent(pooled['ua'])} %, WA {percent(pooled['wa'])} %."
    )


def has_paper(published: Mapping | None) -> bool:
    """Whether there is a published number to stand beside."""
    return bool(published and published.get("paper"))


def differences(results: Mapping, published: Mapping) -> list[str]:
    """One line per protocol field that the paper has otherwise."""
    here = {**results["protocol"], **{k: results[k] for k in ("corpus", "selection")}}
    return [
        f"{field}: paper: {published[field]}, here: {here.get(field, 'not used')}"
        for field in COMPARED
        if published.get(field) and published[field] != here.get(field)
    ]


def _protocol_line(results):
    protocol = results["protocol"]
    said = [f"{key} {protocol[key]}" for key in COMPARED[1:4] if key in protocol]
    return ", ".join([*said, f"selection {results['selection']}"])
