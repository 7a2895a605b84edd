"""The printed table and report.md, made from the files of a workdir alone (no JAX)."""

from collections.abc import Callable, Mapping

import numpy as np
from etils import epath

from ser_jax.errors import InputError
from ser_jax.evaluation import figures, metrics, texts, times
from ser_jax.evaluation import results as result_files
from ser_jax.evaluation.wording import (
    BANNERS,
    LEGEND,
    SELECTIONS,
    SPLITS,
    SUBSETS,
    VALIDATIONS,
)

COMPARED = ("corpus", "subset", "happy", "split", "selection")
LISTED = 3  # exclusions written out per reason; results.json has them all
HEADER = ("fold", "seed", "UA %", "WA %", "macro-F1 %", "n", "best epoch")
FIGURES = {
    "confusion": "figures/confusion.png",
    "curves": "figures/learning_curves.png",
}


def percent(value) -> str:
    """A fraction as percent with two decimals.

    Text passes unchanged, None and NaN are a dash, and a number above 1, which cannot
    be a fraction, counts as percent already.
    """
    if value is None or isinstance(value, str):
        return value or "–"
    if np.isnan(value):
        return "–"
    return f"{100 * value if abs(value) <= 1 else value:.2f}"


def table(results: Mapping, published: Mapping | None = None) -> str:
    """The table for the terminal: a row per run, mean ± std, pooled, the paper.

    Args:
      results: Content of results.json.
      published: `paper, wa, ua, protocol` of the config (fractions, text or None) and
        optionally the fields of `COMPARED`; None where nothing is published.

    Returns:
      Text without a final newline; scores are percent.
    """
    rows = [HEADER, *_rows(results, published)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells).rstrip())
    rule = "-" * max(map(len, lines))
    runs = len(results["runs"])
    lines[1 + runs : 1 + runs] = [rule]
    lines.insert(1, rule)
    title = f"{results['model']} on {results['corpus']}, {_protocol_line(results)}"
    stamped = [f"[{stamp}]" for stamp in figures.stamps(results)]
    if texts.repeats(results):
        stamped.append(f"warning: {texts.repeated_line(results)}")
    differs = _differences(results, published) if _has_paper(published) else []
    if differs:
        differs = ["differs from the paper:", *(f"  {line}" for line in differs)]
    return "\n".join([title, *stamped, "", *lines, "", *differs]).rstrip()


def markdown(
    results: Mapping,
    published: Mapping | None = None,
    *,
    command: str = "",
    curves: bool = True,
) -> str:
    """report.md.

    Args:
      results: Content of results.json.
      published: See `table`.
      command: The command that made the workdir.
      curves: Whether the learning curves were drawn.

    Returns:
      Markdown; pictures are linked relative to the workdir.
    """
    title = f"# {results['model']} on {results['corpus']}"
    banners = [f"> {BANNERS[stamp]}" for stamp in figures.stamps(results)]
    sections = [
        [title + (" (synthetic)" if results["corpus_is_synthetic"] else "")],
        *([banner] for banner in banners),
        [_headline(results)],
        ["## What was run", "", *_what_was_run(results)],
        ["## Results", "", *_results(results, published)],
        ["## Next to the paper", "", *_next_to_paper(results, published)],
        ["## Confusion", "", *_confusion(results)],
        ["## Learning curves", "", *_curves(curves)],
        ["## Utterances", "", *_utterances(results["utterances"])],
        ["## Time", "", *_time(results)],
        ["## Versions", "", *_origin(results, command)],
    ]
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def write_report(workdir, seconds: Callable[[], dict] | None = None) -> str:
    """Writes report.md and the figures from the files of a finished workdir.

    Reads results.json and predictions.csv (required), metrics.jsonl and config.json
    (`{"config": {...}, "published": {...}, "command": "..."}`; used where they exist).

    Args:
      workdir: Local or `gs://` folder.
      seconds: Gives the job's seconds once the figures are drawn, for results.json;
        None leaves those that are there.

    Returns:
      The terminal table, and below it where the time went.

    Raises:
      InputError: A required file is missing or damaged, or predictions.csv does not
        score as results.json says.
    """
    workdir = epath.Path(workdir)
    results = result_files.read_json(workdir / "results.json")
    _check_scores(workdir, results)
    origin = {}
    if (workdir / "config.json").exists():
        origin = result_files.read_json(workdir / "config.json")
    published = origin.get("published") or None
    (workdir / "figures").mkdir(parents=True, exist_ok=True)
    figures.confusion(results, workdir / FIGURES["confusion"])
    lines = result_files.read_metrics(workdir / "metrics.jsonl")
    curves = figures.learning_curves(results, lines, workdir / FIGURES["curves"])
    if seconds:
        results["seconds"] = seconds()
        result_files.write_results(workdir / "results.json", results)
    command = origin.get("command") or ""
    text = markdown(results, published, command=command, curves=curves)
    result_files.write_atomically(workdir / "report.md", text.encode())
    return f"{table(results, published)}\n\n{times.summary(results)}"


