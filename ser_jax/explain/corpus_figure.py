"""Figures of the test parts: the deletion test, and the classes' mean maps."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ser_jax import figure_style
from ser_jax.explain import deletion
from ser_jax.explain.corpus import BINS, ClassMaps
from ser_jax.explain.deletion import RunScores
from ser_jax.explain.recording_figure import (
    add_color_bar,
    color_scale,
    draw_map,
    draw_steps,
    finish,
)
from ser_jax.predict.trained_model import TrainedModel

# Okabe & Ito's colours; conditions differ in marker and dashes as well.
_STYLES = {
    deletion.ATTENDED: {"color": "#D55E00", "ls": "-", "marker": "o"},
    deletion.SALIENT: {"color": "#CC79A7", "ls": (0, (1, 1.2)), "marker": "^"},
    deletion.RANDOM: {"color": "#0072B2", "ls": (0, (4, 1.5)), "marker": "s"},
    deletion.OTHER: {"color": "#56B4E9", "ls": (0, (6, 1.5, 1, 1.5)), "marker": "D"},
    deletion.LEAST: {"color": "#666666", "ls": "-", "marker": "v"},
}
_LABELS = {
    "features": "features\n(z-score)",
    "attention": "attention\n(× even)",
    "saliency": "saliency of the\nanswer (× mean)",
}


@rc_context(figure_style.RC)
def draw_deletion_test(runs: Sequence[RunScores], trained: TrainedModel) -> bytes:
    """UA against the share of hidden cells, and the drops beyond the controls'; PNG."""
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_ua(left, runs, len(trained.classes))
    _draw_drops(right, runs)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    title = "deletion test: UA when cells of the attention grid are hidden"
    return finish(figure, f"{trained.description()}\n{title}")


def _draw_ua(axes, runs: Sequence[RunScores], num_classes: int) -> None:
    shares = [0.0, *deletion.SHARES]
    for condition, style in _STYLES.items():
        values = np.array([[run.plain, *run.curve(condition)] for run in runs])
        mean = values.mean(axis=0)
        axes.plot(shares, mean, **style, lw=1.8, ms=5, label=condition)
        # Two bands alone: five of them would hide one another.
        if len(runs) > 1 and condition in (deletion.ATTENDED, deletion.RANDOM):
            std = values.std(axis=0, ddof=1)
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
    title = {"title": "hidden cells (bands: ± std of runs)", "title_fontsize": 9}
    axes.legend(edgecolor="none", framealpha=0.9, fontsize=9, handlelength=3.2, **title)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)


def _draw_drops(axes, runs: Sequence[RunScores]) -> None:
    """Every run's drop beyond random and another recording's cells, and their mean."""
    rng = np.random.default_rng(0)  # spreads dots that would cover one another
    for offset, control in ((-0.17, deletion.RANDOM), (0.17, deletion.OTHER)):
        style = _STYLES[control]
        by_share = 100 * np.transpose([run.drops_beyond(control) for run in runs])
        for i, drops in enumerate(by_share):
            spread = rng.uniform(-0.07, 0.07, len(drops))
            dots = {"color": style["color"], "marker": style["marker"], "ls": ""}
            label = f"beyond {control}" if i == 0 else None
            axes.plot(i + offset + spread, drops, **dots, ms=4, alpha=0.7, label=label)
            bar = [i + offset - 0.13, i + offset + 0.13]
            axes.plot(bar, [drops.mean()] * 2, color=figure_style.INK, lw=2)
    axes.axhline(0, color=figure_style.GREY, lw=1)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    axes.set_xticks(range(len(deletion.SHARES)), [f"{s:.0%}" for s in deletion.SHARES])
    axes.set_xlabel("cells hidden")
    axes.set_ylabel("extra drop of UA by attended cells (points)")
    title = {"title": "a dot per run, bar: mean", "title_fontsize": 8.5}
    axes.legend(frameon=False, fontsize=8.5, **title)


@rc_context(figure_style.RC)
def draw_classes(class_maps: ClassMaps, trained: TrainedModel) -> bytes:
    """Mean features, attention and saliency of every true class; PNG."""
    shown = [k for k, count in enumerate(class_maps.utterances) if count]
    means = [class_maps.maps[k].means() for k in shown]
    rows = [row for row in _LABELS if row in means[0]]
    size = (2.2 + 2.1 * len(shown), 1.5 + 1.9 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), len(shown), squeeze=False, sharex=True)
    for axes_row, row in zip(grid, rows, strict=True):
        values = np.stack([x[row] for x in means])
        _draw_class_row(axes_row, row, values, class_maps.bands, trained.spec)
    for axes in grid[-1]:
        axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    for axes, k in zip(grid[0], shown, strict=True):
        count = class_maps.utterances[k]
        axes.set_title(f"{trained.classes[k]} (n = {count})", fontsize=10)
    figure.supxlabel("time, as a share of the utterance", fontsize=10)
    title = "means over the test utterances of each true class, each run's own"
    return finish(figure, f"{trained.description()}\n{title}")


def _draw_class_row(axes_row, row: str, values: np.ndarray, bands, spec) -> None:
    """One kind of map [classes, rows, BINS] for all classes, on one scale."""
    edges = np.linspace(0, 1, BINS + 1)
    if row == "attention" and len(bands) == 2:  # over time alone
        top = max(1.2, 1.05 * float(np.nanmax(values)))
        for axes, curve in zip(axes_row, values[:, 0], strict=True):
            draw_steps(axes, curve, edges)
            axes.set_ylim(0, top)
            axes.label_outer()
        axes_row[0].set_ylabel(_LABELS[row])
        return
    if row == "saliency":
        values = values / (np.nanmean(values) or 1.0)
    scale = color_scale(values, row)
    if row == "features":  # z-scores: 0 in the middle
        top = float(np.nanquantile(np.abs(values), 0.995))
        scale |= {"vmin": -top, "vmax": top}
    bands = bands if row == "attention" else range(spec.num_bands + 1)
    for axes, own in zip(axes_row, values, strict=True):
        image = draw_map(axes, spec, edges, bands, own, scale)
        axes.label_outer()
    add_color_bar(axes_row, image, values, _LABELS[row])
