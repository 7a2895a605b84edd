"""Answers over the time of a recording: as a table, a Praat TextGrid and a picture."""

import bisect
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from cycler import cycler
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from praatio import textgrid
from praatio.data_classes.interval_tier import IntervalTier
from tqdm import tqdm

from ser_jax import figure_style
from ser_jax.errors import InputError
from ser_jax.features.audio import AudioError
from ser_jax.predict import writers
from ser_jax.predict.answers import Answer
from ser_jax.predict.recognizer import Recognizer
from ser_jax.predict.sources import Source
from ser_jax.workdir.files import write_atomically

# Okabe & Ito's colours, dark ones first; dashes tell classes beyond them apart.
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7"),
    *("#E69F00", "#56B4E9", "#000000"),
)
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
_COLUMN_S = 0.01  # of the drawn waveform


def write_all(
    recognizer: Recognizer,
    recordings: Sequence[Source],
    *,
    out: str,
    window_s: float,
    hop_s: float,
) -> list[tuple[Source, AudioError]]:
    """Writes `<name>.csv`, `.TextGrid` and `.png` per recording into a folder.

    The folder is `out`, or `timeline` if that is empty; `window_s` and `hop_s` are those
    of `Recognizer.stream`. Returns the recordings that could not be used, and why.

    Raises:
      InputError: The folder cannot be made, or the window and hop do not fit.
    """
    if Path(out).suffix in writers.SUFFIXES:
        raise InputError(
            f"--out: expected a folder, which gets a table, a TextGrid and a picture "
            f"per recording with --window; got {out!r}."
        )
    folder = writers.make_folder(out or "timeline")
    failed, taken = [], set()
    bar = tqdm(recordings, "timelines", unit="file", delay=2, dynamic_ncols=True)
    for source in bar:
        stem = "standard_input" if source.name == "-" else Path(source.name).stem
        stem = folder / writers.unique_name(stem, taken)
        try:
            _write(recognizer, source, stem, window_s, hop_s)
        except AudioError as error:
            failed.append((source, error))
    done = len(recordings) - len(failed)
    print(f"{done} timelines (.csv, .TextGrid, .png) in {folder}/")
    print(recognizer.trained.description() + ".")
    return failed


def _write(recognizer: Recognizer, source: Source, stem, window_s, hop_s):
    trained, rate_hz = recognizer.trained, recognizer.sample_rate_hz
    columns: list[np.ndarray] = []
    recording = recognizer.open(source.checked_path())
    blocks = _draw(recording.blocks, rate_hz, columns)
    answers = list(recognizer.stream(blocks, rate_hz, window_s=window_s, hop_s=hop_s))
    with writers.open_writer(f"{stem}.csv", trained) as write:
        for answer in answers:
            write(source.name, answer)
    tier = " ".join(["emotion", *(f"[{x}]" for x in trained.provenance["stamps"])])
    grid = _text_grid(_spans(answers, hop_s), trained.classes, tier)
    write_atomically(f"{stem}.TextGrid", grid)
    title = f"{source.name}\n{trained.description()}; windows of {window_s:g} s"
    write_atomically(f"{stem}.png", _picture(answers, columns, title))


def _spans(
    answers: Sequence[Answer], hop_s: float
) -> Iterator[tuple[float, float, np.ndarray]]:
    """(start, end, mean probabilities of the windows that cover it), hop by hop."""
    starts = [answer.start_s for answer in answers]
    ends = [answer.end_s for answer in answers]
    probabilities = np.array([answer.probabilities for answer in answers])
    # 1e-9: float noise must not add an empty hop at the end.
    for k in range(int(np.ceil(ends[-1] / hop_s - 1e-9))):
        start, end = k * hop_s, min((k + 1) * hop_s, ends[-1])
        middle = (start + end) / 2
        # Windows are sorted by start and by end.
        first = bisect.bisect_right(ends, middle)
        last = bisect.bisect_right(starts, middle)
        yield start, end, probabilities[first:last].mean(axis=0)


def _text_grid(spans, classes: Sequence[str], tier: str) -> bytes:
    """One tier: the likeliest class, neighbours of the same class merged."""
    entries: list[tuple[float, float, str]] = []
    for start, end, probabilities in spans:
        label = classes[int(np.argmax(probabilities))]
        if entries and entries[-1][2] == label:
            start = entries.pop()[0]
        entries.append((start, end, label))
    grid = textgrid.Textgrid()
    grid.addTier(IntervalTier(tier, entries, 0.0, entries[-1][1]))
    with tempfile.TemporaryDirectory() as folder:  # praatio writes files only
        path = os.path.join(folder, "x.TextGrid")
        grid.save(path, format="long_textgrid", includeBlankSpaces=True)
        return Path(path).read_bytes()


def _draw(
    blocks: Iterable[np.ndarray], rate_hz: int, columns: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """Passes blocks on; adds [2, n]: smallest and largest sample of drawn columns."""
    width = round(_COLUMN_S * rate_hz)
    rest = np.zeros(0, np.float32)
    for block in blocks:  # hours do not fit in memory
        samples = np.concatenate([rest, block])
        whole = len(samples) // width * width
        parts = samples[:whole].reshape(-1, width)
        columns.append(np.stack([parts.min(axis=1), parts.max(axis=1)]))
        rest = samples[whole:]
        yield block


def _picture(answers: Sequence[Answer], columns, title: str) -> bytes:
    low, high = np.concatenate(columns, axis=1)
    seconds = np.arange(len(low)) * _COLUMN_S
    middle = [(answer.start_s + answer.end_s) / 2 for answer in answers]
    values = np.array([answer.probabilities for answer in answers])
    end_s = answers[-1].end_s
    with rc_context(figure_style.RC):
        size = (float(np.clip(4 + end_s / 5, 8, 24)), 4.6)
        figure = Figure(figsize=size, layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.set_prop_cycle(cycler(ls=_DASHES) * cycler(color=_COLOURS))
        marker = "o" if len(answers) < 40 else ""
        classes = answers[0].classes
        top.plot(middle, values, label=classes, marker=marker, ms=3.5, lw=1.8)
        top.set_ylim(0, 1)
        top.set_ylabel("probability")
        top.yaxis.set_major_formatter(PercentFormatter(1.0))
        top.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        bottom.fill_between(seconds, low, high, color=figure_style.GREY, lw=0.4)
        bottom.set_ylabel("amplitude")
        bottom.set_xlabel("time [s]; a point stands at the middle of its window")
        bottom.set_xlim(0, end_s)
        for axes in (top, bottom):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#e6e6e6", linewidth=0.7)
        figure.suptitle(title, fontsize=10, color=figure_style.INK)
        return figure_style.png(figure)
