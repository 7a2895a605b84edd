"""Figures show what they should: as PNG, and as elements of a page."""

import io
import re

import matplotlib.image
import numpy as np
import pytest

from ser_jax import figure_style
from ser_jax.figure_style import BLUE, GREY, VERMILION
from ser_jax.report import analysis, figures
from ser_jax.report.analysis import Series
from tests.report.page import Page

CLASSES = ["anger", "boredom", "happiness"]
RESULTS = {
    "corpus": "emodb",
    "corpus_is_synthetic": False,
    "paper_mode": False,
    "protocol": {"subset": "all", "split": "group"},
    "model": "area_attn",
    "classes": CLASSES,
    "runs": [
        {"fold": "g1", "seed": 0, "best_epoch": 2},
        {"fold": "g2", "seed": 0, "best_epoch": None},
    ],
    "pooled": {"confusion": [[7, 2, 1], [0, 0, 0], [11, 0, 5]]},
}
LINES = [
    {
        "epoch": epoch,
        "fold": fold,
        "seed": 0,
        "val_ua": 0.4 + 0.1 * epoch,
        "train_loss": 1.0 / epoch,
        "val_loss": 1.1 / epoch,
    }
    for fold in ("g1", "g2")
    for epoch in range(1, 4 if fold == "g1" else 6)
]


def _curves(results=RESULTS, lines=LINES):
    panels = analysis.curves(results, lines)
    return figures.learning_curves(panels, results, titled=True)


def _marks(axes, colour, **properties):
    """Lines of a colour and of some properties, but for those of the legend."""
    return [
        line
        for line in axes.lines
        if len(line.get_xdata())
        and line.get_color() == colour
        and all(getattr(line, f"get_{k}")() == v for k, v in properties.items())
    ]


def _legend(part):
    return [text.get_text() for text in part.legends[0].get_texts()]


def _texts(axes):
    return [text.get_text() for text in axes.texts]


def _check_png(figure, least=(500, 500)):
    content = figure_style.png(figure)
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    pixels = matplotlib.image.imread(io.BytesIO(content))[..., :3]
    assert least[0] < pixels.shape[0] < 3000
    assert least[1] < pixels.shape[1] < 3000
    assert pixels.std() > 0.03  # a blank page has 0
    assert (pixels.min(axis=-1) > 0.99).mean() > 0.2  # white paper around it


def test_confusion_shows_counts_recalls_and_names():
    figure = figures.confusion(RESULTS)
    _check_png(figure)
    axes = figure.axes[0]
    assert {"70%", "20%", "7", "2", "69%", "11"} <= set(_texts(axes))
    assert [label.get_text() for label in axes.get_xticklabels()] == CLASSES
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == ["anger\nn = 10", "boredom\nn = 0 (no recall)", "happiness\nn = 16"]
    title = figure.get_suptitle()
    # UA = (7/10 + 5/16) / 2 over the two classes that occur; WA = 12/26.
    assert "UA 50.6%, WA 46.2%, n = 26" in title
    assert "emodb" in title
    assert "split group" in title
    assert "synthetic" not in title
    assert "paper mode" not in title


def test_many_classes_and_odd_names_fit():
    names = [f"emotion{number}" for number in range(6)] + ["costs $5_$6"]
    pooled = {"confusion": np.diag(np.arange(1, 8)).tolist()}
    _check_png(figures.confusion(RESULTS | {"classes": names, "pooled": pooled}))


@pytest.mark.parametrize(
    ("change", "stamp"),
    [
        ({"corpus_is_synthetic": True}, "synthetic corpus"),
        ({"paper_mode": True}, "paper mode: epoch chosen on test data"),
    ],
)
def test_both_files_carry_the_stamps(change, stamp):
    results = RESULTS | change
    for figure in (figures.confusion(results), _curves(results)):
        assert stamp in figure.get_suptitle()


def test_curves_have_a_line_per_run_a_mean_and_the_scored_epoch():
    figure = _curves()
    _check_png(figure)
    loss, ua = figure.axes
    for colour in (BLUE, VERMILION):  # training and validation: two runs, one mean
        assert len(_marks(loss, colour)) == 2 + 1
    runs = _marks(ua, VERMILION, linewidth=1)
    assert sorted(len(line.get_xdata()) for line in runs) == [3, 5]
    (mean,) = _marks(ua, VERMILION, linewidth=2.8)
    np.testing.assert_array_equal(mean.get_xdata(), [1, 2, 3])  # that both reached
    np.testing.assert_allclose(mean.get_ydata(), [0.5, 0.6, 0.7])
    (ring,) = [line for line in ua.lines if line.get_marker() == "o" and line.get_gid()]
    assert (*ring.get_xdata(), *ring.get_ydata()) == (2, pytest.approx(0.6))
    assert ring.get_gid().endswith("epoch 2: 60.00%")
    assert _legend(figure.subfigs[0]) == ["training", "validation"]
    assert _legend(figure.subfigs[1]) == ["validation", "epoch scored"]
    assert "chance" not in _texts(ua)  # a third lies below what was measured
    assert ua.xaxis.get_major_formatter()(3) and ua.get_xlim()[0] < 1
    assert ua.yaxis.get_major_formatter()(0.7) == "70"
    assert "2 runs and their mean" in figure.get_suptitle()


