"""Pictures of a test part: the deletion test, and the classes' mean maps."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ser_jax import figure_style
from ser_jax.explain import deletion, deletion_report
from ser_jax.explain.corpus import BINS, ClassPictures, RunScores
from ser_jax.explain.recording_figure import BandAxis, colour_bar, png, shading
from ser_jax.features.spec import FeatureSpec

# Okabe & Ito's colours; conditions differ in marker and dashes as well.
_STYLES = {
    deletion.ATTENDED: {"color": "#D55E00", "ls": "-", "marker": "o"},
    deletion.SALIENT: {"color": "#CC79A7", "ls": (0, (1, 1.2)), "marker": "^"},
    deletion.RANDOM: {"color": "#0072B2", "ls": (0, (4, 1.5)), "marker": "s"},
    deletion.OTHER: {"color": "#56B4E9", "ls": (0, (6, 1.5, 1, 1.5)), "marker": "D"},
    deletion.LEAST: {"color": "#666666", "ls": "-", "marker": "v"},
}


def deletion_test(runs: Sequence[RunScores], title: str, num_classes: int) -> bytes:
    """UA against the share of hidden cells, and the drops beyond random ones; PNG."""
    with rc_context(figure_style.RC):
        figure = Figure(figsize=(9.6, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _curves(left, runs, num_classes)
        _beyond(right, runs)
        figure.suptitle(title, fontsize=10.5, color=figure_style.INK)
        return png(figure)


def _curves(axes, runs, num_classes: int) -> None:
    shares = [0.0, *deletion.SHARES]
    plain = [run.plain for run in runs]
    for condition, style in _STYLES.items():
        columns = [deletion_report.mean_ua(runs, condition, s) for s in deletion.SHARES]
        values = np.array([plain, *columns])
        mean = values.mean(axis=1)
        axes.plot(shares, mean, **style, lw=1.8, ms=5, label=condition)
        if len(runs) > 1 and condition in (deletion.ATTENDED, deletion.RANDOM):
            std = values.std(axis=1, ddof=1)
            band = {"color": style["color"], "alpha": 0.13, "lw": 0}
            axes.fill_between(shares, mean - std, mean + std, **band)
    axes.axhline(1 / num_classes, color=figure_style.GREY, lw=1, ls=":")
    axes.text(0, 1 / num_classes, "chance", ha="left", va="top", fontsize=8.5)
    axes.set_xticks(shares)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("cells of every window that are hidden")
    axes.set_ylabel("UA on the test parts, mean of runs")
    axes.set_ylim(bottom=0)
    axes.legend(
        edgecolor="none",
        framealpha=0.9,
        fontsize=9,
        title="hidden cells (bands: ± std of runs)",
        title_fontsize=9,
        handlelength=3.2,
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)


def _beyond(axes, runs) -> None:
    """Every run's drop beyond random and moved cells, and their mean."""
    rng = np.random.default_rng(0)
    for offset, against in ((-0.17, deletion.RANDOM), (0.17, deletion.OTHER)):
        style = _STYLES[against]
        for i, share in enumerate(deletion.SHARES):
            other = deletion_report.mean_ua(runs, against, share)
            own = deletion_report.mean_ua(runs, deletion.ATTENDED, share)
            gains = 100 * (np.array(other) - own)
            spread = rng.uniform(-0.07, 0.07, len(gains))
            dots = {"color": style["color"], "marker": style["marker"], "ls": ""}
            label = f"beyond {against}" if i == 0 else None
            axes.plot(i + offset + spread, gains, **dots, ms=4, alpha=0.7, label=label)
            bar = [i + offset - 0.13, i + offset + 0.13]
            axes.plot(bar, [gains.mean()] * 2, color=figure_style.INK, lw=2)
    axes.axhline(0, color=figure_style.GREY, lw=1)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.3 * (high - low))  # for the legend
    axes.set_xticks(range(len(deletion.SHARES)), [f"{s:.0%}" for s in deletion.SHARES])
    axes.set_xlabel("cells hidden")
    axes.set_ylabel("extra drop of UA by attended cells (points)")
    axes.legend(
        frameon=False,
        fontsize=8.5,
        title="a dot per run, bar: mean",
        title_fontsize=8.5,
    )
    axes.spines[["top", "right"]].set_visible(False)


def classes(
    pictures: ClassPictures, names: Sequence[str], spec: FeatureSpec, title: str
) -> bytes:
    """Mean features, attention and saliency of every true class; PNG."""
    shown = [k for k, count in enumerate(pictures.utterances) if count]
    means = [pictures.mean(k) for k in shown]
    rows = [row for row in ("features", "attention", "saliency") if row in means[0]]
    with rc_context(figure_style.RC):
        size = (2.2 + 2.1 * len(shown), 1.5 + 1.9 * len(rows))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(rows), len(shown), squeeze=False, sharex=True)
        for axes_row, row in zip(grid, rows, strict=True):
            _class_row(figure, axes_row, [x[row] for x in means], row, pictures, spec)
        for axes in grid[-1]:
            axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        for axes, k in zip(grid[0], shown, strict=True):
            axes.set_title(f"{names[k]} (n = {pictures.utterances[k]})", fontsize=10)
        figure.supxlabel("time, as a share of the utterance", fontsize=10)
        figure.suptitle(title, fontsize=10.5, color=figure_style.INK)
        return png(figure)


def _class_row(figure, axes_row, values, row: str, pictures, spec) -> None:
    """One kind of map for all classes, on one scale."""
    labels = {
        "features": "features\n(z-score)",
        "attention": "attention\n(× even)",
        "saliency": "saliency of the\nanswer (× mean)",
    }
    if row == "saliency":
        scale = np.nanmean(np.stack(values)) or 1.0
        values = [x / scale for x in values]
    stacked = np.stack(values)
    edges = np.linspace(0, 1, BINS + 1)
    if row == "attention" and len(pictures.bands) == 2:
        _class_curves(axes_row, stacked[:, 0], edges, labels[row])
        return
    bands = pictures.bands if row == "attention" else range(spec.num_bands + 1)
    look = shading(stacked, row)
    if row == "features":
        top = float(np.nanquantile(np.abs(stacked), 0.995))
        look |= {"vmin": -top, "vmax": top}
    for axes, found in zip(axes_row, values, strict=True):
        found = np.ma.masked_invalid(found)
        image = axes.pcolormesh(edges, np.array(bands), found, **look)
        BandAxis(spec).dress(axes, spec.num_bands)
        if axes is not axes_row[0]:
            axes.set_ylabel("")
            axes.tick_params(labelleft=False)
    colour_bar(figure, image, axes_row, stacked, labels[row])


def _class_curves(axes_row, values, edges, label: str) -> None:
    top = max(1.2, 1.05 * float(np.nanmax(values)))
    for axes, found in zip(axes_row, values, strict=True):
        axes.stairs(found, edges, fill=True, color=figure_style.BLUE, alpha=0.25)
        axes.stairs(found, edges, color=figure_style.BLUE, lw=1.5, baseline=None)
        axes.axhline(1, color=figure_style.GREY, lw=1, ls=":")
        axes.set_ylim(0, top)
        axes.tick_params(labelleft=axes is axes_row[0])
    axes_row[0].set_ylabel(label)
