"""Pictures of where a model looks: one recording, or the classes of a test part.

Colours are colour-blind safe: `magma` for features and `cividis` for saliency grow
lighter with the value; attention is orange above and purple below what even attention
would give, on a logarithmic scale.
"""

import io
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ser_jax import figure_style
from ser_jax.explain.recording import Attention, Explained
from ser_jax.features import filters
from ser_jax.features.spec import FeatureSpec

_SCALES = {"log10": "log10 of power", "ln": "ln of power", "db": "dB"}
_NAMES = {"logmel": "log-mel", "mfcc": "MFCC", "spectrogram": "spectrogram"}
_TICKS_HZ = (0, 250, 500, 1000, 2000, 4000, 8000)
_UNREAD = "#bdbdbd"


class BandAxis:
    """How the bands of a recipe are written at an axis."""

    def __init__(self, spec: FeatureSpec):
        """Looks up where the bands lie."""
        self.spec = spec
        self.label = "MFCC (index)" if spec.kind == "mfcc" else "frequency (kHz)"

    def dress(self, axes, bands: int, ticks: int = 12) -> None:
        """At most so many ticks, and the label, of a y axis that counts bands."""
        axes.set_ylabel(self.label)
        axes.set_ylim(0, bands)
        if self.spec.kind == "mfcc":
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            return
        if self.spec.kind == "spectrogram":
            middles = filters.bin_frequencies(self.spec)[: self.spec.num_filters]
        else:
            middles = filters.edges_hz(self.spec)[1:-1]
        known = [hz for hz in _TICKS_HZ if middles[0] <= hz <= middles[-1]]
        places = np.interp(known, middles, np.arange(len(middles)) + 0.5)
        kept, last = [], -np.inf
        for hz, place in zip(known, places, strict=True):
            if place - last >= bands / ticks:
                kept.append((place, f"{hz / 1000:g}"))
                last = place
        axes.set_yticks(*zip(*kept, strict=True))


def recording(found: Explained, spec: FeatureSpec, title: str) -> bytes:
    """The picture of one recording, as PNG.

    From above: attention over time (where time alone is attended to), features,
    attention and saliency over time and frequency; words, where they are read; below
    one small map per area size or head, all on one scale.
    """
    panels = list(_panels(found, spec))
    heights = [height for height, _ in panels]
    seconds = _time_edges(spec, found.features.shape[1])[[0, -1]]
    small = _grid_of(found.attention)
    below = 1.35 * small[0] + 0.5 if small[0] else 0.0
    above = sum(heights) + 0.35 * len(heights) + 1.1
    width = float(np.clip(6.5 + 0.9 * seconds[1], 8.5, 18))
    ratios = [above, below] if below else [above]
    with rc_context(figure_style.RC):
        figure = Figure(figsize=(width, above + below), layout="constrained")
        parts = figure.subfigures(len(ratios), 1, squeeze=False, height_ratios=ratios)
        column = parts[0, 0].subplots(
            len(heights), 1, squeeze=False, height_ratios=heights
        )[:, 0]
        for axes, (_, draw) in zip(column, panels, strict=True):
            draw(parts[0, 0], axes)
        timed = column[:-1] if found.words else column
        for axes in timed:
            axes.set_xlim(*seconds)
            axes.tick_params(labelbottom=axes is timed[-1])
        timed[-1].set_xlabel("time (s)")
        if below:
            _small_maps(parts[1, 0], found.attention, spec, small)
        figure.suptitle(title, fontsize=10.5, color=figure_style.INK)
        return png(figure)


def _panels(
    found: Explained, spec: FeatureSpec
) -> Iterator[tuple[float, Callable[[SubFigure, Axes], None]]]:
    """Height in inches of every panel from above, and what draws it."""
    attention = found.attention
    if attention is not None and attention.over_time:
        yield 1.0, lambda figure, axes: _curve(axes, attention, spec)
    label = f"{_NAMES[spec.kind]}\n({_SCALES[spec.log]})"
    yield 1.8, _drawn(found.features, spec, "features", label)
    if attention is not None and not attention.over_time:
        label = "attention\n(× even)"
        yield 1.8, _drawn(attention.total, spec, "attention", label, attention.bands)
    if np.nanmax(found.saliency) > 0:
        likeliest = found.classes[int(found.probabilities.argmax())]
        label = f"saliency of\n{likeliest} (× mean)"
        yield 1.8, _drawn(found.saliency, spec, "saliency", label)
    if found.words:
        yield 1.4, lambda figure, axes: _words(axes, found.words)


def _drawn(*what) -> Callable[[SubFigure, Axes], None]:
    return lambda figure, axes: _map(figure, axes, *what)


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=figure_style.DPI, facecolor="white")
    return out.getvalue()


def _time_edges(spec: FeatureSpec, frames: int) -> np.ndarray:
    """Where frames begin and end, in seconds: a hop about the middle of each."""
    middle = 0.0 if spec.centered else spec.win_samples / 2
    places = middle + (np.arange(frames + 1) - 0.5) * spec.hop_samples
    return places / spec.sample_rate_hz


def _curve(axes, attention: Attention, spec: FeatureSpec) -> None:
    """Attention over time alone, as steps."""
    values = attention.total[0]
    edges = _time_edges(spec, len(values))
    axes.stairs(values, edges, fill=True, color=figure_style.BLUE, alpha=0.25)
    axes.stairs(values, edges, color=figure_style.BLUE, lw=1.6, baseline=None)
    axes.axhline(1, color=figure_style.GREY, lw=1, ls=":")
    right = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom"}
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    axes.text(
        0.995, 1.03, "even", fontsize=8, color=figure_style.GREY, bbox=box, **right
    )
    axes.set_ylim(0, max(1.25, 1.08 * float(np.nanmax(values))))
    axes.set_ylabel("attention\n(× even)")
    axes.spines[["top", "right"]].set_visible(False)


