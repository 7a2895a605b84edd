"""The report's figures, drawn by matplotlib: PNG files, and SVG inside the page.

A chart is 360 points wide, a phone's width, so that its letters are as large as the
page's; wide pages put charts side by side. There is no pyplot, so no display and no
global state. Curves differ in line style as well as in colour.
"""

import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ser_jax import figure_style
from ser_jax.figure_style import BLUE, GREY, INK, VERMILION
from ser_jax.report.document import plural
from ser_jax.report.score_table import deviation
from ser_jax.scoring import metrics
from ser_jax.workdir.provenance import stamps

WIDTH_IN, HEIGHT_IN = 5.0, 3.6
GRID = "#e6e6e6"
# Charts, which have a grid instead of a frame; the matrix keeps matplotlib's defaults.
RC = figure_style.RC | {
    "font.size": 12,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": GREY,
    "axes.titlecolor": GREY,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.xmargin": 0.02,
    "grid.color": GRID,
    "legend.borderaxespad": 0,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
}
# Drawn colour -> variable of report.css, which has a value for light and for dark.
PAGE_COLOURS = {
    BLUE: "--first",
    VERMILION: "--second",
    INK: "--ink",
    GREY: "--quiet",
    GRID: "--grid",
    "#ffffff": "--card",
}
LONGEST_NAME = 46  # letters of 12 points that surely fit the width
_SVG = "http://www.w3.org/2000/svg"
TIP = "tip: "  # an artist's id that starts so is what pointing at the mark shows
_DOTTED, DASHED = (0, (1, 1)), (0, (4, 1.5))
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def svg(figure: Figure, alt: str) -> str:
    """A figure in `PAGE_COLOURS` as an element of an HTML page, in the page's font.

    `alt`, the text for those who do not see it, differs between figures of a page.
    """
    # The salt makes ids the same in every run and different between figures.
    options = {"svg.fonttype": "none", "svg.hashsalt": alt}
    with rc_context(options):
        content = figure_style.saved(figure, format="svg", transparent=True)
    root = ElementTree.fromstring(content)
    for tag in ("metadata", "defs"):  # a date; a style that would hold for the page
        root.remove(root.find(f"{{{_SVG}}}{tag}"))
    for element in root.iter():
        if style := element.get("style"):
            element.set("style", _page_style(style))
        if path := element.get("d"):
            # A hundredth of a point cannot be seen, and paths are most of a page.
            element.set("d", re.sub(r"(\.\d\d)\d+", r"\1", path))
        if element.tag == f"{{{_SVG}}}g":
            tip = element.attrib.pop("id", "")  # the others are alike in all figures
            if tip.startswith(TIP):
                title = ElementTree.Element(f"{{{_SVG}}}title")
                title.text = tip.removeprefix(TIP)
                element.insert(0, title)
    view = root.get("viewBox")
    root.attrib.clear()
    root.attrib |= {"viewBox": view, "role": "img", "aria-label": alt}
    return ElementTree.tostring(root, encoding="unicode")


@rc_context(figure_style.RC)
def confusion(results: Mapping) -> Figure:
    """The pooled confusion matrix.

    A cell shows its count and its share of the true class (row), which is its colour.
    """
    counts = np.array(results["pooled"]["confusion"], np.int64)
    support = counts.sum(axis=1)
    shares = counts / np.maximum(support, 1)[:, None]
    side = 0.85 * max(len(counts), 4) + 1.0  # inches; cells keep their size
    figure = Figure(figsize=(side + 2.0, side + 1.0), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        style = {"ha": "center", "va": "center"}
        style["color"] = "white" if share > 0.55 else INK  # on dark and light blue
        weight = "bold" if row == column else "normal"
        axes.text(column, row - 0.1, f"{share:.0%}", size=12, weight=weight, **style)
        axes.text(column, row + 0.2, str(counts[row, column]), size=8.5, **style)
    _name_classes(axes, results["classes"], support)
    percent = PercentFormatter(1.0)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02, format=percent)
    bar.outline.set_visible(False)
    bar.set_label("share of the true class (diagonal: recall)")
    ua, wa = metrics.unweighted_accuracy(counts), metrics.weighted_accuracy(counts)
    score = f"pooled UA {ua:.1%}, WA {wa:.1%}, n = {support.sum()}"
    _set_title(figure, results, score)
    return figure


@rc_context(RC)
def learning_curves(panels: Mapping, results: Mapping, *, titled: bool) -> Figure:
    """Thin lines per run, a thick one for the mean, a ring where a run was scored.

    `panels`, some of `analysis.curves`, stand side by side. `titled`: the figure says
    what was trained, as one outside a page must.
    """
    height_in = HEIGHT_IN + 0.8 * titled
    figure = Figure(figsize=(WIDTH_IN * len(panels), height_in), layout="constrained")
    # A legend of a figure stands below the axes; each panel needs one of its own.
    parts = figure.subfigures(1, len(panels), squeeze=False)[0]
    for part, (name, series) in zip(parts, panels.items(), strict=True):
        _draw_curves(part, name, series, 1 / len(results["classes"]))
    if titled:
        runs = max(len(line.runs) for series in panels.values() for line in series)
        count = plural(runs, "run")
        _set_title(figure, results, f"learning curves, {count} and their mean")
    return figure


