"""The table of a training: a row per run, mean ± std, pooled, and the paper's."""

from collections.abc import Mapping, Sequence

import numpy as np
from tabulate import SEPARATING_LINE, tabulate

from ser_jax.report import protocol
from ser_jax.report.document import plural
from ser_jax.workdir.provenance import REPEATED_SENTENCES, stamps

COMPARED = ("corpus", "subset", "happy", "split", "selection")
SCORES = ("ua", "wa", "macro_f1")
FEW = 20  # speakers of whom an interval says that they are few


def text(
    results: Mapping,
    published: Mapping,
    more_rows: Sequence[Sequence[str]] = (),
    more_lines: Sequence[str] = (),
) -> str:
    """The table for the terminal, with more rows and lines below; scores are percent.

    `published` has `paper, wa, ua, protocol` of the config (fractions, text or None)
    and perhaps the fields of `COMPARED`; it is empty where nothing is published.
    """
    head, *body = rows(results, published)
    body += more_rows
    body.insert(len(results["runs"]), SEPARATING_LINE)
    # tabulate pads what it is told are headers, so that lines would leave 80 columns.
    table = tabulate(
        [head, SEPARATING_LINE, *body],
        tablefmt="simple",
        colalign=("left", *["right"] * (len(head) - 1)),
        disable_numparse=True,  # cells are formatted already
    )
    _, *table, _ = table.splitlines()  # without rules around it
    rules = results["protocol"]
    title = [f"{results['model']} on {results['corpus']}"]
    title += [f"{key} {rules[key]}" for key in COMPARED[1:4] if key in rules]
    lines = [", ".join([*title, f"selection {results['selection']}"])]
    lines += [f"[{stamp}]" for stamp in stamps(results)]
    if REPEATED_SENTENCES in stamps(results):
        lines.append(f"warning: {protocol.repeated_sentences(results)}")
    lines += ["", *table, ""]
    if sure := [*sureness(results), *more_lines]:
        lines += [*sure, ""]
    differing = differences(results, published)
    if differing and not is_beside(results, published):
        lines.append(f"The paper's scores are of {published['corpus']}.")
    elif differing:
        lines.append("differs from the paper:")
        lines += [f"  {line}" for line in differing]
    return "\n".join(lines).rstrip()


def rows(results: Mapping, published: Mapping) -> list[tuple[str, ...]]:
    """The header and the rows; a star marks a fold that lacks a class."""
    best = _best(results["runs"])
    scored = ("UA %", "WA %", "macro-F1 %", "n")
    place = best.replace("_", " ")
    if results["selection"] == "last":
        place = place.replace("best", "last")
    table = [("fold", "seed", *scored, place)]
    for run in results["runs"]:
        # UA leaves absent classes out, so that such a fold is easier than it looks.
        name = " → ".join(filter(None, [str(run["fold"]), run.get("tested")]))
        name += "*" if run.get("absent_classes") else ""
        scores = [percent(run[key]) for key in SCORES]
        place = "–" if run[best] is None else str(run[best])
        table.append((name, str(run["seed"]), *scores, str(run["n_test"]), place))
    means = [spread(results, key) for key in SCORES]
    table.append(("mean ± std", "", *means, "", ""))
    pooled = results["pooled"]
    scores = [percent(pooled[key]) for key in SCORES]
    tested = str(int(np.sum(pooled["confusion"])))
    table.append(("pooled", "", *scores, tested, ""))
    averaged = results.get("averaged")  # not in older workdirs
    if averaged and averaged["seeds"] > 1 and _every_seed_tested_all(results):
        scores = [percent(averaged[key]) for key in SCORES]
        tested = str(int(np.sum(averaged["confusion"])))
        table.append(("seeds averaged", "", *scores, tested, ""))
    if is_beside(results, published):
        scores = [percent(published.get(key)) for key in ("ua", "wa")]
        table.append(("paper", "", *scores, "–", "", ""))
    return table


def _best(runs) -> str:
    """The key of what names a run's best state: its epoch, or update inside of one."""
    return (
        "best_update" if any((x["best_epoch"] or 0) % 1 for x in runs) else "best_epoch"
    )