def _check_scores(workdir, results):
    """The report's numbers must be those of the predictions it lies beside."""
    path = workdir / "predictions.csv"
    predictions, classes = result_files.read_predictions(path)
    try:
        again = result_files.rescore(results, predictions, classes)
        same = again["pooled"]["confusion"] == results["pooled"]["confusion"]
        same = same and list(classes) == results["classes"]
    except (KeyError, ValueError) as error:
        raise InputError(
            f"expected predictions.csv and results.json of one training in {workdir}, "
            f"got files that do not match ({error}); repeat `run.py evaluate`"
        ) from error
    if not same:
        raise InputError(
            f"expected {path} to score as results.json says, got another confusion "
            "matrix; repeat `run.py evaluate`"
        )


def _rows(results, published):
    rows = []
    for run in results["runs"]:
        scores = [percent(run[key]) for key in ("ua", "wa", "macro_f1")]
        epoch = "–" if run["best_epoch"] is None else str(run["best_epoch"])
        name = str(run["fold"]) + ("*" if run.get("absent_classes") else "")
        rows.append((name, str(run["seed"]), *scores, str(run["n_test"]), epoch))
    keys = ("ua", "wa", "macro_f1")
    spread = [
        f"{percent(results[key]['mean'])} ± {percent(results[key]['std'])}"
        for key in keys
    ]
    rows.append(("mean ± std", "", *spread, "", ""))
    pooled = results["pooled"]
    tested = str(int(np.sum(pooled["confusion"])))
    rows.append(("pooled", "", *(percent(pooled[key]) for key in keys), tested, ""))
    if _has_paper(published):
        scores = [percent(published.get(key)) for key in ("ua", "wa")]
        rows.append(("paper", "", *scores, "–", "", ""))
    return rows


def _grid(rows, align):
    """A Markdown table; the first row is the header."""
    clean = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in clean]
    return [lines[0], "|" + "|".join(align) + "|", *lines[1:]]


def _protocol_line(results):
    protocol = results["protocol"]
    said = [f"{key} {protocol[key]}" for key in COMPARED[1:4] if key in protocol]
    return ", ".join([*said, f"selection {results['selection']}"])


def _headline(results):
    runs, ua, wa = len(results["runs"]), results["ua"], results["wa"]
    return (
        f"UA **{percent(ua['mean'])} ± {percent(ua['std'])} %**, WA "
        f"{percent(wa['mean'])} ± {percent(wa['std'])} % (mean ± std of {runs} "
        f"run{'s' if runs > 1 else ''}); pooled UA "
        f"{percent(results['pooled']['ua'])} %, WA "
        f"{percent(results['pooled']['wa'])} %."
    )


def _what_was_run(results):
    protocol = results["protocol"]
    split = str(protocol["split"])
    rule = f"`{split}`: {SPLITS.get(split, 'see the config')}"
    if split == "group":
        number = protocol.get("groups") or "one per value"
        rule += f" (column `{protocol.get('group_by')}`, folds: {number})"
    lines = [
        f"- Model: `{results['model']}`, classes: {', '.join(results['classes'])}",
        f"- Corpus: {results['corpus']}"
        + (" (synthetic)" if results["corpus_is_synthetic"] else ""),
    ]
    subset = protocol.get("subset")
    if subset is not None:
        lines.append(f"- Subset: `{subset}`, {SUBSETS.get(subset, 'see the config')}")
    if protocol.get("happy") is not None:
        lines.append(f"- Happy policy: `{protocol['happy']}` (what `happy` holds)")
    lines.append(f"- Split: {rule}")
    if results["selection"] == "val" and split in _VALIDATED:
        lines.append(f"- Validation: {_validation(protocol)}")
    lines.append(f"- Epoch: {SELECTIONS.get(results['selection'], 'see the config')}")
    folds = list(dict.fromkeys(run["fold"] for run in results["runs"]))
    seeds = list(dict.fromkeys(run["seed"] for run in results["runs"]))
    lines.append(
        f"- Runs: {len(results['runs'])} ({len(folds)} folds; seeds "
        f"{', '.join(map(str, seeds))})"
    )
    lines += [f"- Promised: {promise}" for promise in protocol.get("promises", ())]
    if results.get("text"):
        return lines + texts.lines(results)
    return lines + _repeated_sentences(protocol)


