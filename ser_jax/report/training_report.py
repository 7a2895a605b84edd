"""The report of one training as a document, from which all its formats are made."""

import re
from collections.abc import Mapping

import numpy as np

from ser_jax.report import (
    baseline,
    calibration,
    corpus_matrix,
    cross_corpus,
    diagnostics,
    ensemble,
    figures,
    groups,
    protocol,
    score_table,
    selections,
    sweep,
    timing,
)
from ser_jax.report.document import (
    TEXTS,
    Cell,
    Document,
    Figure,
    Listing,
    Section,
    Table,
    plain,
)
from ser_jax.report.score_table import percent
from ser_jax.scoring import metrics
from ser_jax.workdir.contents import WorkdirContents
from ser_jax.workdir.provenance import stamps

CONFUSION_PNG = "figures/confusion.png"


def document(training: WorkdirContents) -> Document:
    """The whole report of a workdir."""
    results, published = training.results, training.published
    counts, mistakes = results["utterances"], diagnostics.mistakes(training)
    synthetic = " (synthetic)" if results["corpus_is_synthetic"] else ""
    return Document(
        title=f"{results['model']} on {results['corpus']}{synthetic}",
        banners=[
            *(TEXTS["banners"][stamp] for stamp in stamps(results)),
            *map(plain, results.get("corpus_warnings", ())),
            *baseline.banners(training),
        ],
        headline=score_table.headline(results),
        tiles=_tiles(results),
        sections=[
            Section("run", "What was run", [protocol.summary(results)]),
            Section("results", "Results", _results(training)),
            *baseline.sections(training),
            *sweep.sections(results),
            *selections.sections(results),
            *ensemble.sections(results),
            *_of_training(
                Section("paper", "Next to the paper", _paper(results, published)),
                results,
            ),
            *cross_corpus.sections(training.cross_corpus),
            Section("confusion", "Confusion", _confusion(results)),
            *_corpus_matrix(results),
            Section("groups", "Speakers and sessions", diagnostics.groups(training)),
            *groups.sections(results),
            *calibration.sections(results),
            *_of_training(
                Section("curves", "Learning curves", diagnostics.curves(training)),
                results,
            ),
            Section("duration", "Duration", diagnostics.durations(training)),
            Section("mistakes", "Most confident mistakes", mistakes),
            Section("utterances", "Utterances", _utterances(counts)),
            Section("time", "Time and memory", _time(results)),
            Section("versions", "Versions", _origin(results, training.command)),
        ],
    )


def _of_training(section: Section, results: Mapping) -> list[Section]:
    """The section, unless nothing was trained."""
    return [] if results.get("ensemble") else [section]


def _corpus_matrix(results) -> list[Section]:
    if not results.get("corpora"):
        return []
    blocks = corpus_matrix.blocks(results)
    return [Section("corpora", "From corpus to corpus", blocks)]


def _tiles(results):
    runs = score_table.count(results)
    tested = int(np.sum(results["pooled"]["confusion"]))
    pooled = [percent(results["pooled"][key]) for key in ("ua", "wa")]
    return [
        ("UA %", score_table.spread(results, "ua"), f"mean of class recalls; {runs}"),
        ("WA %", score_table.spread(results, "wa"), f"accuracy; {runs}"),
        ("pooled UA / WA %", f"{pooled[0]} / {pooled[1]}", "all runs in one matrix"),
        ("decisions", str(tested), f"{len(results['classes'])} classes"),
    ]


def _results(training):
    results, published = training.results, training.published
    rows = [*score_table.rows(results, published), *baseline.rows(training)]
    blocks = [
        Figure("UA and WA of every run", lambda: [_draw_scores(results, published)]),
        Table(rows, "Scores of every run, percent"),
        *([score_table.sureness(results)] if "averaged" in results else []),
        TEXTS["explanations"]["scores"],
    ]
    gaps = {  # once per fold, however many seeds
        plain(f"{run['fold']} ({', '.join(run['absent_classes'])})"): None
        for run in results["runs"]
        if run.get("absent_classes")
    }
    if gaps:
        text = TEXTS["explanations"]["gaps"].format("; ".join(gaps))
        of_all = [run.get("ua_of_all") for run in results["runs"]]
        if None not in of_all:  # as in older workdirs
            as_0 = percent(np.mean(of_all))
            text += TEXTS["explanations"]["gaps_as_0"].format(as_0)
        blocks.append(text)
    return blocks


