"""The main path on a tiny corpus: what a finished training leaves, and repeats."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from ser_jax.errors import InputError
from ser_jax.report import report, timing
from ser_jax.training import loop
from ser_jax.workdir import predictions
from tests.training.common import curves_of, figures_of, posteriors_of


@pytest.fixture
def copied(quick_workdir, tmp_path):
    """A copy of the finished training, to be written to."""
    return shutil.copytree(quick_workdir, tmp_path / "copy")


def test_the_whole_job_leaves_every_artefact(copied):
    report.write_report(copied)
    for name in (
        "config.json",
        "splits.json",
        "checkpoints",
        "metrics.jsonl",
        "tensorboard",
        "predictions.csv",
        "validation.csv",
        "recordings.csv",
        "results.json",
        "report.md",
        "report.html",
        "figures/confusion.png",
        "figures/learning_curves.png",
    ):
        assert (copied / name).exists(), name
    tested = predictions.read_recordings(copied / "recordings.csv").values()
    assert len(tested) == 48
    for recording in tested:
        seconds = soundfile.info(recording.wav).duration
        assert recording.duration_s == pytest.approx(seconds, abs=1e-4)  # as written
    # Who chose the epoch of a run fits its temperature, and is not who is tested.
    folds = json.loads((copied / "splits.json").read_text())["folds"]
    validated, _ = predictions.read(copied / "validation.csv")
    for fold in folds:
        lines = {x.utterance for x in validated if x.fold == fold["name"]}
        assert lines == {*fold["val"]} and lines.isdisjoint(fold["test"])
    results = json.loads((copied / "results.json").read_text())
    fitted = results["calibration"]["temperatures"]
    assert [x["n_val"] for x in fitted] == [len(fold["val"]) for fold in folds]
    memory = json.loads((copied / "results.json").read_text())["memory"]
    assert 2**26 < memory["host_peak_bytes"] < 2**36
    assert memory["device_peak_bytes"] is None  # CPUs do not tell
    figures = figures_of(copied)
    assert [run["fold"] for run in figures["runs"]] == ["s1", "s2", "s3", "s4", "s5"]
    assert sum(run["n_test"] for run in figures["runs"]) == 48
    assert np.sum(figures["pooled"]["confusion"]) == 48
    assert figures["utterances"]["used"] == 48
    assert figures["selection"] == "val" and not figures["corpus_is_synthetic"]


def test_the_flagship_learns(workdirs):
    """Two short epochs of the AACNN, through the same main path."""
    figures = figures_of(workdirs("area_attn"))
    # Chance is 1/3 and its standard error over 48 utterances 0.07.
    assert figures["pooled"]["ua"] > 0.5


def test_every_second_belongs_to_one_part(quick_workdir):
    results = json.loads((quick_workdir / "results.json").read_text())
    seconds = results["seconds"]
    total = seconds.pop("total")
    assert sum(seconds.values()) == pytest.approx(total, abs=1e-6)
    parts = ("start", "load", "model", "compile", "first_step", "training")
    parts += ("validation", "checkpoints", "evaluation")
    assert set(parts) <= set(seconds) <= set(timing.PARTS)
    short = {"start", "load", "model"}  # may round to 0.00 s
    assert all(seconds[part] > 0 for part in set(parts) - short)
    start_up = results["start_up"]
    assert 0 < start_up["first_step_after_s"] < total
    assert 0 <= start_up["from_cache"] <= start_up["programs"]


def test_every_utterance_is_tested_once_and_never_in_its_own_training(quick_workdir):
    folds = json.loads((quick_workdir / "splits.json").read_text())["folds"]
    tested = [u for fold in folds for u in fold["test"]]
    assert len(tested) == len(set(tested)) == 48
    for fold in folds:
        parts = [set(fold[name]) for name in ("train", "val", "test")]
        assert len(set.union(*parts)) == sum(map(len, parts)) == 48
        for part in parts:
            assert part
        speakers = [{u.split("_")[0] for u in part} for part in parts]
        assert not speakers[2] & (speakers[0] | speakers[1])


def test_the_best_epoch_is_that_of_the_validation_part(quick_workdir):
    for run in figures_of(quick_workdir)["runs"]:
        rows = [row for row in curves_of(quick_workdir) if row["fold"] == run["fold"]]
        assert [row["epoch"] for row in rows] == [1, 2]
        best = max(rows, key=lambda row: (row["val_ua"], -row["val_loss"]))
        assert run["best_epoch"] == best["epoch"]


def test_repeating_a_complete_run_only_reads(quick_workdir, quick_config):
    before = (quick_workdir / "results.json").stat().st_mtime_ns
    loop.train_and_evaluate(quick_config, str(quick_workdir))
    assert (quick_workdir / "results.json").stat().st_mtime_ns == before


def test_evaluate_repeats_the_figures(copied, quick_config):
    before, posteriors = figures_of(copied), posteriors_of(copied)
    for name in ("results.json", "predictions.csv"):
        (copied / name).unlink()
    loop.evaluate(str(copied))
    assert figures_of(copied) == before
    np.testing.assert_array_equal(posteriors_of(copied), posteriors)


def test_another_config_in_the_same_folder_is_refused(quick_workdir, quick_config):
    quick_config.train.learning_rate = 0.5
    with pytest.raises(InputError, match=r"train.learning_rate: here 0.01, asked.*0.5"):
        loop.train_and_evaluate(quick_config, str(quick_workdir))


def test_evaluating_a_workdir_of_an_earlier_version_says_so(copied):
    path = copied / "config.json"
    stored = json.loads(path.read_text())
    del stored["config"]["data"]["pad"]
    path.write_text(json.dumps(stored))
    with pytest.raises(InputError, match="earlier version.*pad"):
        loop.evaluate(str(copied))


def test_no_readable_checkpoint_says_what_to_delete(copied, quick_config):
    files = [*(copied / "checkpoints").rglob("d/*")]
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(InputError, match="none of 2 is .*delete it to train"):
        loop.evaluate(str(copied))


def test_a_mistake_does_not_lock_the_folder(quick_config, tmp_path):
    good = quick_config.data.manifest
    quick_config.data.manifest = good + ".not"
    with pytest.raises(InputError, match="manifest"):
        loop.train_and_evaluate(quick_config, str(tmp_path))
    quick_config.data.manifest = good
    quick_config.train.epochs = 1
    assert loop.train_and_evaluate(quick_config, str(tmp_path))["runs"]


def test_unwritable_workdir(quick_config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write .*--workdir"):
        loop.train_and_evaluate(quick_config, str(tmp_path / "file" / "w"))
