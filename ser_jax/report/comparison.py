"""Several trainings side by side as a document: scores, protocols, what differs."""

from collections.abc import Sequence

import numpy as np

from ser_jax.report import charts, config_diff, protocol, score_table, timing
from ser_jax.report.document import (
    Document,
    Figure,
    Items,
    Section,
    Table,
    Text,
    code,
    counted,
    plain,
)
from ser_jax.report.phrases import BANNERS, LEGEND, percent, stamps
from ser_jax.scoring import metrics
from ser_jax.workdir.contents import WorkdirContents

SCORES = ("workdir", "model", "corpus", "stamps", "UA %", "WA %", "macro-F1 %")


def document(many: Sequence[WorkdirContents]) -> Document:
    """The comparison.

    Args:
      many: At least two workdirs with names that differ, in the order of the rows.
    """
    paired = config_diff.same_tests(many)
    corpora = sorted({found.results["corpus"] for found in many})
    tested = "the same" if paired else "not the same"
    return Document(
        title=f"{counted(len(many), 'training')} compared",
        banners=_banners(many),
        headline=(
            f"{counted(len(many), 'training')} on {plain(', '.join(corpora))}; folds and test "
            f"utterances are {tested}."
        ),
        tiles=[
            ("trainings", str(len(many)), ", ".join(sorted(_models(many)))),
            ("corpora", str(len(corpora)), ", ".join(corpora)),
            ("folds and test utterances", tested, _pairing(paired)),
        ],
        sections=[
            _scores(many),
            _protocols(many),
            _differences(many, paired),
            *([_pairs(many)] if paired else []),
            _recalls(many),
            _origins(many),
        ],
    )


def rows(many: Sequence[WorkdirContents]) -> list[tuple]:
    """The table of scores, its header first."""
    found = [(*SCORES, "pooled UA %", "pooled WA %", "runs", "n")]
    for one in many:
        results = one.results
        pooled = results["pooled"]
        found.append(
            (
                *(code(one.name), results["model"], results["corpus"]),
                "; ".join(stamps(results)) or "none",
                *(score_table.spread(results, key) for key in score_table.SCORES),
                *(percent(pooled["ua"]), percent(pooled["wa"])),
                *(len(results["runs"]), int(np.sum(pooled["confusion"]))),
            )
        )
    return found


def _banners(many):
    found = []
    for stamp, text in BANNERS.items():
        names = [code(one.name) for one in many if stamp in stamps(one.results)]
        if names:
            found.append(f"{text} Here: {', '.join(names)}.")
    return found


def _models(many):
    return {found.results["model"] for found in many}


def _pairing(paired):
    return "runs can be paired" if paired else "runs cannot be paired"


def _scores(many):
    spreads = [
        charts.Spread(
            name=found.name,
            values=[run["ua"] for run in found.results["runs"]],
            mean=found.results["ua"]["mean"],
            std=found.results["ua"]["std"],
        )
        for found in many
    ]
    chart = charts.spreads("UA of every run by training", spreads, "UA, %")
    blocks = [
        Figure([chart], "UA of every run"),
        Table(rows(many), "Scores, percent: mean ± std over runs, and pooled", words=4),
        Text(LEGEND),
    ]
    return Section("results", "Results", blocks)


def _protocols(many):
    fields = ("split", "validation", "epoch", "subset", "happy", "folds, seeds")
    found = [("workdir", *fields, "classes")]
    for one in many:
        results, rules = one.results, one.results["protocol"]
        found.append(
            (
                code(one.name),
                *_words(results),
                *(str(rules.get(key, "not used")) for key in ("subset", "happy")),
                protocol.runs(results),
                ", ".join(results["classes"]),
            )
        )
    size = len(found[0])
    return Section("protocols", "Protocols", [Table(found, "What was run", words=size)])


def _words(results):
    rules = results["protocol"]
    validates = results["selection"] == "val"
    return (
        str(rules["split"]),
        str(rules.get("validation")) if validates else "none",
        {"val": "best validation UA", "last": "last", "test": "best test UA"}.get(
            results["selection"], str(results["selection"])
        ),
    )


def _differences(many, paired):
    blocks = [Items(config_diff.scores(many, paired))]
    keys, found = config_diff.config_keys(many)
    if found:
        header = ("key", *(code(one.name) for one in many))
        caption = "Config keys whose values differ"
        blocks.append(Table([header, *found], caption, words=len(header)))
    elif keys:
        blocks.append(Text("No config key that all have differs."))
    if len(_models(many)) > 1:
        said = "Keys of `model` are named only where every training has them."
        blocks.append(Text(said))
    if not all(found.config for found in many):
        names = [code(found.name) for found in many if not found.config]
        blocks.append(Text(f"No config.json: {', '.join(names)}."))
    return Section("differences", "What differs", blocks)


def _pairs(many):
    """Differences run by run, in which what makes a fold hard cancels."""
    base = _by_run(many[0])
    found = [("workdir", "UA difference, points", "better in", "worse in", "runs")]
    for one in many[1:]:
        scores = _by_run(one)
        gaps = [
            100 * (scores[run] - base[run])
            for run in base
            if scores[run] is not None and base[run] is not None
        ]
        spread = np.std(gaps, ddof=1) if len(gaps) > 1 else 0.0
        said = f"{np.mean(gaps):+.2f} ± {spread:.2f}" if gaps else "–"
        better, worse = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
        found.append((code(one.name), said, better, worse, len(gaps)))
    said = (
        f"UA of a run less that of {code(many[0].name)} in the same fold and seed: mean "
        "± std. Runs share training data, so that this is no significance test."
    )
    caption = f"Beside {code(many[0].name)}, run by run"
    return Section("pairs", "Run by run", [Text(said), Table(found, caption)])


def _by_run(found):
    return {(run["fold"], run["seed"]): run["ua"] for run in found.results["runs"]}


def _recalls(many):
    classes = many[0].results["classes"]
    title = "Recall of each class"
    if any(found.results["classes"] != classes for found in many):
        said = [Text("The classes differ; each training's own report has its recalls.")]
        return Section("recalls", title, said)
    cells, shades = [("workdir", *(f"{name} %" for name in classes))], []
    for one in many:
        recalls = metrics.recalls(one.results["pooled"]["confusion"])
        cells.append((code(one.name), *map(percent, recalls)))
        shades.append((None, *(None if np.isnan(r) else float(r) for r in recalls)))
    caption = "Pooled over runs, percent"
    return Section("recalls", title, [Table(cells, caption, shades=shades)])


def _origins(many):
    found = [("workdir", "device", "jax", "git commit", "seconds", "host peak, MiB")]
    for one in many:
        versions = one.results["versions"] or {}
        peak = (one.results.get("memory") or {}).get("host_peak_bytes")
        found.append(
            (
                code(one.name),
                *(versions.get(key, "unknown") for key in ("device", "jax")),
                (one.results["git_commit"] or "unknown")[:12],
                timing.rows(one.results)[-1][2],
                f"{peak / 2**20:,.0f}" if peak else "–",
            )
        )
    blocks = [Table(found, "Where the numbers come from", words=4)]
    commands = [code(found.command) for found in many if found.command]
    return Section("origins", "Time and versions", [*blocks, Items(commands)])
