"""Pictures of what probabilities mean."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from ser_jax.figure_style import BLUE, GREY, VERMILION
from ser_jax.report import figures


@rc_context(figures.RC)
def reliability(measured: Mapping[str, Mapping]) -> Figure:
    """Share of right decisions against confidence; a mark per bin, larger with more.

    `measured`: by name, one or two of `calibration.score`.
    """
    figure = Figure(
        figsize=(figures.WIDTH_IN, figures.HEIGHT_IN + 0.6), layout="constrained"
    )
    axes = figure.add_subplot()
    axes.plot((0, 1), (0, 1), color=GREY, lw=1, ls=":", label="calibrated")
    styles = ({"color": VERMILION, "ls": figures.DASHED}, {"color": BLUE, "ls": "-"})
    for (name, one), style in zip(measured.items(), styles, strict=False):
        bins, total = one["bins"], sum(x["n"] for x in one["bins"])
        places = [(x["confidence"], x["right"]) for x in bins]
        axes.plot(*zip(*places, strict=True), lw=2, label=name, **style)
        for (confidence, right), x in zip(places, bins, strict=True):
            size = 4 + 14 * np.sqrt(x["n"] / total)
            tip = f"{name}: {x['n']} of {confidence:.0%} sure, {right:.0%} right"
            dot = {"marker": "o", "ms": size, "mec": "white", "color": style["color"]}
            figures.plot(axes, confidence, right, tip, **dot)
    axes.set(xlabel="confidence, %", title="right, %", xlim=(0, 1), ylim=(0, 1))
    axes.grid(axis="both")
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}")
    figures.finish(figure, axes, axes.yaxis)
    return figure


@rc_context(figures.RC)
def coverage(points: Sequence[tuple[float, float]]) -> Figure:
    """UA against the share of decisions that is kept; `points`: (coverage, UA)."""
    figure = Figure(figsize=(figures.WIDTH_IN, figures.HEIGHT_IN), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*points, strict=True), lw=3, color=BLUE, label="UA")
    for share, ua in points:
        tip = f"{share:.0%} kept: UA {ua:.2%}"
        figures.plot(axes, share, ua, tip, marker="o", ms=8, mec="white", color=BLUE)
    axes.set(xlabel="decisions kept, the surest, %", title="UA, %")
    axes.invert_xaxis()
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}")
    figures.finish(figure, axes, axes.yaxis)
    return figure