def test_chance_is_a_score_and_one_epoch_can_be_drawn():
    loss = Series("train_loss", "training", ({1: 0.3}, {1: 0.4}), {1: 0.35}, ())
    ua = Series("val_ua", "validation", ({1: 0.3}, {1: 0.4}), {1: 0.35}, ())
    panels = {"loss": [loss], "UA": [ua]}
    figure = figures.learning_curves(panels, RESULTS, titled=False)
    assert [_texts(axes) for axes in figure.axes] == [[], ["chance"]]
    (chance,) = _marks(figure.axes[1], GREY)
    assert chance.get_ydata()[0] == pytest.approx(1 / 3)
    assert [line.get_marker() for line in _marks(figure.axes[0], BLUE)] == ["."] * 3
    figure_style.png(figure)  # draws the ticks
    low, high = figure.axes[0].get_xlim()
    ticks = [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high]
    assert ticks == [1]


def test_paper_mode_does_not_call_the_test_part_validation():
    lines = [{k.replace("val_", "test_"): v for k, v in e.items()} for e in LINES]
    for part in _curves(RESULTS | {"paper_mode": True}, lines).subfigs:
        assert "test part" in _legend(part)
        assert "validation" not in _legend(part)


def test_curves_without_validation_have_one_panel():
    keys = ("epoch", "fold", "seed", "train_loss")
    figure = _curves(lines=[{key: line[key] for key in keys} for line in LINES])
    _check_png(figure, least=(500, 400))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss"]


def test_null_values_are_skipped():
    lines = [line | {"val_ua": None} for line in LINES[:3]] + LINES[3:]
    runs = _marks(_curves(lines=lines).axes[1], VERMILION, linewidth=1)
    assert [len(line.get_xdata()) for line in runs] == [5]


def test_scores_show_runs_mean_std_and_the_published_one():
    rows = [
        ("one", [0.4, 0.6, None], {"mean": 0.5, "std": 0.1}, 0.8),
        ("none", [None], {"mean": None, "std": None}, None),
    ]
    figure = figures.scores(rows, "UA, %", "paper")
    (axes,) = figure.axes
    assert _texts(axes) == ["one", "none"]
    runs = [line.get_xdata()[0] for line in _marks(axes, GREY)]
    assert runs == [0.4, 0.6]
    std, mean = _marks(axes, BLUE)
    np.testing.assert_allclose(std.get_xdata(), [0.4, 0.6])
    assert mean.get_xdata()[0] == 0.5
    assert std.get_gid().endswith("one: 50.00% ± 10.00%")
    (published,) = _marks(axes, VERMILION)
    assert published.get_xdata()[0] == 0.8
    assert _legend(figure) == ["one run", "mean ± std", "paper"]
    figure = figures.scores(rows[1:], "UA, %")  # nothing known: the row's name only
    assert _texts(figure.axes[0]) == ["none"]
    assert _legend(figure) == ["one run", "mean ± std"]


def test_durations_span_their_bins():
    figure = figures.durations([(1.0, 2.0, 0.5, 0.6), (3.0, 3.0, 0.9, 0.9)])
    first, last = _marks(figure.axes[0], BLUE)
    np.testing.assert_allclose(first.get_xdata(), [1.0, 2.0], atol=0.03)
    assert first.get_gid().endswith("1.00 to 2.00 s: UA 50.00%")
    low, high = last.get_xdata()
    assert high - low > 0.03  # one length is still seen
    assert [line.get_ydata()[0] for line in _marks(figure.axes[0], VERMILION)] == [
        0.6,
        0.9,
    ]


def test_an_svg_has_the_page_s_colours_texts_and_nothing_from_outside():
    name = '<b>"&\x1b\u3042\u0000$x$'
    rows = [(name, [0.5], {"mean": 0.5, "std": 0.1}, 0.4)]
    first, second = (
        figures.svg(figures.scores(rows, "UA, %", "paper"), f"alt <{number}>")
        for number in (1, 2)
    )
    assert first == figures.svg(figures.scores(rows, "UA, %", "paper"), "alt <1>")
    page = Page(first + second)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert ids and len(ids) == len(set(ids))
    assert {tag["aria-label"] for tag in page.named("svg")} == {"alt <1>", "alt <2>"}
    assert not {"style", "metadata", "b"} & {tag for tag, _ in page.tags}
    styles = " ".join(attributes.get("style", "") for _, attributes in page.tags)
    for variable in figures.PAGE_COLOURS.values():
        assert f"var({variable})" in styles
    assert not re.search(r"#\w|url|font-family", styles)
    assert '<b>"& \u3042 $x$' in page.text  # a letter that matplotlib's font lacks
    assert len(page.named("title")) == 2 * 4  # a run, the mean twice, the paper


def test_long_names_are_cut():
    assert figures.one_line("a" * 46) == "a" * 46
    assert figures.one_line("a" * 47) == "a" * 45 + "…"


def test_other_corpora_have_an_interval_chance_and_what_priors_cost():
    rows = [("a", 0.5, (0.4, 0.65), 0.55, 0.25), ("b", 0.2, (0.1, 0.3), 0.2, 0.5)]
    figure = figures.intervals(rows)
    _check_png(figure, least=(200, 500))
    (axes,) = figure.axes
    assert _texts(axes) == ["a", "b"]
    tips = [line.get_gid().removeprefix(figures.TIP) for line in axes.lines[4:]]
    assert tips[:4] == [
        *("a: UA 50.0%, 40.0% to 65.0%", "a: UA 50.0%, 40.0% to 65.0%"),
        *("a: chance 25.0%", "a: adjusted 55.0%"),
    ]
    bar, interval, chance, _ = axes.lines[4:8]
    assert [*bar.get_xdata()] == [0, 0.5] and [*interval.get_xdata()] == [0.4, 0.65]
    assert [*chance.get_xdata()] == [0.25] and axes.get_xlim() == (0, 1)
    assert _legend(figure) == ["UA", "95 % interval", "UA, adjusted", "chance"]
