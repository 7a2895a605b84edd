"""Charts put values where their axes say they are."""

import pytest

from ser_jax.report import charts
from ser_jax.report.analysis import Group, Series
from ser_jax.report.charts import Axis, Spread


def _ticks(chart):
    """(value, x, y) of every number on an axis."""
    return [
        (float(shape.text), *shape.points[0])
        for shape in chart.shapes
        if shape.css.startswith("tick")
    ]


def _scale(pairs):
    """Units per value and units at zero of two or more (value, unit) on a line."""
    (v0, u0), *_, (v1, u1) = sorted(pairs)
    slope = (u1 - u0) / (v1 - v0)
    return slope, u0 - slope * v0


def _of(chart, css):
    return [shape for shape in chart.shapes if css in shape.css.split()]


def test_axis_is_linear_and_ticks_are_round():
    axis = Axis(0.0, 4.0, 100.0, 20.0)
    assert [axis(0.0), axis(1.0), axis(4.0)] == [100.0, 80.0, 20.0]
    assert axis.ticks() == [0.0, 1.0, 2.0, 3.0, 4.0]
    # Three epochs have no half one between them.
    assert Axis(1, 3, 0, 1).ticks(whole=True) == [1.0, 2.0, 3.0]


def test_curve_s_points_lie_at_their_epochs_and_scores():
    run = {1: 0.25, 2: 0.5, 4: 0.75}
    series = Series("val_ua", "validation", (run,), {}, ((2, 0.5),))
    chart = charts.curves("UA", [series], chance=0.3)
    ticks = _ticks(chart)
    on_x = [(v, x) for v, x, y in ticks if y > 224]
    on_y = [(v, y - 4) for v, x, y in ticks if y <= 228 and x < 44]
    (per_epoch, at_zero), (per_point, floor) = _scale(on_x), _scale(on_y)
    (line,) = _of(chart, "thin")
    for (epoch, value), (x, y) in zip(run.items(), line.points, strict=True):
        assert x == pytest.approx(at_zero + per_epoch * epoch, abs=0.02)  # rounded
        assert y == pytest.approx(floor + per_point * 100 * value, abs=0.02)
    (ring,) = _of(chart, "ring")
    assert ring.points == (line.points[1],) and "epoch 2: 50.00 %" in ring.text
    (chance,) = _of(chart, "ref")
    assert chance.points[0][1] == pytest.approx(floor + per_point * 30, abs=0.02)
    assert not _of(chart, "thick")  # one run is its own mean
    assert [name for _, _, name in chart.legend] == ["validation", "epoch scored"]


def test_a_single_epoch_can_be_drawn():
    series = Series("train_loss", "training", ({1: 2.0}, {1: 2.0}), {1: 2.0}, ())
    chart = charts.curves("loss", [series], chance=0.25)
    assert len(_of(chart, "thin")) == 2 and len(_of(chart, "thick")) == 1
    assert not _of(chart, "ref")  # chance is a score


def test_spreads_show_runs_mean_std_and_reference():
    rows = [
        Spread("one", [0.4, 0.6, None], 0.5, 0.1, reference=0.8),
        Spread("none", [None], None, None),
    ]
    chart = charts.spreads("title", rows, "UA, %", "the paper's")
    slope, zero = _scale([(v, x) for v, x, _ in _ticks(chart)])
    runs = [shape.points[0][0] for shape in _of(chart, "run")]
    assert runs == pytest.approx([zero + 40 * slope, zero + 60 * slope], abs=0.02)
    spread, mean = _of(chart, "thick")
    ends = [x for x, _ in spread.points]
    assert ends == pytest.approx([zero + 40 * slope, zero + 60 * slope], abs=0.02)
    assert mean.points[0][0] == pytest.approx(zero + 50 * slope, abs=0.02)
    assert spread.text == "one: 50.00 ± 10.00 %"
    (paper,) = _of(chart, "paper")
    assert paper.points[0][0] == pytest.approx(zero + 80 * slope, abs=0.02)
    assert [shape.text for shape in _of(chart, "label")] == ["one", "none"]
    assert chart.legend[-1] == ("tick", "paper", "the paper's")


def test_spreads_of_nothing_known_still_draw_their_rows():
    chart = charts.spreads("title", [Spread("x", [None], None, None)], "UA, %")
    assert [shape.text for shape in _of(chart, "label")] == ["x"]
    assert not _of(chart, "run")


def test_durations_span_their_bins():
    bins = [
        (1.0, 2.0, Group("", 3, 0.5, 0.6, ())),
        (3.0, 3.0, Group("", 2, 0.9, 0.9, ())),
    ]
    chart = charts.by_duration(bins)
    slope, zero = _scale([(v, x) for v, x, y in _ticks(chart) if y > 228])
    first, _ = (shape for shape in _of(chart, "first"))
    ends = [x for x, _ in first.points]
    assert ends == pytest.approx([zero + slope - 2, zero + 2 * slope + 2], abs=0.02)
    assert first.text == "1.00 to 2.00 s: UA 50.00 %"
    last = _of(chart, "first")[1]
    assert last.points[1][0] > last.points[0][0]  # one length is still seen
    assert last.points[1][0] <= charts.WIDTH


def test_long_names_are_cut():
    assert charts.short("a" * 46) == "a" * 46
    assert charts.short("a" * 47) == "a" * 45 + "…"
