"""The sections that look behind the scores: who, how long, when, and what went wrong."""

import math

from ser_jax.report import analysis, charts
from ser_jax.report import clips as sound
from ser_jax.report.document import Clip, Figure, Section, Table, Text, code, counted
from ser_jax.report.phrases import percent
from ser_jax.workdir.contents import WorkdirContents
from ser_jax.workdir.recordings import NAME

CURVES_PNG = "figures/learning_curves.png"
MOST_GROUPS = 100  # rows of a table of speakers or sessions
UNKNOWN = (
    f"Not known here: the workdir has no {NAME}, which newer versions write; "
    "`run.py evaluate` adds it."
)
_GROUPED = (
    "All runs' decisions together: an utterance counts once per run that tested it. A "
    "dash is a class that does not occur, which UA leaves out."
)


def groups(found: WorkdirContents) -> Section:
    """Recalls per speaker and per recording session."""
    blocks = [Text(_GROUPED)]
    for field in ("speaker", "session"):
        scored = analysis.groups(found.predictions, found.results["classes"], field)
        if len(scored) == 1:
            name = code(scored[0].name)
            blocks.append(Text(f"There is one {field} only, {name}."))
        elif scored:
            blocks.append(_group_table(scored, found.results["classes"], field))
    return Section("groups", "Speakers and sessions", blocks)


def curves(found: WorkdirContents, drawn: bool) -> Section:
    """Loss and UA over epochs, and a row per run.

    Args:
      found: The workdir.
      drawn: Whether the PNG is there for Markdown.
    """
    panels = analysis.curves(found.results, found.metrics)
    if not panels:
        said = [Text("None: metrics.jsonl has no loss and no UA.")]
        return Section("curves", "Learning curves", said)
    chance = 1 / len(found.results["classes"])
    drawings = [charts.curves(name, panels[name], chance) for name in panels]
    caption = "Learning curves of all runs; the thick line is their mean."
    figure = Figure(drawings, caption, CURVES_PNG if drawn else "")
    return Section("curves", "Learning curves", [figure, _epochs(found, panels)])


def durations(found: WorkdirContents) -> Section:
    """Scores against how long recordings are."""
    title = "Duration"
    classes = found.results["classes"]
    bins = analysis.durations(found.predictions, found.seconds, classes)
    if not bins:
        return Section("duration", title, [Text(UNKNOWN)])
    header = ("duration, s", "n", "UA %", "WA %", *_recall_names(classes))
    rows, shades = [header], []
    for low, high, group in bins:
        scores = (group.ua, group.wa, *group.recalls)
        name = f"{low:.2f} to {high:.2f}"
        rows.append((name, group.n, *map(percent, scores)))
        shades.append((None, None, *_shades(scores)))
    said = (
        "Bins hold about equally many decisions. Classes differ in how long they take "
        "to say, so WA also follows the classes in a bin; UA does less."
    )
    caption = "UA, WA and recall of each class by duration of the recording"
    chart = charts.by_duration(bins)
    table = Table(rows, caption, shades=shades)
    return Section("duration", title, [Text(said), Figure([chart], caption), table])


def mistakes(found: WorkdirContents) -> Section:
    """The wrong decisions that the model was surest of, to be listened to."""
    title = "Most confident mistakes"
    worst = analysis.mistakes(found.predictions, found.results["classes"])
    if not worst:
        return Section("mistakes", title, [Text("None: every decision is right.")])
    names = [record.utterance for record, _, _ in worst]
    cells = [Clip("–")] * len(names)
    if found.recordings:
        cells = sound.clips(names, found.recordings)
    header = ("utterance", "true", "decided", "listen")
    rows = [
        (*header, "p decided %", "p true %", "duration, s", "speaker", "fold, seed")
    ]
    for (record, sure, true), cell in zip(worst, cells, strict=True):
        seconds = found.seconds.get(record.utterance)
        rows.append(
            (
                *(code(record.utterance), record.label, record.prediction, cell),
                *(percent(sure), percent(true)),
                "–" if seconds is None else f"{seconds:.2f}",
                *(record.speaker, f"{record.fold}, {record.seed}"),
            )
        )
    said = "Wrong decisions by the probability of the class decided for. "
    said += (
        _heard(cells) if found.recordings else f"No sound and no duration. {UNKNOWN}"
    )
    caption = "Wrong decisions, the surest first; an utterance only once"
    table = Table(rows, caption, words=len(header))
    return Section("mistakes", title, [Text(said), table])


def _heard(cells) -> str:
    held = sum(bool(cell.uri) for cell in cells)
    if not held:
        return "No recording could be put into report.html; the table says why."
    return (
        f"report.html holds {counted(held, 'recording')} of the corpus; mind its "
        "licence before passing that page on."
    )


def _recall_names(classes) -> list[str]:
    return [f"{name} %" for name in classes]


def _shades(scores) -> list[float | None]:
    return [None if math.isnan(score) else score for score in scores]


def _group_table(scored, classes, field) -> Table:
    caption = f"UA, WA and recall of each class by {field}"
    if len(scored) > MOST_GROUPS:
        caption += f"; the {MOST_GROUPS} with the most decisions of {len(scored)}"
        often = sorted(scored, key=lambda group: -group.n)[:MOST_GROUPS]
        kept = {group.name for group in often}
        scored = [group for group in scored if group.name in kept]
    rows = [(field, "n", "UA %", "WA %", *_recall_names(classes))]
    shades = []
    for group in scored:
        scores = (group.ua, group.wa, *group.recalls)
        rows.append((group.name, group.n, *map(percent, scores)))
        shades.append((None, None, *_shades(scores)))
    return Table(rows, caption, shades=shades)


def _epochs(found, panels) -> Table:
    """What each run had measured at the epoch it was scored at."""
    measured = {
        (line["seed"], line["fold"], line["epoch"]): line for line in found.metrics
    }
    keys = [series.key for panel in panels.values() for series in panel]
    names = [key.replace("_ua", "_UA %").replace("_", " ") for key in keys]
    rows = [("fold", "seed", "epochs", "epoch scored", *names)]
    for run in found.results["runs"]:
        epoch = run["best_epoch"] or run["epochs"]
        line = measured.get((run["seed"], run["fold"], epoch), {})
        cells = [_measured(key, line.get(key)) for key in keys]
        ends = [
            "–" if run[key] is None else run[key] for key in ("epochs", "best_epoch")
        ]
        rows.append((run["fold"], run["seed"], *ends, *cells))
    return Table(rows, "Loss and UA of each run at the epoch it was scored at")


def _measured(key, value) -> str:
    if not analysis.number(value):
        return "–"
    return percent(value) if key.endswith("_ua") else f"{value:.3f}"
