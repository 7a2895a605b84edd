"""Pictures of a workdir: confusion matrix and learning curves, as PNG.

Drawn with matplotlib's Agg canvas without pyplot, so no display and no global state.
Colours are colour-blind safe: one hue for the matrix, blue and vermilion of Okabe & Ito
for the curves, which differ in line style as well.
"""

import io

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ser_jax import figure_style
from ser_jax.report import analysis, phrases
from ser_jax.scoring import metrics
from ser_jax.workdir.results import write_atomically


def confusion(results, path) -> None:
    """Draws the pooled confusion matrix.

    A cell's colour is the share of its true class (row); it shows that share in percent
    and the count. The diagonal is the recall of the class.

    Args:
      results: Content of results.json.
      path: The PNG to write.
    """
    counts = np.array(results["pooled"]["confusion"], np.int64)
    support = counts.sum(axis=1)
    shares = counts / np.maximum(support, 1)[:, None]
    size = len(counts)
    with rc_context(figure_style.RC):
        side = 0.85 * max(size, 4) + 1.0
        figure = Figure(figsize=(side + 2.0, side + 1.0), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(size, size):
            _write_cell(axes, row, column, shares[row, column], counts[row, column])
        _name_axes(axes, results["classes"], support)
        bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        bar.outline.set_visible(False)
        bar.set_label("share of the true class (diagonal: recall)")
        ua, wa = metrics.unweighted_accuracy(counts), metrics.weighted_accuracy(counts)
        score = f"pooled UA {ua:.1%}, WA {wa:.1%}, n = {support.sum()}"
        _title(figure, results, score)
        _save(figure, path)


def learning_curves(results, lines, path) -> bool:
    """Draws loss and UA over epochs: one thin line per run, a thick one for the mean.

    The mean stops at the last epoch that every run reached, so that early stopping does
    not bend it. A dot marks the epoch each run was scored at.

    Args:
      results: Content of results.json.
      lines: Entries of metrics.jsonl (`results.read_metrics`): `epoch, fold, seed` and
        any of `train_loss, val_loss, val_ua`; `test_loss, test_ua` in paper mode.
      path: The PNG to write.

    Returns:
      False, and no file, if there is nothing to draw.
    """
    panels = analysis.curves(results, lines)
    if not panels:
        return False
    with rc_context(figure_style.RC):
        figure = Figure(figsize=(1.0 + 4.6 * len(panels), 4.3), layout="constrained")
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (name, found) in zip(row, panels.items(), strict=True):
            for series in found:
                _curves(axes, series)
            _dress(axes, name, found, results)
        runs = max(len(series.runs) for found in panels.values() for series in found)
        count = f"{runs} runs" if runs > 1 else "1 run"
        _title(figure, results, f"learning curves, {count} and their mean")
        _save(figure, path)
    return True


def _name_axes(axes, names, support):
    rows = [
        f"{name}\nn = {number}" + ("" if number else " (no recall)")
        for name, number in zip(names, support, strict=True)
    ]
    turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    crowded = len(names) > 5 or max(map(len, names)) > 9
    axes.set_xticks(range(len(names)), names, **(turned if crowded else {}))
    axes.set_yticks(range(len(names)), rows)
    axes.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def _write_cell(axes, row, column, share, count):
    colour = "white" if share > 0.55 else figure_style.INK
    weight = "bold" if row == column else "normal"
    centred = {"ha": "center", "va": "center", "color": colour}
    share = f"{share:.0%}"
    axes.text(column, row - 0.1, share, fontsize=12, weight=weight, **centred)
    axes.text(column, row + 0.2, str(count), fontsize=8.5, **centred)


def _title(figure, results, second_line):
    protocol = results["protocol"]
    parts = [results["model"], results["corpus"]]
    parts += [
        f"{key} {protocol[key]}" for key in ("subset", "split") if key in protocol
    ]
    text = "  ·  ".join(parts) + f"\n{second_line}"
    if said := phrases.stamps(results):
        text += "".join(f"\n[ {stamp} ]" for stamp in said)
    figure.suptitle(text, fontsize=11, color=figure_style.INK)


def _style(key):
    """Training is blue and dashed, what it is judged on vermilion and solid."""
    return (
        (figure_style.BLUE, (0, (4, 1.5)))
        if key.startswith("train")
        else (figure_style.VERMILION, "-")
    )


def _curves(axes, series):
    colour, dashes = _style(series.key)
    for run in series.runs:
        epochs, values = list(run), list(run.values())
        axes.plot(epochs, values, color=colour, lw=0.8, alpha=0.4, ls=dashes)
    for dot in series.scored:
        axes.plot(*dot, "o", ms=5, mfc="white", mec=colour, mew=1.4, zorder=4)
    if series.mean:
        epochs, values = list(series.mean), list(series.mean.values())
        axes.plot(epochs, values, color=colour, lw=2.4, ls=dashes, zorder=3)


def _dress(axes, name, found, results):
    handles = []
    for series in found:
        colour, dashes = _style(series.key)
        line = Line2D([], [], color=colour, lw=2.4, ls=dashes, label=series.label)
        handles.append(line)
    if analysis.CHOOSES & {series.key for series in found}:
        dot = {
            "marker": "o",
            "ls": "",
            "mfc": "white",
            "mec": figure_style.VERMILION,
            "mew": 1.4,
        }
        handles.append(Line2D([], [], **dot, label="epoch scored"))
    axes.legend(handles=handles, frameon=False, fontsize=9)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss" if name == "loss" else "UA (mean of class recalls)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    if name == "UA":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        chance = 1 / len(results["classes"])
        axes.axhline(chance, color=figure_style.GREY, lw=1, ls=":")
        right = axes.get_yaxis_transform()
        where = {"transform": right, "ha": "right", "va": "bottom"}
        axes.text(
            0.995, chance, "chance", fontsize=8.5, color=figure_style.GREY, **where
        )


def _save(figure, path):
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=figure_style.DPI, facecolor="white")
    write_atomically(path, png.getvalue())
