"""The figure of one recording, and how maps are drawn in it and in that of a corpus.

Colours are colour-blind safe: `magma` for features and `cividis` for saliency grow
lighter with the value; attention is orange above and purple below what uniform attention
would give, on a logarithmic scale.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ser_jax import figure_style
from ser_jax.explain.recording import RecordingExplanation
from ser_jax.features import filters
from ser_jax.features.recipe import Recipe, StatesSpec, WaveformSpec
from ser_jax.features.spec import FeatureSpec

_SCALES = {"log10": "log10 of power", "ln": "ln of power", "db": "dB"}
_NAMES = {"logmel": "log-mel", "mfcc": "MFCC", "spectrogram": "spectrogram"}
_TICKS_HZ = (0, 250, 500, 1000, 2000, 4000, 8000)
_NO_SEGMENT = "#bdbdbd"
_AREA = "area "  # of the names of maps of one area size, as in `area 2x3`


@rc_context(figure_style.RC)
def draw(explanation: RecordingExplanation, spec: Recipe, title: str) -> bytes:
    """The figure of one recording, as PNG.

    From above: attention over time (where time alone is attended to), features,
    attention and saliency over time and frequency; words, where they are read; below
    one small map per area size or head, all on one scale.
    """
    heights, panels = zip(*_panels(explanation, spec), strict=True)
    seconds = _time_edges(spec, explanation.features.shape[1])[[0, -1]]
    shape = _small_shape(explanation)
    below = 1.35 * shape[0] + 0.5 if shape[0] else 0.0
    above = sum(heights) + 0.35 * len(heights) + 1.1
    width = float(np.clip(6.5 + 0.9 * seconds[1], 8.5, 18))
    ratios = [above, below] if below else [above]
    figure = Figure(figsize=(width, above + below), layout="constrained")
    parts = figure.subfigures(len(ratios), 1, squeeze=False, height_ratios=ratios)
    stack = {"squeeze": False, "height_ratios": heights}
    column = parts[0, 0].subplots(len(heights), 1, **stack)[:, 0]
    for axes, draw_panel in zip(column, panels, strict=True):
        draw_panel(axes)
    timed = column[:-1] if explanation.words else column
    for axes in timed:
        axes.set_xlim(*seconds)
        axes.tick_params(labelbottom=axes is timed[-1])
    timed[-1].set_xlabel("time (s)")
    if below:
        _draw_small_maps(parts[1, 0], explanation, spec, shape)
    return finish(figure, title)


def finish(figure: Figure, title: str) -> bytes:
    """Adds the title, and makes a PNG of a figure."""
    figure.suptitle(title, fontsize=10.5, color=figure_style.INK)
    return figure_style.png(figure)


def _panels(
    explanation: RecordingExplanation, spec: Recipe
) -> Iterator[tuple[float, Callable]]:
    """Height in inches of every panel from above, and what draws it on its axes."""

    def panel(*args):
        return lambda axes: _draw_panel(axes, spec, *args)

    attention = explanation.attention
    if explanation.over_time:
        yield 1.0, lambda axes: _draw_attention_over_time(axes, attention, spec)
    label = "hidden states\n(rms)" if isinstance(spec, StatesSpec) else "level\n(rms)"
    if isinstance(spec, FeatureSpec):
        label = f"{_NAMES[spec.kind]}\n({_SCALES[spec.log]})"
    yield 1.8, panel(explanation.features, "features", label)
    if explanation.maps and not explanation.over_time:
        label = "attention\n(× even)"
        yield 1.8, panel(attention, "attention", label, explanation.bands)
    if np.nanmax(explanation.saliency) > 0:
        label = f"saliency of\n{explanation.answer.label} (× mean)"
        yield 1.8, panel(explanation.saliency, "saliency", label)
    if explanation.words:
        yield 1.4, lambda axes: _draw_words(axes, explanation.words)


def _time_edges(spec: Recipe, frames: int) -> np.ndarray:
    """Where frames begin and end, in seconds: half a hop before and after the middle."""
    middle = 0.0 if spec.centered else spec.win_samples / 2
    places = middle + (np.arange(frames + 1) - 0.5) * spec.hop_samples
    return places / spec.sample_rate_hz


def _draw_attention_over_time(axes, attention: np.ndarray, spec: Recipe) -> None:
    draw_steps(axes, attention[0], _time_edges(spec, attention.shape[1]))
    right = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom"}
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    grey = figure_style.GREY
    axes.text(0.995, 1.03, "even", fontsize=8, color=grey, bbox=box, **right)
    axes.set_ylim(0, max(1.25, 1.08 * float(np.nanmax(attention))))
    axes.set_ylabel("attention\n(× even)")
    axes.spines[["top", "right"]].set_visible(False)


def draw_steps(axes, values: np.ndarray, edges: np.ndarray) -> None:
    """Attention over time alone, and the line that uniform attention would be."""
    axes.stairs(values, edges, fill=True, color=figure_style.BLUE, alpha=0.25)
    axes.stairs(values, edges, color=figure_style.BLUE, lw=1.6, baseline=None)
    axes.axhline(1, color=figure_style.GREY, lw=1, ls=":")


def _draw_panel(axes, spec, values, style: str, label: str, bands=None) -> None:
    """One map over time and frequency with its colour bar."""
    bands = range(spec.num_bands + 1) if bands is None else bands
    seconds = _time_edges(spec, values.shape[1])
    image = draw_map(axes, spec, seconds, bands, values, color_scale(values, style))
    add_color_bar(axes, image, values, label)
    unread = np.isnan(values).all(axis=0)
    if style == "features" and unread.mean() > 0.06:  # else too narrow for the words
        middle = seconds[:-1][unread].mean(), spec.num_bands / 2
        turned = {"rotation": 90, "ha": "center", "va": "center"}
        axes.text(*middle, "not read", fontsize=8.5, color=figure_style.INK, **turned)


def draw_map(axes, spec, times, bands, values, scale: dict, ticks: int = 12):
    """A map [rows, columns] over time and frequency; grey where it is NaN.

    `times` are the edges of its columns, `bands` those of its rows; `scale` is what
    `color_scale` returns; at most `ticks` frequencies are named.
    """
    masked = np.ma.masked_invalid(values)
    image = axes.pcolormesh(times, np.array(bands), masked, rasterized=True, **scale)
    axes.set_facecolor(_NO_SEGMENT)
    _set_band_axis(axes, spec, ticks)
    return image


def _set_band_axis(axes, spec: Recipe, ticks: int) -> None:
    """Ticks and label of a y axis that counts bands."""
    axes.set_ylim(0, spec.num_bands)
    if isinstance(spec, StatesSpec):
        axes.set_ylabel("layer")
        axes.set_yticks(np.arange(len(spec.layers)) + 0.5, map(str, spec.layers))
        return
    if isinstance(spec, WaveformSpec):
        axes.set_yticks([])
        return
    axes.set_ylabel("frequency (kHz)")
    if spec.kind == "mfcc":
        axes.set_ylabel("MFCC (index)")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        return
    if spec.kind == "spectrogram":
        middles = filters.bin_frequencies(spec)[: spec.num_filters]
    else:
        middles = filters.edges_hz(spec)[1:-1]
    inside = [hz for hz in _TICKS_HZ if middles[0] <= hz <= middles[-1]]
    places = np.interp(inside, middles, np.arange(len(middles)) + 0.5)
    shown, last = [], -np.inf
    for hz, place in zip(inside, places, strict=True):
        if place - last >= spec.num_bands / ticks:  # mel bands crowd the low ones
            shown.append((place, f"{hz / 1000:g}"))
            last = place
    axes.set_yticks(*zip(*shown, strict=True))


def color_scale(values: np.ndarray, style: str) -> dict:
    """Colour map and limits of a map: `features`, `saliency` or `attention`."""
    if style == "features":
        return {"cmap": "magma"}
    # A quantile, because a few extreme cells would leave the rest in one shade.
    top = float(np.nanquantile(values, 0.995))
    if style == "saliency":
        return {"cmap": "cividis", "vmin": 0, "vmax": top}
    lowest = 1 / max(float(np.nanquantile(values, 0.05)), 0.1)
    top = max(1.25, min(10.0, max(top, lowest)))
    return {"cmap": "PuOr_r", "norm": LogNorm(1 / top, top, clip=True)}


def add_color_bar(axes, image, values: np.ndarray, label: str) -> None:
    """The colour bar of a map or a grid of maps; pointed where values exceed it."""
    low, high = image.get_clim()
    slack = 1e-3 * (high - low)
    below, above = np.nanmin(values) < low - slack, np.nanmax(values) > high + slack
    extend = ("neither", "min", "max", "both")[below + 2 * above]
    figure = np.ravel(axes)[0].figure
    bar = figure.colorbar(image, ax=axes, pad=0.01, fraction=0.05, extend=extend)
    bar.outline.set_visible(False)
    bar.set_label(label, fontsize=9)
    if not isinstance(image.norm, LogNorm):
        bar.ax.yaxis.set_major_locator(MaxNLocator(4))
        return
    # Matplotlib's own logarithmic ticks, powers of ten, mostly lie outside the limits.
    step = next(s for s in (1.1, 1.25, 1.5, 2.0, 3.0, 8.0) if s**2.5 >= high or s == 8)
    ticks = [step**k for k in range(-9, 10) if low <= step**k <= high]
    bar.set_ticks(ticks, labels=[f"{x:.2g}" for x in ticks])
    bar.minorticks_off()


def _small_shape(explanation: RecordingExplanation) -> tuple[int, int]:
    """Rows and columns of the small maps: area heights x widths, or four abreast."""
    names = list(explanation.maps)
    if explanation.over_time or len(names) < 2:
        return 0, 0
    if names[0].startswith(_AREA):
        rows = len({name.removeprefix(_AREA).split("x")[0] for name in names})
        return rows, len(names) // rows
    columns = min(4, len(names))
    return -(-len(names) // columns), columns


def _draw_small_maps(figure, explanation: RecordingExplanation, spec, shape) -> None:
    """One small map per area size or head, each with mean 1, on one scale."""
    grid = figure.subplots(*shape, squeeze=False, sharex=True, sharey=True)
    names, shares = list(explanation.maps), explanation.shares
    values = np.stack([explanation.maps[x] / (shares[x] or 1.0) for x in names])
    scale = color_scale(values, "attention")
    times = _time_edges(spec, values.shape[2])
    for axes in grid.ravel()[len(values) :]:
        axes.set_visible(False)
    for axes, name, own in zip(grid.ravel(), names, values, strict=False):
        image = draw_map(axes, spec, times, explanation.bands, own, scale, ticks=5)
        figure.supylabel(axes.get_ylabel(), fontsize=9)
        axes.set_ylabel("")
        title = f"{name.replace('x', ' × ')}: {shares[name]:.0%}"
        axes.set_title(title, fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("time (s)", fontsize=9)
    what = "head"
    if names[0].startswith(_AREA):
        what = "area size (height × width in cells)"
    figure.suptitle(
        f"Each {what} alone, with its share of the attention. One scale, each map's "
        "mean is 1.",
        fontsize=9.5,
    )
    add_color_bar(grid, image, values, "× even")


def _draw_words(axes, words: Sequence[tuple[str, float, float]]) -> None:
    """Attention and saliency of each word, side by side."""
    place = np.arange(len(words))
    names, attended, slopes = zip(*words, strict=True)
    axes.bar(place - 0.2, attended, 0.4, color=figure_style.BLUE, label="attention")
    hatched = {"color": "white", "edgecolor": figure_style.VERMILION, "hatch": "///"}
    axes.bar(place + 0.2, slopes, 0.4, **hatched, label="saliency")
    axes.axhline(1 / len(words), color=figure_style.GREY, lw=1, ls=":", label="even")
    axes.set_xticks(place, names, rotation=35, ha="right")
    axes.set_ylabel("share\nper word")
    axes.legend(frameon=False, fontsize=8.5, ncols=3, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(0, 1.3 * max(*attended, *slopes))