_VALIDATED = ("session5", "session5_script", "group")  # by protocol.validation


def _repeated_sentences(protocol):
    share = protocol.get("test_sentences_also_trained", 0)
    if not share:
        return []
    said = f"{share:.0%} of the test utterances have words that also occur in training"
    return [
        f"- Sentences: {said}; a leak for a model that reads, not for one that hears"
    ]


def _validation(protocol):
    rule = protocol.get("validation")
    share = protocol.get("val_fraction")
    said = f"`{rule}`, {VALIDATIONS.get(rule, 'see the config')}"
    return said + (f" ({share:.0%})" if rule == "random" and share else "")


def _results(results, published):
    align = ("---", "---:", "---:", "---:", "---:", "---:", "---:")
    lines = _grid([HEADER, *_rows(results, published)], align)
    lines += ["", LEGEND]
    gaps = {
        f"{run['fold']} ({', '.join(run['absent_classes'])})": None
        for run in results["runs"]
        if run.get("absent_classes")
    }
    if gaps:
        left_out = "no test utterance of a class, which this fold's UA leaves out"
        lines += ["", f"\\* {left_out}: {'; '.join(gaps)}."]
    return lines


def _has_paper(published) -> bool:
    return bool(published and published.get("paper"))


def _differences(results, published):
    """One line per protocol field that the paper has otherwise."""
    here = {**results["protocol"], **{k: results[k] for k in ("corpus", "selection")}}
    return [
        f"{field}: paper: {published[field]}, here: {here.get(field, 'not used')}"
        for field in COMPARED
        if published.get(field) and published[field] != here.get(field)
    ]


def _next_to_paper(results, published):
    if not _has_paper(published):
        return ["The config gives no published number for this system."]
    ours = [
        percent(results[k]["mean"]) + " ± " + percent(results[k]["std"])
        for k in ("ua", "wa")
    ]
    theirs = [percent(published.get(key)) for key in ("ua", "wa")]
    rows = [("", "UA %", "WA %"), ("here, mean ± std", *ours), ("paper", *theirs)]
    lines = _grid(rows, ("---", "---:", "---:"))
    lines += ["", f"Paper: {published['paper']}"]
    if published.get("protocol"):
        lines += ["", f"Its protocol: {published['protocol']}"]
    differences = _differences(results, published)
    unknown = [field for field in COMPARED if not published.get(field)]
    if differences:
        lines += ["", "What differs, so that the numbers are not comparable:", ""]
        lines += [f"- {line}" for line in differences]
    elif not unknown:
        lines += ["", "Corpus and protocol are the paper's as far as it states them."]
    if unknown:
        lines += ["", f"Not stated for the paper: {', '.join(unknown)}."]
    return lines


def _confusion(results):
    counts = np.array(results["pooled"]["confusion"])
    names = results["classes"]
    rows = [("true \\ predicted", *names, "recall %")]
    for number, recall in enumerate(metrics.recalls(counts)):
        rows.append((names[number], *counts[number], percent(recall)))
    lines = _grid(rows, ("---", *["---:"] * (len(names) + 1)))
    return [*lines, "", f"![Confusion matrix]({FIGURES['confusion']})"]


def _curves(drawn):
    if not drawn:
        return ["None: metrics.jsonl has no loss and no UA."]
    return [f"![Learning curves]({FIGURES['curves']})"]


def _utterances(counted):
    excluded, skipped = counted["excluded"], counted["skipped"]
    lines = [
        f"- Used: {counted['used']}",
        f"- Padded to a window: {counted['padded_short']}",
        f"- Resampled: {counted['resampled']}",
        f"- Excluded: {sum(skipped.values())}",
    ]
    for reason, count in skipped.items():
        named = [item for item in excluded if item["reason"] == reason]
        lines.append(f"    - {reason}: {count}")
        for item in named[:LISTED]:
            detail = f": {item['detail']}" if item["detail"] else ""
            lines.append(f"        - `{item['id']}`{detail}")
        if len(named) > LISTED:
            lines.append(
                f"        - ... and {len(named) - LISTED} more in results.json"
            )
    return lines


def _time(results):
    rows = [("part", "seconds", "share", "what it is"), *times.rows(results)]
    lines = _grid(rows, ("---", "---:", "---:", "---"))
    return [*lines, "", " ".join([times.EXPLAINED, *times.started(results)])]


def _origin(results, command):
    versions = results["versions"] or {}
    lines = [f"- {name} {version}" for name, version in versions.items()]
    lines.append(f"- git commit: {results['git_commit'] or 'unknown'}")
    if command:
        lines += ["", "```", command, "```"]
    return lines