def _map(figure, axes, values, spec, style: str, label: str, bands=None) -> None:
    """One map over time and frequency with its colour bar."""
    num = spec.num_bands
    edges = np.arange(num + 1) if bands is None else np.array(bands)
    seconds = _time_edges(spec, values.shape[1])
    look = shading(values, style)
    image = axes.pcolormesh(seconds, edges, np.ma.masked_invalid(values), **look)
    axes.set_facecolor(_UNREAD)
    BandAxis(spec).dress(axes, num)
    colour_bar(figure, image, axes, values, label)
    unread = np.isnan(values).all(axis=0)
    if style == "features" and unread.mean() > 0.06:
        at = seconds[:-1][unread].mean(), num / 2
        turned = {"rotation": 90, "ha": "center", "va": "center"}
        axes.text(*at, "not read", fontsize=8.5, color=figure_style.INK, **turned)


def shading(values: np.ndarray, style: str) -> dict:
    """Colours and limits of a map: `features`, `saliency` or `attention`."""
    if style == "features":
        return {"cmap": "magma", "rasterized": True}
    top = float(np.nanquantile(values, 0.995))
    if style == "saliency":
        return {"cmap": "cividis", "vmin": 0, "vmax": top, "rasterized": True}
    lowest = 1 / max(float(np.nanquantile(values, 0.05)), 0.1)
    top = max(1.25, min(10.0, max(top, lowest)))
    return {
        "cmap": "PuOr_r",
        "norm": LogNorm(1 / top, top, clip=True),
        "rasterized": True,
    }


def colour_bar(figure, image, axes, values: np.ndarray, label: str) -> None:
    """The colour bar of a map; a point says that values reach beyond it."""
    low, high = image.get_clim()
    slack = 1e-3 * (high - low)
    below, above = np.nanmin(values) < low - slack, np.nanmax(values) > high + slack
    extend = ("neither", "min", "max", "both")[below + 2 * above]
    bar = figure.colorbar(image, ax=axes, pad=0.01, fraction=0.05, extend=extend)
    bar.outline.set_visible(False)
    bar.set_label(label, fontsize=9)
    if not isinstance(image.norm, LogNorm):
        bar.ax.yaxis.set_major_locator(MaxNLocator(4))
        return
    step = next(s for s in (1.1, 1.25, 1.5, 2.0, 3.0, 8.0) if s**2.5 >= high or s == 8)
    ticks = [step**k for k in range(-9, 10) if low <= step**k <= high]
    bar.ax.yaxis.set_major_locator(FixedLocator(ticks))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.2g}"))


def _grid_of(attention: Attention | None) -> tuple[int, int]:
    """Rows and columns of the small maps: area heights x widths, or four abreast."""
    if attention is None or attention.over_time or len(attention.maps) < 2:
        return 0, 0
    names = list(attention.maps)
    if names[0].startswith("area "):
        sizes = [name.removeprefix("area ").split("x") for name in names]
        rows = len({h for h, _ in sizes})
        return rows, len(names) // rows
    columns = min(4, len(names))
    return -(-len(names) // columns), columns


def _small_maps(figure, attention: Attention, spec, shape: tuple[int, int]) -> None:
    """One small map per area size or head, each with mean 1, on one scale."""
    grid = figure.subplots(*shape, squeeze=False, sharex=True, sharey=True)
    values = np.stack(list(attention.maps.values()))
    look = shading(values, "attention")
    edges, axis = _time_edges(spec, values.shape[2]), BandAxis(spec)
    for axes in grid.ravel()[len(values) :]:
        axes.set_visible(False)
    for axes, (name, found) in zip(grid.ravel(), attention.maps.items(), strict=False):
        found = np.ma.masked_invalid(found)
        image = axes.pcolormesh(edges, np.array(attention.bands), found, **look)
        axes.set_facecolor(_UNREAD)
        axis.dress(axes, spec.num_bands, ticks=5)
        axes.set_ylabel("")
        share = f"{attention.shares[name]:.0%}"
        axes.set_title(f"{name.replace('x', ' × ')}: {share}", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("time (s)", fontsize=9)
    what = "area size (height × width in cells)"
    if not next(iter(attention.maps)).startswith("area "):
        what = "head"
    figure.suptitle(
        f"Each {what} alone, with its share of the attention. One scale, each map's "
        "mean is 1.",
        fontsize=9.5,
    )
    figure.supylabel(axis.label, fontsize=9)
    colour_bar(figure, image, grid, values, "× even")


def _words(axes, words: Sequence[tuple[str, float, float]]) -> None:
    """Attention and saliency of each word, side by side."""
    place = np.arange(len(words))
    attended, slopes = ([row[i] for row in words] for i in (1, 2))
    axes.bar(place - 0.2, attended, 0.4, color=figure_style.BLUE, label="attention")
    axes.bar(
        place + 0.2,
        slopes,
        0.4,
        color="white",
        edgecolor=figure_style.VERMILION,
        hatch="///",
        label="saliency",
    )
    axes.axhline(1 / len(words), color=figure_style.GREY, lw=1, ls=":", label="even")
    axes.set_xticks(place, [word for word, _, _ in words], rotation=35, ha="right")
    axes.set_ylabel("share\nper word")
    axes.legend(frameon=False, fontsize=8.5, ncols=3, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(0, 1.3 * max(*attended, *slopes))
