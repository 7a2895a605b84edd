"""Several trainings side by side as a document: scores, protocols, what differs."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ser_jax.report import (
    diagnostics,
    figures,
    pairing,
    protocol,
    score_table,
    selections,
    timing,
)
from ser_jax.report.document import (
    TEXTS,
    Document,
    Figure,
    Section,
    Table,
    code,
    plain,
    plural,
)
from ser_jax.report.score_table import percent
from ser_jax.scoring import metrics, paired
from ser_jax.workdir.config import flatten
from ser_jax.workdir.contents import WorkdirContents
from ser_jax.workdir.files import BASELINE
from ser_jax.workdir.provenance import stamps

# Config keys on where and how fast, which change no score.
SCORELESS = {"data.cache_dir", "data.device_share", "data.num_workers", "data.tfds_dir"}
_SELECTED = {"val": "best validation UA", "last": "last", "test": "best test UA"}


def document(trainings: Sequence[WorkdirContents]) -> Document:
    """The comparison of at least two trainings, whose names differ."""
    count = plural(len(trainings), "training")
    models = sorted({training.results["model"] for training in trainings})
    corpora = sorted({training.results["corpus"] for training in trainings})
    same_runs = _are_equal(trainings, "fold", "seed")
    same_tests = same_runs or _are_equal(trainings, "fold")
    tested = "the same" if same_tests else "not the same"
    can = "can" if same_runs else "cannot"
    return Document(
        title=f"{count} compared",
        banners=_banners(trainings),
        headline=f"{count} on {plain(', '.join(corpora))}; folds and test utterances "
        f"are {tested}.",
        tiles=[
            ("trainings", str(len(trainings)), ", ".join(models)),
            ("corpora", str(len(corpora)), ", ".join(corpora)),
            ("folds and test utterances", tested, f"runs {can} be paired"),
        ],
        sections=[
            Section("results", "Results", _scores(_with_baselines(trainings))),
            *_baselines(trainings),
            Section("protocols", "Protocols", [_protocols(trainings)]),
            Section(
                "differences",
                "What differs",
                _differences(trainings, same_runs, same_tests),
            ),
            *([Section("pairs", "Run by run", _pairs(trainings))] if same_runs else []),
            *(
                [Section("pairs", "Seeds averaged", _significance(trainings))]
                if same_tests and not same_runs
                else []
            ),
            *selections.compared(trainings),
            Section(
                "recalls",
                "Recall of each class",
                [_recalls(_with_baselines(trainings))],
            ),
            Section("origins", "Time and versions", _origins(trainings)),
        ],
    )


def _are_equal(trainings, *within: str) -> bool:
    """Whether all tested the same utterances and labels within folds, or runs."""
    first, *others = [
        {
            (*(getattr(line, x) for x in within), line.utterance, line.label)
            for line in training.predictions
        }
        for training in trainings
    ]
    return all(tests == first for tests in others)


def _banners(trainings):
    banners = []
    for stamp, text in TEXTS["banners"].items():
        names = [code(one.name) for one in trainings if stamp in stamps(one.results)]
        if names:
            banners.append(f"{text} Here: {', '.join(names)}.")
    return banners


def _table(trainings, caption, columns, *, words) -> Table:
    """A row per training; `columns`: functions of its results by their header."""
    rows = [("workdir", *columns)]
    for training in trainings:
        cells = [column(training.results) for column in columns.values()]
        rows.append((code(training.name), *cells))
    return Table(rows, caption, words)


def _scores(trainings):
    columns = {
        "model": lambda r: r["model"],
        "corpus": lambda r: r["corpus"],
        "stamps": lambda r: "; ".join(stamps(r)) or "none",
        "UA %": lambda r: score_table.spread(r, "ua"),
        "WA %": lambda r: score_table.spread(r, "wa"),
        "macro-F1 %": lambda r: score_table.spread(r, "macro_f1"),
        "seeds averaged, UA %": lambda r: percent(r.get("averaged", {}).get("ua")),
        "95 % interval": score_table.interval,
        "pooled UA %": lambda r: percent(r["pooled"]["ua"]),
        "pooled WA %": lambda r: percent(r["pooled"]["wa"]),
        "runs": lambda r: len(r["runs"]),
        "n": lambda r: int(np.sum(r["pooled"]["confusion"])),
    }
    caption = "Scores, percent: mean ± std over folds, averaged seeds, pooled runs"
    return [
        Figure("UA of every run", lambda: [_draw_scores(trainings)]),
        _table(trainings, caption, columns, words=4),
        TEXTS["explanations"]["scores"],
    ]


def _draw_scores(trainings) -> str:
    rows = []
    for training in trainings:
        scores = [run["ua"] for run in training.results["runs"]]
        rows.append((training.name, scores, training.results["ua"], None))
    return figures.svg(figures.scores(rows, "UA, %"), "UA of every run by training")


def _protocols(trainings):
    columns = {
        "split": lambda r: r["protocol"]["split"],
        # Configs name a rule even where nothing is selected by it.
        "validation": lambda r: (
            str(r["protocol"].get("validation")) if r["selection"] == "val" else "none"
        ),
        "epoch": lambda r: _SELECTED.get(r["selection"], r["selection"]),
        "subset": lambda r: r["protocol"].get("subset", "not used"),
        "happy": lambda r: r["protocol"].get("happy", "not used"),
        "folds, seeds": protocol.runs,
        "classes": lambda r: ", ".join(r["classes"]),
    }
    return _table(trainings, "What was run", columns, words=1 + len(columns))


def _differences(trainings, same_runs, same_tests):
    blocks = [_incomparable(trainings, same_runs, same_tests)]
    having = [training for training in trainings if training.config]
    without = [code(training.name) for training in trainings if not training.config]
    configs = [flatten(training.config) for training in having]
    rows = [("key", *(code(training.name) for training in having))]
    # Models and versions have keys of their own, which nothing here could answer.
    for key in sorted(set.intersection(*map(set, configs or [()])) - SCORELESS):
        values = [str(config[key]) for config in configs]
        if len(set(values)) > 1 and not key.startswith("published."):
            rows.append((key, *values))
    if len(rows) > 1:
        caption = "Config keys whose values differ"
        blocks.append(Table(rows, caption, words=len(rows[0])))
    elif len(having) > 1:
        blocks.append("No config key that all have differs.")
    if len({training.results["model"] for training in trainings}) > 1:
        blocks.append("Keys of `model` are named only where every training has them.")
    if without:
        blocks.append(f"Without a config: {', '.join(without)}.")
    return blocks


def _incomparable(trainings, same_runs, same_tests) -> list[str]:
    """Why the scores cannot be compared, a line each, and what is paired."""
    lines = []
    for name in ("corpus", "classes", "split", "subset", "happy", "selection"):
        values = {}  # as a set that keeps the order of the rows
        for training in trainings:
            results = training.results
            value = results.get(name, results["protocol"].get(name, "not used"))
            value = sorted(value) if name == "classes" else [value]
            values[", ".join(map(str, value))] = None
        if len(values) > 1:
            lines.append(plain(f"{name}: {' / '.join(values)}"))
    if lines:
        lines.insert(0, "The scores are not comparable where these differ:")
    others = "other_seeds" if same_tests else "other_tests"
    return [*lines, TEXTS["comparison"]["same_tests" if same_runs else others]]


def _pairs(trainings):
    """Differences run by run, in which what makes a fold hard cancels."""
    base, *others = trainings
    rows = [("workdir", "UA difference, points", "better in", "worse in", "runs")]
    base_scores = _scores_by_run(base)
    for training in others:
        scores = _scores_by_run(training)
        # A run without a score has no pair; workdirs of other tools may hold some.
        shared = [run for run in base_scores if run in scores]
        gaps = [100 * (scores[run] - base_scores[run]) for run in shared]
        std = np.std(gaps, ddof=1) if len(gaps) > 1 else 0.0
        gap = f"{np.mean(gaps):+.2f} ± {std:.2f}" if gaps else "–"
        better, worse = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
        rows.append((code(training.name), gap, better, worse, len(gaps)))
    text = TEXTS["comparison"]["pairs"].format(code(base.name))
    return [
        text,
        Table(rows, f"Beside {code(base.name)}, run by run"),
        *_significance(trainings),
    ]


def _significance(trainings) -> list:
    """Differences of what all seeds decide together, tested speaker by speaker."""
    if reason := next(filter(None, map(pairing.why_not, trainings)), ""):
        return [reason]
    base, *others = trainings
    tested = _tested(
        [(one, base) for one in others],
        f"Beside {code(base.name)}, seeds averaged, by speaker",
    )
    return [*tested, *_ranks(trainings)]


def _ranks(trainings) -> list:
    """Mean ranks of three trainings or more, and which of them differ."""
    if (found := pairing.rank(trainings)) is None:
        return []
    order = np.argsort(found.mean, kind="stable")
    rows = [(trainings[i].name, found.mean[i]) for i in order]
    caption, critical = "Mean rank over speakers", found.critical_difference
    table = [("workdir", "mean rank"), *((code(x), f"{mean:.2f}") for x, mean in rows)]
    text = TEXTS["comparison"]["ranks"].format(
        found.speakers, f"{critical:.2f}", f"{found.p:.4f}"
    )

    def draw() -> list[str]:
        half = critical / 2
        spans = [(x, m, (m - half, m + half), f"{x}: {m:.2f}") for x, m in rows]
        marks = ("mean rank", "± critical difference / 2")
        chart = figures.spans(spans, "mean rank, 1 = best", marks)
        return [figures.svg(chart, f"{caption} ± {half:.2f}")]

    return [Figure(caption, draw), Table(table, caption), text]


def _baselines(trainings) -> list[Section]:
    """Each training beside the linear SVM of its own folds, where it has one."""
    having = [one for one in trainings if one.baseline]
    if not having:
        return []
    blocks = [
        f"{code(one.name)}: {pairing.why_not(one)}"
        for one in having
        if pairing.why_not(one)
    ]
    if pairs := [(one, one.baseline) for one in having if not pairing.why_not(one)]:
        blocks += _tested(pairs, "Beside the linear SVM, seeds averaged, by speaker")
    without = [
        code(one.name)
        for one in trainings
        if not (one.baseline or "baseline" in one.results)
    ]
    if without:
        blocks.append(f"Without a baseline (`run.py baseline`): {', '.join(without)}.")
    return [Section("baseline", "Beside a linear SVM", blocks)]


def _tested(pairs, caption: str) -> list:
    found = [pairing.difference(*pair) for pair in pairs]
    adjusted = paired.holm([x.p for x in found])
    rows = [("workdir", "UA difference, points", "95 % interval", "p", "p, Holm")]
    for (training, _), x, p in zip(pairs, found, adjusted, strict=True):
        low, high = (f"{100 * end:+.2f}" for end in x.interval)
        difference = f"{100 * x.ua:+.2f}"
        values = (difference, f"{low} to {high}", f"{x.p:.4f}", f"{p:.4f}")
        rows.append((code(training.name), *values))
    numbers = sorted({x.speakers for x in found})
    text = TEXTS["comparison"]["significance"].format(" or ".join(map(str, numbers)))
    return [Table(rows, caption), text]


def _with_baselines(trainings) -> list[WorkdirContents]:
    """The trainings and the linear SVMs beside them, those with equal answers once."""
    found, seen = [*trainings], [one.predictions for one in trainings]
    for training in trainings:
        base = training.baseline
        if base and base.predictions not in seen:
            seen.append(base.predictions)
            name = f"{training.name}/{BASELINE}"
            found.append(dataclasses.replace(base, name=name))
    return found


def _scores_by_run(training):
    runs = training.results["runs"]
    return {
        (run["fold"], run["seed"], run.get("tested")): run["ua"]
        for run in runs
        if run["ua"] is not None
    }


def _recalls(trainings):
    classes = trainings[0].results["classes"]
    if any({*training.results["classes"]} != {*classes} for training in trainings):
        return "The classes differ; each training's own report has its recalls."
    rows = [("workdir", *(f"{name} %" for name in classes))]
    for training in trainings:
        recalls = metrics.recalls(training.results["pooled"]["confusion"])
        by_name = dict(zip(training.results["classes"], recalls, strict=True))
        cells = diagnostics.recall_cells([by_name[name] for name in classes])
        rows.append((code(training.name), *cells))
    return Table(rows, "Pooled over runs, percent")


def _origins(trainings):
    columns = {
        "device": lambda r: _version(r, "device"),
        "jax": lambda r: _version(r, "jax"),
        "git commit": lambda r: (r["git_commit"] or "unknown")[:12],
        "seconds": lambda r: timing.rows(r)[-1][2],
        "host peak, MiB": _host_peak,
    }
    table = _table(trainings, "Where the numbers come from", columns, words=4)
    commands = [code(training.command) for training in trainings if training.command]
    return [table, commands]


def _version(results, name) -> str:
    return (results["versions"] or {}).get(name, "unknown")


def _host_peak(results) -> str:
    peak = (results.get("memory") or {}).get("host_peak_bytes")
    return timing.mib(peak) if peak else "–"
