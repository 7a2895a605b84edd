"""Pictures are real PNGs that show what they should."""

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from ser_jax.report import figures

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
WITHOUT_VALIDATION = [
    {key: line[key] for key in ("epoch", "fold", "seed", "train_loss")}
    for line in LINES
]


@pytest.fixture(name="drawn")
def _drawn(monkeypatch):
    """Every figure that is saved, to read its texts and lines."""
    drawn = []
    save = Figure.savefig

    def keep(self, *args, **options):
        drawn.append(self)
        return save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return drawn


def _check_png(path, least=(500, 500)):
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    pixels = matplotlib.image.imread(path)[..., :3]
    assert least[0] < pixels.shape[0] < 3000
    assert least[1] < pixels.shape[1] < 3000
    assert pixels.std() > 0.03  # a blank page has 0
    assert (pixels.min(axis=-1) > 0.99).mean() > 0.2  # white paper around it


def _texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_confusion_shows_counts_recalls_and_names(tmp_path, drawn):
    figures.confusion(RESULTS, tmp_path / "confusion.png")
    _check_png(tmp_path / "confusion.png")
    texts = _texts(drawn[0])
    assert {"70%", "20%", "7", "2", "69%", "11"} <= set(texts)
    axes = drawn[0].axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == CLASSES
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == ["anger\nn = 10", "boredom\nn = 0 (no recall)", "happiness\nn = 16"]
    title = drawn[0].get_suptitle()
    # UA = (7/10 + 5/16) / 2 over the two classes that occur; WA = 12/26.
    assert "UA 50.6%, WA 46.2%, n = 26" in title
    assert "emodb" in title
    assert "split group" in title
    assert "synthetic" not in title
    assert "paper mode" not in title


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"corpus_is_synthetic": True}, "synthetic corpus"),
        ({"paper_mode": True}, "paper mode: epoch chosen on test data"),
    ],
)
def test_both_pictures_carry_the_stamps(tmp_path, drawn, change, said):
    results = RESULTS | change
    figures.confusion(results, tmp_path / "confusion.png")
    figures.learning_curves(results, LINES, tmp_path / "curves.png")
    assert all(said in figure.get_suptitle() for figure in drawn)
    assert len(drawn) == 2


def test_curves_have_a_line_per_run_a_mean_and_the_scored_epoch(tmp_path, drawn):
    assert figures.learning_curves(RESULTS, LINES, tmp_path / "curves.png")
    _check_png(tmp_path / "curves.png")
    loss, ua = drawn[0].axes
    assert len(loss.lines) == 2 * (2 + 1)  # train and validation: two runs, one mean
    runs = [line for line in ua.lines if line.get_linewidth() < 1]
    assert sorted(len(line.get_xdata()) for line in runs) == [3, 5]
    (mean,) = [line for line in ua.lines if line.get_linewidth() > 2]
    np.testing.assert_array_equal(mean.get_xdata(), [1, 2, 3])  # that both reached
    np.testing.assert_allclose(mean.get_ydata(), [0.5, 0.6, 0.7])
    dots = [line for line in ua.lines if line.get_marker() == "o"]
    ((epoch, value),) = [(*dot.get_xdata(), *dot.get_ydata()) for dot in dots]
    assert (epoch, value) == (2, pytest.approx(0.6))
    legend = [text.get_text() for text in ua.get_legend().get_texts()]
    assert legend == ["validation", "epoch scored"]


def test_paper_mode_does_not_call_the_test_part_validation(tmp_path, drawn):
    results = RESULTS | {"paper_mode": True}
    lines = [{k.replace("val_", "test_"): v for k, v in e.items()} for e in LINES]
    figures.learning_curves(results, lines, tmp_path / "curves.png")
    for axes in drawn[0].axes:
        legend = [text.get_text() for text in axes.get_legend().get_texts()]
        assert "test part" in legend
        assert "validation" not in legend


def test_curves_without_validation_have_one_panel(tmp_path, drawn):
    assert figures.learning_curves(RESULTS, WITHOUT_VALIDATION, tmp_path / "c.png")
    _check_png(tmp_path / "c.png", least=(500, 400))
    assert [axes.get_ylabel() for axes in drawn[0].axes] == ["loss"]


@pytest.mark.parametrize("lines", [[], [{"epoch": 1, "fold": "g1", "seed": 0}]])
def test_nothing_to_draw_writes_no_file(tmp_path, lines):
    assert not figures.learning_curves(RESULTS, lines, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_null_values_are_skipped(tmp_path, drawn):
    lines = [line | {"val_ua": None} for line in LINES[:3]] + LINES[3:]
    assert figures.learning_curves(RESULTS, lines, tmp_path / "curves.png")
    runs = [line for line in drawn[0].axes[1].lines if line.get_linewidth() < 1]
    assert [len(line.get_xdata()) for line in runs] == [5]


def test_seven_classes_fit(tmp_path):
    names = [f"emotion{number}" for number in range(7)]
    pooled = {"confusion": np.diag(np.arange(1, 8)).tolist()}
    results = RESULTS | {"classes": names, "pooled": pooled}
    figures.confusion(results, tmp_path / "confusion.png")
    _check_png(tmp_path / "confusion.png")
