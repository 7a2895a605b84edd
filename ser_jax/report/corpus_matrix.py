"""The section on several corpora: who was trained and tested on what, and how it went."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ser_jax import figure_style
from ser_jax.figure_style import GREY, INK
from ser_jax.report import document, figures
from ser_jax.report.diagnostics import recall_cells
from ser_jax.report.document import TEXTS, Table, plain
from ser_jax.report.score_table import percent

MATRIX_PNG = "figures/corpora.png"
_GIVES_AWAY = 0.9  # accuracy of the probe from which the report warns
_TEXTS = TEXTS["corpus_matrix"]


def blocks(results: Mapping) -> list:
    """What the section says; `results` is the content of results.json."""
    cells, probe = results["corpora"]["cells"], results["corpora"]["probe"]
    rows = list(_rows(results))
    header = ("trained on", "tested on", "n", "chance %", "UA %", "95 % interval")
    header += ("UA adjusted %", "WA %", *(f"{x} %" for x in results["classes"]))
    return [
        _TEXTS["matrix"],
        document.Figure(
            "UA by trained and tested corpora",
            lambda: [figures.svg(matrix(results), "UA by trained and tested corpora")],
            MATRIX_PNG,
        ),
        Table([header, *rows], "Scores by trained and tested corpora", words=2),
        _TEXTS["table"],
        _priors(cells, results["classes"]),
        *([_probe(probe)] if probe else []),
    ]


def labels(counts: Sequence[Mapping]) -> Table:
    """Which label of which corpus became which class, and which were left out."""
    rows = [("corpus", "label", "used as", "utterances")]
    rows += [
        (plain(x["corpus"]), plain(x["label"]), plain(x["used_as"] or "–"), x["count"])
        for x in counts
    ]
    return Table(rows, "Labels and their classes; – is left out", words=3)


def _trained(cell: Mapping, cells: Sequence[Mapping]) -> str:
    """Names of the corpora; those that are missing where these are fewer."""
    known = {x for other in cells for x in (*other["train"], other["test"])}
    missing = sorted(known.difference(cell["train"]))
    if len(cell["train"]) < 3 or len(missing) > 1:
        return " + ".join(cell["train"])
    return f"all but {missing[0]}" if missing else "all"


def _rows(results: Mapping):
    cells = results["corpora"]["cells"]
    for cell in cells:
        low, high = cell["ua_interval"]
        recalls = [cell["recalls"].get(x, float("nan")) for x in results["classes"]]
        adjusted = cell["logit_adjusted"]["ua"]
        over = "" if cell["interval_over"] == "speakers" else "*"
        yield (
            plain(_trained(cell, cells)),
            plain(cell["test"]) + (_TEXTS["own"] if cell["own"] else ""),
            cell["n"],
            percent(cell["chance"]),
            *recall_cells([cell["ua"]]),
            f"{percent(low)} to {percent(high)}{over}",
            *recall_cells([adjusted, cell["wa"], *recalls]),
        )


def _priors(cells: Sequence[Mapping], classes: Sequence[str]) -> Table:
    rows = [("trained on", "tested on", *classes)]
    for cell in cells:
        shares = [
            f"{percent(cell['prior_source'][x])} / {percent(cell['prior_target'][x])}"
            for x in classes
        ]
        rows.append((plain(_trained(cell, cells)), plain(cell["test"]), *shares))
    return Table(rows, "Shares of the classes, trained / tested, percent", words=2)


def _probe(probe: Mapping) -> str:
    # Older workdirs do not say what was unknown.
    text = _TEXTS["probe"].format(**({"unknown": "recordings"} | probe))
    return text + (_TEXTS["gives_away"] if probe["accuracy"] >= _GIVES_AWAY else "")


@rc_context(figure_style.RC)
def matrix(results: Mapping) -> Figure:
    """UA of every pair of trained and tested corpora, and the mean over other corpora.

    A training's own corpus, of which it is tested on other speakers, is framed and
    counts in no mean.
    """
    cells = results["corpora"]["cells"]
    rows = list(dict.fromkeys(_trained(cell, cells) for cell in cells))
    columns = sorted({cell["test"] for cell in cells})
    shares = np.full((len(rows), len(columns)), np.nan)
    own = np.zeros(shares.shape, bool)
    for cell in cells:
        at = rows.index(_trained(cell, cells)), columns.index(cell["test"])
        shares[at], own[at] = cell["ua"], cell["own"]
    width_in = max(figures.WIDTH_IN, 2.2 + 0.75 * (len(columns) + 1))
    size = width_in, 1.5 + 0.5 * len(rows)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    style = {"ha": "center", "va": "center"}
    for (row, column), share in np.ndenumerate(shares):
        if np.isnan(share):
            axes.text(column, row, "–", color=GREY, **style)
            continue
        colour = "white" if share > 0.55 else INK
        axes.text(column, row, f"{share:.1%}", color=colour, **style)
        if own[row, column]:
            _frame(axes, column, row, colour)
    names = [figures.one_line(name)[:16] for name in columns]
    elsewhere = np.where(own, np.nan, shares)
    if (~np.isnan(elsewhere)).sum(axis=1).max() > 1:
        names.append("mean of others" if own.any() else "mean")
        for row in range(len(rows)):
            if not np.isnan(elsewhere[row]).all():
                mean = np.nanmean(elsewhere[row])
                axes.text(len(columns), row, f"{mean:.1%}", color=INK, **style)
    _describe(axes, names, rows, cells)
    return figure


def _frame(axes, column: int, row: int, colour: str) -> None:
    style = {"fill": False, "ls": "--", "lw": 1.5, "ec": colour}
    axes.add_patch(Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, **style))


def _describe(axes, columns, rows, cells) -> None:
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), [figures.one_line(x)[:32] for x in rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    chances = sorted({cell["chance"] for cell in cells})  # higher where a class lacks
    chance = " to ".join(f"{x:.1%}" for x in dict.fromkeys((chances[0], chances[-1])))
    axes.set(xlabel="tested on", ylabel="trained on", title=f"UA; chance {chance}")
    axes.title.set(size=10, color=GREY)