@rc_context(RC)
def scores(rows: Sequence[tuple], axis: str, reference: str = "") -> Figure:
    """A dot per run, mean and standard deviation, and a published score.

    `rows`, from the top: name, one score per run, their `{"mean", "std"}`, published
    score. Scores are fractions; None is left out. `reference` names the published ones.
    """
    height_in = (40 * len(rows) + 90) / 72  # points: rows; axis and legend
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = figure.add_subplot()
    # Marks without data: the legend shows each kind once, whatever is drawn.
    axes.plot([], [], "o", color=GREY, label="one run")
    axes.plot([], [], lw=3, color=BLUE, label="mean ± std")
    if any(published is not None for *_, published in rows):
        axes.plot([], [], "|", ms=12, mew=3, color=VERMILION, label=reference)
    for number, row in enumerate(rows):
        _draw_scores(axes, -number, *row)
    axes.set(xlabel=axis, ylim=(0.4 - len(rows), 0.85))
    axes.yaxis.set_visible(False)
    axes.grid(axis="x")
    finish(figure, axes, axes.xaxis)
    return figure


@rc_context(RC)
def intervals(rows: Sequence[tuple[str, float, tuple, float, float]]) -> Figure:
    """A bar per corpus with the interval around its end, and marks beside it.

    `rows`, from the top: name, UA, its interval (low, high), UA adjusted for priors, UA
    of guessing; fractions.
    """
    height_in = (40 * len(rows) + 120) / 72  # points: rows; axis and legend
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = figure.add_subplot()
    ring = {"marker": "o", "ms": 8, "mfc": "white", "mec": INK, "mew": 1.6, "zorder": 4}
    tick = {"marker": "|", "ms": 20, "mew": 3, "color": VERMILION, "zorder": 3}
    bar, line = {"lw": 12, "color": BLUE}, {"lw": 2, "color": INK}
    for label, style in (("UA", bar | {"lw": 8}), ("95 % interval", line)):
        axes.plot([], [], label=label, **style)
    axes.plot([], [], ls="", label="UA, adjusted", **ring)
    axes.plot([], [], ls="", label="chance", **tick | {"ms": 12})
    for number, (name, ua, ends, adjusted, chance) in enumerate(rows):
        y, name = -number, one_line(name)
        place = {"transform": axes.get_yaxis_transform(), "va": "center"}
        axes.text(0.0, y + 0.5, name, color=INK, **place)
        span = f"{name}: UA {ua:.1%}, {ends[0]:.1%} to {ends[1]:.1%}"
        plot(axes, (0, ua), (y, y), span, solid_capstyle="butt", **bar)
        plot(axes, ends, (y, y), span, **line)
        plot(axes, chance, y, f"{name}: chance {chance:.1%}", **tick)
        plot(axes, adjusted, y, f"{name}: adjusted {adjusted:.1%}", **ring)
    axes.set(xlabel="UA, %", xlim=(0, 1), ylim=(0.4 - len(rows), 0.85))
    axes.yaxis.set_visible(False)
    axes.grid(axis="x")
    finish(figure, axes, axes.xaxis)
    return figure


@rc_context(RC)
def spans(rows: Sequence[tuple], axis: str, marks: tuple[str, str]) -> Figure:
    """A dot and a line around it per row, under its name.

    `rows`, from the top: name, value, (low, high), what pointing at it shows. `marks`
    name dot and line in the legend.
    """
    height_in = (40 * len(rows) + 90) / 72  # points: rows; axis and legend
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = figure.add_subplot()
    dot = {"marker": "o", "ms": 10, "mec": "white", "color": BLUE, "zorder": 3}
    axes.plot([], [], ls="", label=marks[0], **dot)
    axes.plot([], [], lw=3, color=BLUE, label=marks[1])
    for number, (name, value, ends, tip) in enumerate(rows):
        place = {"transform": axes.get_yaxis_transform(), "va": "center"}
        axes.text(0.0, 0.5 - number, one_line(name), color=INK, **place)
        plot(axes, ends, (-number, -number), tip, lw=3, color=BLUE)
        plot(axes, value, -number, tip, **dot)
    axes.set(xlabel=axis, ylim=(0.4 - len(rows), 0.85))
    axes.yaxis.set_visible(False)
    axes.grid(axis="x")
    finish(figure, axes)
    return figure


@rc_context(RC)
def durations(bins: Sequence[tuple[float, float, float, float]]) -> Figure:
    """UA and WA by duration; `bins`: shortest and longest in seconds, UA, WA."""
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
    axes = figure.add_subplot()
    line = {"lw": 3, "color": BLUE}
    dots = {"lw": 3, "color": VERMILION, "ls": _DOTTED}
    axes.plot([], [], label="UA", **line)
    axes.plot([], [], label="WA", **dots)
    longest_s = max(high for _, high, _, _ in bins)
    room_s = longest_s / 150  # recordings of one length would be no line at all
    for low, high, ua, wa in bins:
        ends, lengths = (low - room_s, high + room_s), f"{low:.2f} to {high:.2f} s"
        plot(axes, ends, (wa, wa), f"{lengths}: WA {wa:.2%}", **dots)
        plot(axes, ends, (ua, ua), f"{lengths}: UA {ua:.2%}", **line)
    axes.set(xlabel="duration, s", title="score, %", xlim=(0, longest_s or 1))
    finish(figure, axes, axes.yaxis)
    return figure


