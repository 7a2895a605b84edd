"""The report of one training as a document, from which all its formats are made."""

import re
from collections.abc import Mapping

import numpy as np

from ser_jax.report import charts, diagnostics, protocol, score_table, timing
from ser_jax.report.document import (
    Document,
    Figure,
    Items,
    Listing,
    Section,
    Table,
    Text,
    counted,
    plain,
)
from ser_jax.report.phrases import BANNERS, LEGEND, percent, stamps
from ser_jax.scoring import metrics
from ser_jax.workdir.contents import WorkdirContents

CONFUSION_PNG = "figures/confusion.png"


def document(found: WorkdirContents, *, curves: bool = True) -> Document:
    """The whole report.

    Args:
      found: The workdir.
      curves: Whether the learning curves were drawn as PNG.
    """
    results = found.results
    synthetic = " (synthetic)" if results["corpus_is_synthetic"] else ""
    return Document(
        title=f"{results['model']} on {results['corpus']}{synthetic}",
        banners=[BANNERS[stamp] for stamp in stamps(results)],
        headline=score_table.headline(results),
        tiles=_tiles(results),
        sections=[
            protocol.section(results),
            _results(found),
            _next_to_paper(results, found.published),
            _confusion(results),
            diagnostics.groups(found),
            diagnostics.curves(found, curves),
            diagnostics.durations(found),
            diagnostics.mistakes(found),
            protocol.utterances(results["utterances"]),
            _time(results),
            _origin(results, found.command),
        ],
    )


def fraction(value) -> float | None:
    """A published score as a number to draw; text gives its first one."""
    if isinstance(value, str):
        first = re.search(r"\d+(\.\d+)?", value)
        value = float(first.group()) if first else None
    if value is None or np.isnan(value):
        return None
    value = value if abs(value) <= 1 else value / 100
    return value if 0 <= value <= 1 else None


def confusion_table(counts, names, caption: str) -> Table:
    """Counts with the share of the true class, and its recall.

    Args:
      counts: [K, K], rows true.
      names: K class names.
      caption: What is counted.
    """
    counts = np.asarray(counts)
    support = counts.sum(axis=1)
    shares = counts / np.maximum(support, 1)[:, None]
    rows = [("true \\ predicted", *names, "n", "recall %")]
    shades = []
    for number, recall in enumerate(metrics.recalls(counts)):
        cells = [
            f"{count} ({share:.0%})" if support[number] else f"{count}"
            for count, share in zip(counts[number], shares[number], strict=True)
        ]
        rows.append((names[number], *cells, support[number], percent(recall)))
        shades.append((None, *shares[number].tolist(), None, None))
    return Table(rows, caption, shades=shades)


def _tiles(results):
    runs = counted(len(results["runs"]), "run")
    tested = int(np.sum(results["pooled"]["confusion"]))
    pooled = [percent(results["pooled"][key]) for key in ("ua", "wa")]
    return [
        ("UA %", score_table.spread(results, "ua"), f"mean of class recalls; {runs}"),
        ("WA %", score_table.spread(results, "wa"), f"accuracy; {runs}"),
        ("pooled UA / WA %", f"{pooled[0]} / {pooled[1]}", "all runs in one matrix"),
        ("decisions", str(tested), f"{len(results['classes'])} classes"),
    ]


def _results(found):
    results, published = found.results, found.published
    rows = [score_table.HEADER, *score_table.rows(results, published)]
    blocks = [
        Figure([_spreads(results, published)], "UA and WA of every run"),
        Table(rows, "Scores of every run, percent", words=1),
        Text(LEGEND),
    ]
    gaps = {
        plain(f"{run['fold']} ({', '.join(run['absent_classes'])})"): None
        for run in results["runs"]
        if run.get("absent_classes")
    }
    if gaps:
        left_out = "no test utterance of a class, which this fold's UA leaves out"
        blocks.append(Text(f"\\* {left_out}: {'; '.join(gaps)}."))
    return Section("results", "Results", blocks)


def _spreads(results, published):
    paper = published if score_table.has_paper(published) else {}
    rows = [
        charts.Spread(
            name=name,
            values=[run[key] for run in results["runs"]],
            mean=results[key]["mean"],
            std=results[key]["std"],
            reference=fraction(paper.get(key)),
        )
        for key, name in (("ua", "UA"), ("wa", "WA"))
    ]
    differs = paper and score_table.differences(results, paper)
    reference = "the paper's, under other conditions" if differs else "the paper's"
    return charts.spreads("UA and WA of every run", rows, "score, %", reference)


def _next_to_paper(results, published: Mapping):
    title = "Next to the paper"
    if not score_table.has_paper(published):
        said = [Text("The config gives no published number for this system.")]
        return Section("paper", title, said)
    ours = [score_table.spread(results, key) for key in ("ua", "wa")]
    theirs = [percent(published.get(key)) for key in ("ua", "wa")]
    rows = [("", "UA %", "WA %"), ("here, mean ± std", *ours), ("paper", *theirs)]
    blocks = [Table(rows, "Here and in the paper, percent")]
    blocks.append(Text(f"Paper: {plain(published['paper'])}"))
    if published.get("protocol"):
        blocks.append(Text(f"Its protocol: {plain(published['protocol'])}"))
    differences = score_table.differences(results, published)
    unknown = [field for field in score_table.COMPARED if not published.get(field)]
    if differences:
        blocks.append(Text("What differs, so that the numbers are not comparable:"))
        blocks.append(Items([plain(line) for line in differences]))
    elif not unknown:
        said = "Corpus and protocol are the paper's as far as it states them."
        blocks.append(Text(said))
    if unknown:
        blocks.append(Text(f"Not stated for the paper: {', '.join(unknown)}."))
    return Section("paper", title, blocks)


def _confusion(results):
    caption = "Decisions of all runs: count and share of the true class (row)"
    counts = results["pooled"]["confusion"]
    return Section(
        "confusion",
        "Confusion",
        [
            confusion_table(counts, results["classes"], caption),
            Figure([], "Confusion matrix", CONFUSION_PNG),
        ],
    )


def _time(results):
    rows = [("part", "what it is", "seconds", "share"), *timing.rows(results)]
    blocks = [Table(rows, "Wall-clock seconds of each part of the job", words=2)]
    blocks.append(Text(" ".join([timing.EXPLAINED, *timing.started(results)])))
    blocks.append(Text(timing.memory(results)))
    return Section("time", "Time and memory", blocks)


def _origin(results, command):
    versions = results["versions"] or {}
    items = [plain(f"{name} {version}") for name, version in versions.items()]
    items.append(plain(f"git commit: {results['git_commit'] or 'unknown'}"))
    blocks = [Items(items)]
    if command:
        blocks.append(Listing(command))
    return Section("versions", "Versions", blocks)
