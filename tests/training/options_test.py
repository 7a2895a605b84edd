"""Keys of a config, each seen in what a whole training leaves."""

import pytest

from ser_jax.errors import InputError
from ser_jax.report import report
from ser_jax.training import experiment as experiment_lib
from ser_jax.training import loop
from tests.training.common import curves_of, figures_of


@pytest.mark.parametrize(("mode", "devices"), [("loop", 5), ("map", 2), ("vmap", 8)])
def test_devices_and_modes_agree(quick_workdir, quick_config, tmp_path, mode, devices):
    quick_config.train.devices = devices
    quick_config.train.runs_per_device = mode
    quick_config.train.epochs = 1
    loop.train_and_evaluate(quick_config, str(tmp_path))
    first = {row["fold"]: row for row in curves_of(quick_workdir) if row["epoch"] == 1}
    for row in curves_of(tmp_path):
        # Adam scales the rounding of vanishing gradients (a bias before batch norm) up
        # to its learning rate; the loss of an epoch moves by less than a thousandth.
        expected = first[row["fold"]]
        assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-3)


def test_paper_mode_chooses_on_test_and_says_so(quick_config, tmp_path):
    quick_config.protocol.selection = "test"
    quick_config.protocol.split = "random_80_20"
    quick_config.protocol.seeds = (4, 9)
    quick_config.protocol.compare_selections = True
    results = loop.train_and_evaluate(quick_config, str(tmp_path))
    assert results["paper_mode"] and [r["seed"] for r in results["runs"]] == [4, 9]
    assert all(run["n_val"] == 0 for run in results["runs"])
    for run in results["runs"]:
        rows = [row for row in curves_of(tmp_path) if row["seed"] == run["seed"]]
        assert run["ua"] == max(row["test_ua"] for row in rows)
        assert "val_ua" not in rows[0]
    # Who is tested chose the epoch, and fits nothing else.
    assert not (tmp_path / "validation.csv").exists()
    assert "temperatures" not in results["calibration"]
    found = results["selections"]
    assert list(found) == ["test", "last"]
    assert found["test"]["ua"] == results["ua"]
    last = [row["test_ua"] for row in curves_of(tmp_path) if row["epoch"] == 2]
    assert [run["ua"] for run in found["last"]["runs"]] == last
    assert "paper mode" in report.write_report(tmp_path)
    assert "paper mode" in (tmp_path / "report.md").read_text().lower()


def test_selection_last_trains_on_everything_and_keeps_the_last(quick_config, tmp_path):
    quick_config.protocol.selection = "last"
    quick_config.train.early_stop_epochs = 0
    results = loop.train_and_evaluate(quick_config, str(tmp_path))
    assert [run["best_epoch"] for run in results["runs"]] == [2] * 5
    assert all(run["n_train"] + run["n_test"] == 48 for run in results["runs"])
    assert "val_ua" not in curves_of(tmp_path)[0]


def test_runs_stop_early_on_their_own(quick_config, tmp_path):
    quick_config.train.epochs = 12
    quick_config.train.early_stop_epochs = 2
    quick_config.train.learning_rate = 0.3  # too high for a loss that keeps falling
    results = loop.train_and_evaluate(quick_config, str(tmp_path))
    for run in results["runs"]:
        waited = run["epochs"] - run["best_epoch"]
        assert waited == 2 or (run["epochs"] == 12 and waited < 2)
    assert min(run["epochs"] for run in results["runs"]) < 12
    assert len({run["epochs"] for run in results["runs"]}) > 1


def test_a_label_map_survives_the_workdir(quick_config, tmp_path):
    quick_config.data.label_map = (("low", "calm"), ("high", "very.high"))
    quick_config.train.epochs = 1
    results = loop.train_and_evaluate(quick_config, str(tmp_path))
    assert results["classes"] == ["calm", "very.high"]
    assert results["utterances"]["skipped"] == {"unmapped label": 16}
    before = figures_of(tmp_path)
    loop.evaluate(str(tmp_path))
    assert figures_of(tmp_path) == before


def test_divergence_names_run_epoch_and_step(quick_config, tmp_path):
    quick_config.train.learning_rate = 1e38  # Adam's steps: logits overflow
    quick_config.train.schedule = "constant"
    with pytest.raises(InputError, match=r"run 's1 seed 0', epoch 1, step \d+"):
        loop.train_and_evaluate(quick_config, str(tmp_path))


def test_dropping_short_utterances_counts_them(tiny_config):
    tiny_config.segment.short = "drop"
    experiment = experiment_lib.prepare(tiny_config)
    excluded = experiment.excluded
    dropped = [e for e in excluded if e.reason == "shorter than a window"]
    assert 0 < len(dropped) and len(dropped) + len(experiment.utterances) == 48
    assert not experiment.padded


@pytest.mark.slow
def test_options_of_the_recipe_train(quick_config, tmp_path):
    """Mixup, masks, smoothing, weights, clipping, decay and bfloat16 together."""
    quick_config.augment.vtlp = "one"
    quick_config.augment.mixup_alpha = 0.2
    quick_config.augment.freq_mask_bands = 4
    quick_config.augment.time_mask_frames = 3
    quick_config.train.label_smoothing = 0.1
    quick_config.train.class_weights = "balanced"
    quick_config.train.grad_clip_norm = 1.0
    quick_config.train.weight_decay = 1e-3
    quick_config.train.schedule = "cosine"
    quick_config.train.warmup_epochs = 0.5
    quick_config.train.epochs = 4
    quick_config.model.dtype = "bfloat16"
    results = loop.train_and_evaluate(quick_config, str(tmp_path))
    assert results["pooled"]["ua"] > 0.5
