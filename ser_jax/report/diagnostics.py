"""The sections that look behind the scores: who, how long, when, and what went wrong."""

import numpy as np

from ser_jax.report import analysis, clips, figures
from ser_jax.report.document import TEXTS, Cell, Figure, Table, code, plural
from ser_jax.report.score_table import percent
from ser_jax.scoring import metrics
from ser_jax.workdir.contents import WorkdirContents

CURVES_PNG = "figures/learning_curves.png"
MOST_GROUPS = 100  # rows of a table of speakers or sessions
_EXPLANATIONS = TEXTS["explanations"]


def groups(training: WorkdirContents) -> list:
    """Recalls per speaker and per recording session."""
    classes = training.results["classes"]
    blocks = [_EXPLANATIONS["groups"]]
    for field in ("speaker", "session"):
        counts = analysis.groups(training.predictions, classes, field)
        caption = f"UA, WA and recall of each class by {field}"
        if len(counts) == 1:  # corpora without sessions
            (name,) = map(code, counts)
            blocks.append(f"There is one {field} only, {name}.")
            continue
        if len(counts) > MOST_GROUPS:
            caption += f"; the {MOST_GROUPS} with the most decisions of {len(counts)}"
            often = sorted(counts, key=lambda name: -counts[name].sum())[:MOST_GROUPS]
            counts = {name: counts[name] for name in counts if name in often}
        blocks.append(_recall_table(field, counts.items(), classes, caption))
    return blocks


def curves(training: WorkdirContents) -> list:
    """Loss and UA over epochs or updates, and a row per run."""
    panels = analysis.curves(training.results, training.metrics)
    if not panels:
        return ["None: metrics.jsonl has no loss and no UA."]
    caption = "Learning curves of all runs; the thick line is their mean."
    figure = Figure(caption, lambda: _draw_curves(panels, training.results), CURVES_PNG)
    return [figure, _ends(training, panels)]


def durations(training: WorkdirContents) -> list:
    """Scores against how long recordings are."""
    classes = training.results["classes"]
    bins = analysis.durations(training.predictions, training.durations_s, classes)
    if not bins:
        return [_EXPLANATIONS["no_recordings"]]
    rows = [(f"{low:.2f} to {high:.2f}", counts) for low, high, counts in bins]
    caption = "UA, WA and recall of each class by duration of the recording"
    figure = Figure(caption, lambda: [_draw_durations(bins)])
    table = _recall_table("duration, s", rows, classes, caption)
    return [_EXPLANATIONS["durations"], figure, table]


def mistakes(training: WorkdirContents) -> list:
    """The wrong decisions that the model was surest of, to be listened to."""
    worst = analysis.mistakes(training.predictions, training.results["classes"])
    if not worst:
        return ["None: every decision is right."]
    # What cannot be understood from numbers is often heard at once: noise, a wrong
    # label, an emotion that a listener would not hear either.
    sounds = ["–"] * len(worst)
    about = f"No sound and no duration. {_EXPLANATIONS['no_recordings']}"
    if training.recordings:
        names = [record.utterance for record, _, _ in worst]
        sounds = clips.clips(names, training.recordings)
        heard = sum(bool(cell.uri) for cell in sounds)
        about = TEXTS["mistakes"]["heard" if heard else "unheard"]
        about = about.format(plural(heard, "recording"))
    header = ("utterance", "true", "decided", "listen")
    others = ("p decided %", "p true %", "duration, s", "speaker", "fold, seed")
    rows = [(*header, *others)]
    for (record, decided, true), sound in zip(worst, sounds, strict=True):
        seconds = training.durations_s.get(record.utterance)
        duration = "–" if seconds is None else f"{seconds:.2f}"
        words = (code(record.utterance), record.label, record.prediction, sound)
        numbers = (percent(decided), percent(true), duration)
        run = f"{record.fold}, {record.seed}"
        rows.append((*words, *numbers, record.speaker, run))
    caption = "Wrong decisions, the surest first; an utterance only once"
    table = Table(rows, caption, words=len(header))
    text = "Wrong decisions by the probability of the class decided for."
    return [f"{text} {about}", table]


def recall_cells(recalls) -> list[Cell]:
    """Percent on a colour; NaN, a class that does not occur, is a dash on none."""
    return [
        Cell(percent(recall), None if np.isnan(recall) else float(recall))
        for recall in recalls
    ]


def _recall_table(field, groups, classes, caption) -> Table:
    rows = [(field, "n", "UA %", "WA %", *(f"{name} %" for name in classes))]
    for name, confusion in groups:
        ua = metrics.unweighted_accuracy(confusion)
        wa = metrics.weighted_accuracy(confusion)
        scores = recall_cells([ua, wa, *metrics.recalls(confusion)])
        rows.append((name, confusion.sum(), *scores))
    return Table(rows, caption)


def _draw_curves(panels, results) -> list[str]:
    """A chart for each panel, because a phone has room for one."""
    svgs = []
    for name, series in panels.items():
        figure = figures.learning_curves({name: series}, results, titled=False)
        labels = ", ".join(curve.label for curve in series)
        svgs.append(figures.svg(figure, f"{name} over {series[0].axis}s: {labels}"))
    return svgs


def _draw_durations(bins) -> str:
    scores = [
        (low, high, metrics.unweighted_accuracy(c), metrics.weighted_accuracy(c))
        for low, high, c in bins
    ]
    alt = "UA and WA by duration of the recording"
    return figures.svg(figures.durations(scores), alt)


def _ends(training, panels) -> Table:
    """What each run had measured at the epoch or update it was scored at."""
    series = [series for panel in panels.values() for series in panel]
    axis, keys = series[0].axis, [one.key for one in series]
    measured = {
        (line["seed"], line["fold"], line[axis]): line for line in training.metrics
    }
    names = [key.replace("_ua", "_UA %").replace("_", " ") for key in keys]
    rows = [("fold", "seed", f"{axis}s", f"{axis} scored", *names)]
    # One row per run, on however many corpora it is tested.
    runs = {(run["fold"], run["seed"]): run for run in training.results["runs"]}
    for run in runs.values():
        ends = [run[f"{axis}s"], run[f"best_{axis}"]]
        scored = ends[1] or ends[0]  # without selection the last one is
        line = measured.get((run["seed"], run["fold"], scored), {})
        ends = ["–" if end is None else round(end, 2) for end in ends]
        values = [_measured(key, line.get(key)) for key in keys]
        rows.append((run["fold"], run["seed"], *ends, *values))
    return Table(rows, f"Loss and UA of each run at the {axis} it was scored at")


def _measured(key, value) -> str:
    if not analysis.is_number(value):
        return "–"
    return percent(value) if key.endswith("_ua") else f"{value:.3f}"