def sureness(results: Mapping) -> list[str]:
    """How sure the scores are, in sentences; none for older workdirs."""
    if "averaged" not in results:
        return []
    averaged, ua = results["averaged"], results["ua"]
    what = "UA of the averaged seeds"
    if averaged["seeds"] == 1:
        what = "pooled UA"
    elif not _every_seed_tested_all(results):
        what = "UA, seeds averaged where several tested an utterance"
    over = averaged["interval_over"]
    between = f"95 % interval {interval(results)} (over {over})"
    lines = [f"{what}: {percent(averaged['ua'])} %, {between}"]
    if over != "speakers":
        lines.append("  too narrow: fewer than five speakers are tested, or named")
    elif averaged.get("speakers", FEW) < FEW:  # not in older workdirs
        wide = percent(np.subtract(*averaged["ua_interval"][::-1]))
        lines.append(
            f"  {wide} points wide: {averaged['speakers']} speakers are few, and differ"
        )
    if averaged["seeds"] > 1:
        spread_of = [f"{percent(ua['std_seeds'])} over seeds"]
        if _spread_over(results) == "folds":
            spread_of.insert(0, f"{percent(ua['std_folds'])} over folds")
        lines.append(f"spread of UA: {', '.join(spread_of)}")
    return lines


def interval(results: Mapping) -> str:
    """`66.23 to 78.37`, of the averaged seeds' UA; a dash for older workdirs."""
    if "averaged" not in results:
        return "–"
    return " to ".join(map(percent, results["averaged"]["ua_interval"]))


def _every_seed_tested_all(results: Mapping) -> bool:
    """Not so with random splits, where each seed tests other utterances."""
    averaged, pooled = results["averaged"], results["pooled"]
    tested = np.sum(averaged["confusion"])
    return bool(tested * averaged["seeds"] == np.sum(pooled["confusion"]))


def is_beside(results: Mapping, published: Mapping) -> bool:
    """Whether the paper's scores may stand in a row: they are of the same corpus."""
    same = published.get("corpus") in (None, "", results["corpus"])
    return bool(published.get("paper")) and same


def percent(value) -> str:
    """A fraction as percent with two decimals; None and NaN are a dash.

    Text passes unchanged; a number above 1 cannot be a fraction and is percent already.
    """
    if value is None or isinstance(value, str):
        return value or "–"
    if np.isnan(value):
        return "–"
    return f"{100 * value if abs(value) <= 1 else value:.2f}"


def spread(results: Mapping, key: str) -> str:
    """`70.42 ± 8.12` of a score, percent: mean, and deviation over folds.

    Seeds are averaged within a fold first; where there is one fold it is over seeds.
    """
    score = results[key]
    return f"{percent(score['mean'])} ± {percent(deviation(score))}"


def deviation(score: Mapping) -> float | None:
    """Over folds; over runs where there is one fold, and in older workdirs."""
    return score.get("std_folds") or score["std"]


def _spread_over(results: Mapping) -> str:
    several = len({(x["fold"], x.get("tested")) for x in results["runs"]}) > 1
    return "folds" if several else "seeds"


def count(results: Mapping) -> str:
    """`5 runs`; `6 tests` where runs are tested on several corpora one by one."""
    runs = results["runs"]
    return plural(len(runs), "test" if any("tested" in x for x in runs) else "run")


def headline(results: Mapping) -> str:
    """The scores in a sentence."""
    pooled = results["pooled"]
    return (
        f"UA **{spread(results, 'ua')} %**, WA {spread(results, 'wa')} % (mean ± std "
        f"over {_spread_over(results)}, {count(results)}); pooled UA "
        f"{percent(pooled['ua'])} %, WA {percent(pooled['wa'])} %."
    )


def differences(results: Mapping, published: Mapping) -> list[str]:
    """One line per protocol field in which the paper differs; none without a paper."""
    if not published.get("paper"):
        return []
    here = {**results["protocol"], **{k: results[k] for k in ("corpus", "selection")}}
    return [
        f"{field}: paper: {published[field]}, here: {here.get(field, 'not used')}"
        for field in COMPARED
        if published.get(field) and published[field] != here.get(field)
    ]
