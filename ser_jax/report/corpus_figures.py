"""Pictures of a corpus: who says what how often, how long, how loud."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from ser_jax import figure_style
from ser_jax.figure_style import BLUE, INK
from ser_jax.report import figures

_ROW_IN = 0.24
_BINS = 40
_NARROW_S, _NARROW_DB = 0.05, 1.0  # what makes no difference
_LOUDEST_SHARE = 0.55  # beyond which the blue wants white letters
_LONG_TAIL = 12  # times the median, from which a linear axis would show one bar


@rc_context(figure_style.RC)
def heat_map(
    counts: np.ndarray, speakers: Sequence[str], classes: Sequence[str]
) -> Figure:
    """Numbers of recordings, int [speakers, classes], as cells with their number."""
    width_in = max(figures.WIDTH_IN, 1.5 + 0.6 * len(classes))
    height_in = 1.2 + _ROW_IN * max(len(speakers), 4)
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    axes = figure.add_subplot()
    most = max(counts.max(initial=0), 1)
    axes.imshow(counts / most, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), number in np.ndenumerate(counts):
        colour = "white" if number / most > _LOUDEST_SHARE else INK
        style = {"ha": "center", "va": "center", "size": 8, "color": colour}
        axes.text(column, row, str(number), **style)
    names = [figures.one_line(name)[:14] for name in classes]
    turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(classes)), names, **turned)
    rows = [figures.one_line(name)[:20] for name in speakers]
    axes.set_yticks(range(len(speakers)), rows, size=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(ylabel="speaker")
    return figure


def durations(seconds: Sequence[float]) -> Figure:
    """How many recordings have which duration."""
    return _histogram(seconds, "duration, s", "s", _NARROW_S)


def levels(peaks_db: Sequence[float]) -> Figure:
    """How many recordings have which peak."""
    return _histogram(peaks_db, "peak, dB of full scale", "dB", _NARROW_DB)


@rc_context(figures.RC)
def _histogram(values, axis: str, unit: str, narrow: float) -> Figure:
    """The axis is logarithmic where the tail is long."""
    values = np.asarray(values)
    low, high = float(values.min()), float(values.max())
    is_long = low > narrow and high > _LONG_TAIL * np.median(values)
    space = np.geomspace if is_long else np.linspace
    # Values that are all but one would be bars of no width.
    room = 0.0 if high - low > narrow else narrow
    edges = space(low - room, high + room, _BINS + 1)
    edges[0], edges[-1] = low - room, high + room  # geomspace rounds
    numbers, _ = np.histogram(values, edges)
    figure = Figure(figsize=(figures.WIDTH_IN, figures.HEIGHT_IN), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.bar(edges[:-1], numbers, np.diff(edges), align="edge", color=BLUE)
    for bar, left, right, number in zip(
        bars, edges[:-1], edges[1:], numbers, strict=True
    ):
        bar.set_gid(f"{figures.TIP}{left:.2f} to {right:.2f} {unit}: {number}")
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", integer=True)  # half a recording is none
    if is_long:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel=axis, title="recordings")
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0)
    return figure