def _draw_scores(results, published) -> str:
    paper = published if score_table.is_beside(results, published) else {}
    rows = []
    for key in ("ua", "wa"):
        scores = [run[key] for run in results["runs"]]
        rows.append((key.upper(), scores, results[key], _share(paper.get(key))))
    # Side by side in one chart, both numbers look comparable even if they are not.
    differs = score_table.differences(results, published)
    reference = "paper, other conditions" if differs else "paper"
    figure = figures.scores(rows, "score, %", reference)
    return figures.svg(figure, "UA and WA of every run")


def _share(score) -> float | None:
    """The first number of a published score as a fraction; None if there is none."""
    if isinstance(score, str):
        match = re.search(r"\d+(\.\d+)?", score)
        score = float(match.group()) if match else None
    if score is None or np.isnan(score):
        return None
    # Papers give percent or fractions; a config holds what the paper prints.
    share = score if abs(score) <= 1 else score / 100
    return share if 0 <= share <= 1 else None


def _paper(results, published: Mapping):
    if not published.get("paper"):
        return ["The config gives no published number for this system."]
    ours = [score_table.spread(results, key) for key in ("ua", "wa")]
    theirs = [percent(published.get(key)) for key in ("ua", "wa")]
    paper = f"Paper: {plain(published['paper'])}"
    if score_table.is_beside(results, published):
        rows = [("", "UA %", "WA %"), ("here, mean ± std", *ours), ("paper", *theirs)]
        blocks = [Table(rows, "Here and in the paper, percent"), paper]
    else:  # in no table with scores of another corpus
        ua, wa = theirs
        blocks = [f"{paper}: UA {ua} %, WA {wa} % on {plain(published['corpus'])}."]
    if published.get("protocol"):
        blocks.append(f"Its protocol: {plain(published['protocol'])}")
    differences = score_table.differences(results, published)
    unknown = [field for field in score_table.COMPARED if not published.get(field)]
    if differences:
        blocks.append("What differs, so that the numbers are not comparable:")
        blocks.append([plain(line) for line in differences])
    elif not unknown:
        blocks.append("Corpus and protocol are the paper's as far as it states them.")
    if unknown:
        blocks.append(f"Not stated for the paper: {', '.join(unknown)}.")
    return blocks


def _confusion(results):
    counts, names = np.asarray(results["pooled"]["confusion"]), results["classes"]
    support = counts.sum(axis=1)
    shares = counts / np.maximum(support, 1)[:, None]
    rows = [("true \\ predicted", *names, "n", "recall %")]
    for number, recall in enumerate(metrics.recalls(counts)):
        cells = [
            Cell(f"{count} ({share:.0%})" if support[number] else f"{count}", share)
            for count, share in zip(counts[number], shares[number], strict=True)
        ]
        rows.append((names[number], *cells, support[number], percent(recall)))
    caption = "Decisions of all runs: count and share of the true class (row)"
    # In HTML the table is the picture: its cells are coloured.
    return [Table(rows, caption), Figure("Confusion matrix", png=CONFUSION_PNG)]


def _utterances(counts) -> list:
    listed = protocol.utterances(counts)
    # Of one corpus the excluded utterances say it.
    named = [row for row in counts.get("labels", ()) if row["corpus"]]
    return [listed, corpus_matrix.labels(named)] if named else [listed]


def _time(results):
    rows = [("part", "what it is", "seconds", "share"), *timing.rows(results)]
    table = Table(rows, "Wall-clock seconds of each part of the job", words=2)
    if results.get("ensemble"):
        return [table, TEXTS["ensemble"]["time"]]
    return [
        table,
        " ".join([TEXTS["explanations"]["time"], *timing.start_up(results)]),
        timing.memory(results),
    ]


def _origin(results, command):
    versions = results["versions"] or {}
    items = [plain(f"{name} {version}") for name, version in versions.items()]
    items.append(plain(f"git commit: {results['git_commit'] or 'unknown'}"))
    return [items, Listing(command)] if command else [items]