def one_line(text: str) -> str:
    """A name cut to the width, without control characters, which SVG does not know."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def _page_style(style: str) -> str:
    style = re.sub(r"font-family: [^;]*;? ?", "", style)  # the page has its own
    for colour, variable in PAGE_COLOURS.items():
        style = style.replace(colour.lower(), f"var({variable})")
    return style


def _name_classes(axes, names, support):
    rows = [
        f"{name}\nn = {number}" + ("" if number else " (no recall)")
        for name, number in zip(names, support, strict=True)
    ]
    turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    crowded = len(names) > 5 or max(map(len, names)) > 9
    axes.set_xticks(range(len(names)), names, **(turned if crowded else {}))
    axes.set_yticks(range(len(names)), rows)
    for axis in (axes.xaxis, axes.yaxis):  # white lines between the cells
        axis.set_ticks(np.arange(len(names) - 1) + 0.5, minor=True)
        axis.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true")


def _set_title(figure, results, second_line):
    rules = results["protocol"]
    parts = [f"{key} {rules[key]}" for key in ("subset", "split") if key in rules]
    first_line = "  ·  ".join([results["model"], results["corpus"], *parts])
    warned = [f"[ {stamp} ]" for stamp in stamps(results)]
    title = "\n".join([first_line, second_line, *warned])
    figure.suptitle(title, fontsize=11, color=INK)


def _draw_curves(figure, name, series, chance):
    axes = figure.add_subplot()
    for curve in series:
        training = curve.key.startswith("train")
        colour, dashes = (BLUE, DASHED) if training else (VERMILION, "-")
        style = {"color": colour, "ls": dashes}
        axes.plot([], [], lw=2.8, label=curve.label, **style)
        for run in curve.runs:
            plot(axes, list(run), list(run.values()), lw=1, alpha=0.45, **style)
        mean = curve.mean
        plot(axes, list(mean), list(mean.values()), lw=2.8, zorder=3, **style)
    ring = {"mfc": "white", "mec": VERMILION, "mew": 1.6, "ms": 7, "zorder": 4}
    rings = [point for curve in series for point in curve.scored]
    over = series[0].axis
    if rings:
        axes.plot([], [], "o", label=f"{over} scored", **ring)
    for place, score in rings:
        tip = f"{over} {round(place, 2)}: {score:.2%}"
        plot(axes, place, score, tip, marker="o", **ring)
    scored = name == "UA"
    low, high = axes.get_ylim()
    if scored and low <= chance <= high:  # far away it would squeeze the curves
        axes.axhline(chance, color=GREY, lw=1, ls=":")
        place = {"transform": axes.get_yaxis_transform(), "ha": "right"}
        axes.text(1.0, chance, "chance", color=GREY, va="bottom", **place)
    axes.set(xlabel=over, title="UA, %" if scored else name)
    finish(figure, axes, axes.yaxis if scored else None)
    # One epoch is one tick: two would need fractions.
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)


def _draw_scores(axes, y, name, values, summary, published):
    name = one_line(name)
    place = {"transform": axes.get_yaxis_transform(), "va": "center"}
    # Above its marks, not beside them: a phone has no room for names on the left.
    axes.text(0.0, y + 0.5, name, color=INK, **place)
    tick = {"marker": "|", "mew": 3}
    if published is not None:
        tip = f"{name}: {published:.2%}"
        plot(axes, published, y, tip, ms=18, color=VERMILION, **tick)
    if summary["mean"] is not None:
        mean, std = summary["mean"], deviation(summary) or 0.0
        ends = max(mean - std, 0.0), min(mean + std, 1.0)  # scores end there
        tip = f"{name}: {mean:.2%} ± {std:.2%}"
        plot(axes, ends, (y, y), tip, lw=3, color=BLUE)
        plot(axes, mean, y, tip, ms=14, color=BLUE, **tick)
    dot = {"marker": "o", "ms": 8, "color": GREY, "mec": "white", "zorder": 3}
    for value in values:
        if value is not None:
            plot(axes, value, y, f"one run: {value:.2%}", **dot)


def plot(axes, x, y, tip="", **style):
    """A line or mark that stays whole on the frame, and what pointing at it shows."""
    if np.size(x) == 1:  # a line of one point would be nothing
        style.setdefault("marker", ".")
    axes.plot(x, y, clip_on=False, gid=TIP + tip if tip else None, **style)


def finish(figure, axes, percent_axis=None):
    """What all charts have in common: no frame, few ticks, a legend below."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.locator_params(nbins=5, steps=[1, 2, 5, 10])
    if percent_axis:
        percent_axis.set_major_formatter(lambda share, _: f"{100 * share:g}")
    figure.legend(loc="outside lower left", ncols=2)
