"""The main path on a tiny corpus: artefacts, stop and resume, devices, selections."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_jax.errors import InputError
from ser_jax.report import report, timing
from ser_jax.training import experiment as experiment_lib
from ser_jax.training import loop
from ser_jax.workdir import metrics_log, recordings
from tests.training.common import posteriors_of, stop_after

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def baseline(tmp_path_factory, tones, datasets):
    """One uninterrupted training, for the others to be compared with."""
    config = _config(tones, datasets)
    workdir = tmp_path_factory.mktemp("baseline")
    loop.train_and_evaluate(config, str(workdir))
    return workdir


def _config(tones, datasets):
    from tests import conftest

    return conftest.tiny_config.__wrapped__(tones, datasets)


def _figures(workdir) -> dict:
    """results.json without what may differ between two equal trainings."""
    found = json.loads((workdir / "results.json").read_text())
    vary = ("seconds", "start_up", "memory", "frames", "versions")
    return {k: v for k, v in found.items() if k not in vary}


def _curves(workdir) -> list[dict]:
    rows = metrics_log.read(workdir / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_the_whole_job_leaves_every_artefact(baseline):
    report.write_report(baseline)
    for name in (
        "config.json",
        "splits.json",
        "checkpoints",
        "metrics.jsonl",
        "tensorboard",
        "predictions.csv",
        "recordings.csv",
        "results.json",
        "report.md",
        "report.html",
        "figures/confusion.png",
        "figures/learning_curves.png",
    ):
        assert (baseline / name).exists(), name
    heard = recordings.read(baseline / "recordings.csv").values()
    assert len(heard) == 48
    for item in heard:
        seconds = soundfile.info(item.wav).duration
        assert item.duration_s == pytest.approx(seconds, abs=1e-4)  # as it is written
    memory = json.loads((baseline / "results.json").read_text())["memory"]
    assert 2**26 < memory["host_peak_bytes"] < 2**36
    assert memory["device_peak_bytes"] is None  # CPUs do not tell
    found = _figures(baseline)
    assert [run["fold"] for run in found["runs"]] == ["s1", "s2", "s3", "s4", "s5"]
    assert sum(run["n_test"] for run in found["runs"]) == 48
    assert np.sum(found["pooled"]["confusion"]) == 48
    assert found["utterances"]["used"] == 48
    assert found["selection"] == "val" and not found["corpus_is_synthetic"]
    # Chance is 1/3 and its standard error over 48 utterances 0.07: two short epochs of
    # a network that learns at all are well above.
    assert found["pooled"]["ua"] > 0.5


def test_every_second_belongs_to_one_part(baseline):
    found = json.loads((baseline / "results.json").read_text())
    total = found["seconds"].pop("total")
    assert sum(found["seconds"].values()) == pytest.approx(total, abs=1e-6)
    parts = ("start", "load", "model", "compile", "first_step", "training")
    parts += ("validation", "checkpoints", "logs", "evaluation")
    assert set(parts) <= set(found["seconds"]) <= set(timing.PARTS)
    assert all(found["seconds"][part] > 0 for part in parts[3:])
    start_up = found["start_up"]
    assert 0 < start_up["first_step_after_s"] < total
    assert 0 <= start_up["from_cache"] <= start_up["programs"]


def test_every_utterance_is_tested_once_and_never_in_its_own_training(baseline):
    folds = json.loads((baseline / "splits.json").read_text())["folds"]
    tested = [u for fold in folds for u in fold["test"]]
    assert len(tested) == len(set(tested)) == 48
    for fold in folds:
        parts = [set(fold[name]) for name in ("train", "val", "test")]
        assert len(set.union(*parts)) == sum(map(len, parts)) == 48
        for part in parts:
            assert part
        speakers = [{u.split("_")[0] for u in part} for part in parts]
        assert not speakers[2] & (speakers[0] | speakers[1])


def test_the_best_epoch_is_that_of_the_validation_part(baseline):
    for run in _figures(baseline)["runs"]:
        rows = [row for row in _curves(baseline) if row["fold"] == run["fold"]]
        assert [row["epoch"] for row in rows] == [1, 2]
        best = max(rows, key=lambda row: (row["val_ua"], -row["val_loss"]))
        assert run["best_epoch"] == best["epoch"]


def test_repeating_a_complete_run_only_reads(baseline, tones, datasets):
    before = (baseline / "results.json").stat().st_mtime_ns
    loop.train_and_evaluate(_config(tones, datasets), str(baseline))
    assert (baseline / "results.json").stat().st_mtime_ns == before


def test_evaluate_repeats_the_figures(baseline):
    before, posteriors = _figures(baseline), posteriors_of(baseline)
    loop.evaluate(str(baseline))
    assert _figures(baseline) == before
    np.testing.assert_array_equal(posteriors_of(baseline), posteriors)


def test_another_config_in_the_same_folder_is_refused(baseline, tiny_config):
    tiny_config.train.learning_rate = 0.5
    with pytest.raises(InputError, match=r"train.learning_rate: here 0.01, asked.*0.5"):
        loop.train_and_evaluate(tiny_config, str(baseline))


@pytest.mark.parametrize("calls", [3, 14])  # inside the first and the second epoch
def test_sigterm_saves_and_the_same_command_goes_on(
    baseline, tiny_config, tmp_path, monkeypatch, calls
):
    with monkeypatch.context() as patch:
        stop_after(patch, calls)
        with pytest.raises(loop.Stopped, match="SIGTERM in epoch"):
            loop.train_and_evaluate(tiny_config, str(tmp_path))
    assert not (tmp_path / "results.json").exists()
    stopped = time.monotonic()
    found = loop.train_and_evaluate(tiny_config, str(tmp_path))
    # What the first process did up to its checkpoint counts as well.
    assert found["seconds"]["total"] > time.monotonic() - stopped
    assert _curves(tmp_path) == _curves(baseline)
    assert _figures(tmp_path) == _figures(baseline)
    np.testing.assert_array_equal(posteriors_of(tmp_path), posteriors_of(baseline))


KILLED = """
import sys; sys.path[:0] = [{root!r}]
from tests import conftest
from ser_jax.training import loop
config = conftest.tiny_config.__wrapped__({tones!r}, {datasets!r})
loop.train_and_evaluate(config, {workdir!r})
"""


def test_after_sigkill_the_same_command_ends_the_same(
    baseline, tiny_config, tmp_path, tones, datasets
):
    """Killed when the first checkpoint is there or being written."""
    script = KILLED.format(
        root=str(ROOT), tones=str(tones), datasets=datasets, workdir=str(tmp_path)
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if list((tmp_path / "checkpoints").glob("0*")):
                break
            time.sleep(0.01)
        process.kill()
    assert not (tmp_path / "results.json").exists()
    loop.train_and_evaluate(tiny_config, str(tmp_path))
    assert _curves(tmp_path) == _curves(baseline)
    assert _figures(tmp_path) == _figures(baseline)


def test_a_torn_checkpoint_is_skipped_for_the_one_before(
    baseline, tmp_path, tiny_config, caplog
):
    loop.train_and_evaluate(tiny_config, str(tmp_path))
    steps = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir())
    newest = tmp_path / "checkpoints" / str(steps[-1])
    for file in newest.rglob("d/*"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    (tmp_path / "results.json").unlink()
    loop.train_and_evaluate(tiny_config, str(tmp_path))
    assert f"Checkpoint {steps[-1]} is torn" in caplog.text
    assert "Resuming after epoch 1" in caplog.text or len(steps) == 2
    assert _figures(tmp_path) == _figures(baseline)


def test_no_readable_checkpoint_says_what_to_delete(tmp_path, tiny_config):
    tiny_config.train.epochs = 1
    loop.train_and_evaluate(tiny_config, str(tmp_path))
    for file in (tmp_path / "checkpoints").rglob("d/*"):
        file.write_bytes(b"")
    with pytest.raises(InputError, match="none of 1 is .*delete it to train"):
        loop.evaluate(str(tmp_path))


@pytest.mark.parametrize(("mode", "devices"), [("loop", 5), ("map", 2), ("vmap", 8)])
def test_devices_and_modes_agree(baseline, tiny_config, tmp_path, mode, devices):
    tiny_config.train.devices = devices
    tiny_config.train.runs_per_device = mode
    tiny_config.train.epochs = 1
    loop.train_and_evaluate(tiny_config, str(tmp_path))
    first = {row["fold"]: row for row in _curves(baseline) if row["epoch"] == 1}
    for row in _curves(tmp_path):
        # Adam scales the rounding of vanishing gradients (a bias before batch norm) up
        # to its learning rate; the loss of an epoch moves by less than a thousandth.
        expected = first[row["fold"]]
        assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-3)


def test_a_checkpoint_goes_on_on_other_devices_and_steps_per_call(
    baseline, tiny_config, tmp_path, monkeypatch
):
    tiny_config.train.devices = 5
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(loop.Stopped):
            loop.train_and_evaluate(tiny_config, str(tmp_path))
    tiny_config.train.devices = 2
    tiny_config.train.steps_per_call = 3
    loop.train_and_evaluate(tiny_config, str(tmp_path))
    last = {row["fold"]: row for row in _curves(baseline) if row["epoch"] == 2}
    for row in _curves(tmp_path)[1::2]:
        expected = last[row["fold"]]["train_loss"]
        assert row["train_loss"] == pytest.approx(expected, rel=1e-2)


def test_paper_mode_chooses_on_test_and_says_so(tiny_config, tmp_path):
    tiny_config.protocol.selection = "test"
    tiny_config.protocol.split = "random_80_20"
    tiny_config.protocol.seeds = (4, 9)
    found = loop.train_and_evaluate(tiny_config, str(tmp_path))
    assert found["paper_mode"] and [r["seed"] for r in found["runs"]] == [4, 9]
    assert all(run["n_val"] == 0 for run in found["runs"])
    for run in found["runs"]:
        rows = [row for row in _curves(tmp_path) if row["seed"] == run["seed"]]
        assert run["ua"] == max(row["test_ua"] for row in rows)
        assert "val_ua" not in rows[0]
    assert "paper mode" in report.write_report(tmp_path)
    assert "paper mode" in (tmp_path / "report.md").read_text().lower()


def test_selection_last_trains_on_everything_and_keeps_the_last(tiny_config, tmp_path):
    tiny_config.protocol.selection = "last"
    tiny_config.train.early_stop_epochs = 0
    found = loop.train_and_evaluate(tiny_config, str(tmp_path))
    assert [run["best_epoch"] for run in found["runs"]] == [2] * 5
    assert all(run["n_train"] + run["n_test"] == 48 for run in found["runs"])
    assert "val_ua" not in _curves(tmp_path)[0]


def test_runs_stop_early_on_their_own(tiny_config, tmp_path):
    tiny_config.train.epochs = 12
    tiny_config.train.early_stop_epochs = 2
    found = loop.train_and_evaluate(tiny_config, str(tmp_path))
    for run in found["runs"]:
        waited = run["epochs"] - run["best_epoch"]
        assert waited == 2 or (run["epochs"] == 12 and waited < 2)
    assert min(run["epochs"] for run in found["runs"]) < 12


def test_evaluating_an_unfinished_training_is_refused(
    tiny_config, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(loop.Stopped):
            loop.train_and_evaluate(tiny_config, str(tmp_path))
    with pytest.raises(InputError, match="stopped after epoch 0 of 2. Repeat"):
        loop.evaluate(str(tmp_path))
    assert not (tmp_path / "results.json").exists()


def test_evaluating_a_workdir_of_an_earlier_version_says_so(baseline, tmp_path):
    shutil.copytree(baseline, tmp_path / "old")
    path = tmp_path / "old" / "config.json"
    stored = json.loads(path.read_text())
    del stored["config"]["data"]["pad"]
    path.write_text(json.dumps(stored))
    with pytest.raises(InputError, match="earlier version.*pad"):
        loop.evaluate(str(tmp_path / "old"))


def test_a_relabelled_corpus_cannot_resume(tiny_config, tmp_path, monkeypatch):
    from tests import conftest

    folder = tmp_path / "corpus"
    folder.mkdir()
    manifest = conftest.write_tones(folder, per_cell=2)
    tiny_config.data.manifest = str(manifest)
    tiny_config.data.tfds_dir = str(tmp_path / "tfds")
    workdir = str(tmp_path / "w")
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(loop.Stopped):
            loop.train_and_evaluate(tiny_config, workdir)
    rows = manifest.read_text().splitlines()
    rows[1] = rows[1].replace("low,", "mid,")
    manifest.write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match="splits and labels of .*Restore the corpus"):
        loop.train_and_evaluate(tiny_config, workdir)


def test_a_label_map_survives_the_workdir(tiny_config, tmp_path):
    tiny_config.data.label_map = (("low", "calm"), ("high", "very.high"))
    tiny_config.train.epochs = 1
    found = loop.train_and_evaluate(tiny_config, str(tmp_path))
    assert found["classes"] == ["calm", "very.high"]
    assert found["utterances"]["skipped"] == {"unmapped label": 16}
    before = _figures(tmp_path)
    loop.evaluate(str(tmp_path))
    assert _figures(tmp_path) == before


def test_a_mistake_does_not_lock_the_folder(tiny_config, tmp_path):
    good = tiny_config.data.manifest
    tiny_config.data.manifest = good + ".not"
    with pytest.raises(InputError, match="manifest"):
        loop.train_and_evaluate(tiny_config, str(tmp_path))
    tiny_config.data.manifest = good
    tiny_config.train.epochs = 1
    assert loop.train_and_evaluate(tiny_config, str(tmp_path))["runs"]


def test_divergence_names_run_epoch_and_step(tiny_config, tmp_path):
    tiny_config.train.learning_rate = 1e30
    tiny_config.train.schedule = "constant"
    with pytest.raises(InputError, match=r"run 's1 seed 0', epoch 1, step \d+"):
        loop.train_and_evaluate(tiny_config, str(tmp_path))


def test_unwritable_workdir(tiny_config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="folder that can be written to.*--workdir"):
        loop.train_and_evaluate(tiny_config, str(tmp_path / "file" / "w"))


def test_dropping_short_utterances_counts_them(tiny_config):
    tiny_config.segment.short = "drop"
    found = experiment_lib.prepare(tiny_config)
    dropped = [e for e in found.excluded if e.reason == "shorter than a window"]
    assert 0 < len(dropped) and len(dropped) + len(found.utterances) == 48
    assert not found.padded


def test_options_of_the_recipe_train(tiny_config, tmp_path):
    """Mixup, masks, smoothing, weights, clipping, decay and bfloat16 together."""
    tiny_config.augment.vtlp = "one"
    tiny_config.augment.mixup_alpha = 0.2
    tiny_config.augment.freq_mask_bands = 4
    tiny_config.augment.time_mask_frames = 3
    tiny_config.train.label_smoothing = 0.1
    tiny_config.train.class_weights = "balanced"
    tiny_config.train.grad_clip_norm = 1.0
    tiny_config.train.weight_decay = 1e-3
    tiny_config.train.schedule = "cosine"
    tiny_config.train.warmup_epochs = 0.5
    tiny_config.train.epochs = 4
    tiny_config.model.dtype = "bfloat16"
    found = loop.train_and_evaluate(tiny_config, str(tmp_path))
    assert found["pooled"]["ua"] > 0.5
