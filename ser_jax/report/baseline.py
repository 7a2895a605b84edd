"""A training beside a linear SVM that had the same folds: row, banner, section."""

import textwrap

import numpy as np

from ser_jax.report import pairing
from ser_jax.report.document import TEXTS, Section, Table, code, plain, span
from ser_jax.report.score_table import SCORES, percent
from ser_jax.scoring import summary
from ser_jax.workdir.contents import WorkdirContents
from ser_jax.workdir.files import BASELINE

_TEXTS = TEXTS["baseline"]


def sections(training: WorkdirContents) -> list[Section]:
    """The section, if there is a baseline."""
    if not training.baseline:
        return []
    rows = [("", "UA %", "95 % interval", "WA %", "macro-F1 %", "n")]
    for one in (training, training.baseline):
        scores = _averaged(one)
        ua, wa, f1 = (percent(scores[key]) for key in SCORES)
        interval = " to ".join(map(percent, scores["ua_interval"]))
        name = plain(one.results["model"])
        rows.append((name, ua, interval, wa, f1, int(np.sum(scores["confusion"]))))
    blocks = [
        Table(rows, "Seeds averaged, percent"),
        verdict(training),
        _TEXTS["what"],
        _facts(training.baseline),
    ]
    return [Section("baseline", "Beside a linear SVM", blocks)]


def banners(training: WorkdirContents) -> list[str]:
    """A warning, if the system does no better."""
    if not training.baseline:
        return []
    ours, theirs = (_averaged(x)["ua"] for x in (training, training.baseline))
    if ours > theirs:
        return []
    return [_TEXTS["not_better"].format(percent(ours), percent(theirs))]


def verdict(training: WorkdirContents) -> str:
    """The difference in a sentence, and whether it is more than chance."""
    base = training.baseline
    ours, theirs = (_averaged(x)["ua"] for x in (training, base))
    gap = f"UA less that of the linear SVM: {100 * (ours - theirs):+.2f} points"
    found = pairing.difference(training, base)
    if found is None:
        return f"{gap}. {pairing.why_not(training)}"
    low, high = (f"{100 * end:+.2f}" for end in found.interval)
    return (
        f"{gap}, 95 % interval {low} to {high}, p {found.p:.4f} (sign flips of "
        f"{found.speakers} speakers)."
    )


def lines(training: WorkdirContents) -> list[str]:
    """`verdict` for a terminal; none without a baseline."""
    if not training.baseline:
        return []
    return textwrap.wrap(verdict(training), 80, subsequent_indent="  ")


def rows(training: WorkdirContents) -> list[tuple[str, ...]]:
    """The row below those of `score_table.rows`."""
    if not training.baseline:
        return []
    scores = _averaged(training.baseline)
    tested = str(int(np.sum(scores["confusion"])))
    return [("linear SVM", "", *(percent(scores[key]) for key in SCORES), tested, "")]


def _facts(base: WorkdirContents) -> list[str]:
    about, runs = base.results["baseline"], base.results["runs"]
    costs = [run["cost"] for run in runs]
    sizes = [run["n_train"] for run in runs]
    return [
        f"Features: {plain(about['described'])}, {about['dimensions']} a recording",
        f"C: {span(costs, 'g')}, chosen inside each training part by parts of other "
        + " or ".join(about["unknown"]),
        f"Trained on {span(sizes)} utterances a fold",
        f"Seconds: {base.results['seconds']['total']:.0f}; files: {code(BASELINE)}",
    ]


def _averaged(training: WorkdirContents) -> dict:
    """`averaged` of results.json, which older workdirs do not have."""
    stored = training.results.get("averaged")
    return stored or summary.average_seeds(training.predictions, training.classes)
