"""Stopped or killed, then repeated: the same command ends the same."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from etils import epath

from ser_jax.errors import InputError
from ser_jax.training import loop, selection
from ser_jax.workdir import lock
from tests import conftest
from tests import workdirs as tiny
from tests.training.common import curves_of, figures_of, posteriors_of, stop_after

ROOT = Path(__file__).parents[2]


def _train_until(calls, config, workdir, monkeypatch, match="SIGTERM in epoch"):
    with monkeypatch.context() as patch:
        stop_after(patch, calls)
        with pytest.raises(loop.Stopped, match=match):
            loop.train_and_evaluate(config, str(workdir))


@pytest.mark.parametrize(
    ("calls", "compared"),
    [(3, False), (14, True)],  # inside the first and the second epoch
)
def test_sigterm_saves_and_the_same_command_goes_on(
    quick_workdir, quick_config, tmp_path, monkeypatch, calls, compared
):
    # Scoring the test part while training must change nothing.
    quick_config.protocol.compare_selections = compared
    _train_until(calls, quick_config, tmp_path, monkeypatch)
    assert not (tmp_path / "results.json").exists()
    stopped = time.monotonic()
    results = loop.train_and_evaluate(quick_config, str(tmp_path))
    # What the first process did up to its checkpoint counts as well.
    assert results["seconds"]["total"] > time.monotonic() - stopped
    assert curves_of(tmp_path) == curves_of(quick_workdir)
    figures, whole = figures_of(tmp_path), figures_of(quick_workdir)
    if compared:
        assert {*figures.pop("selections")} == {"val", "test", "last"}
        assert figures.pop("protocol") != whole.pop("protocol")  # which says so
    assert figures == whole
    np.testing.assert_array_equal(posteriors_of(tmp_path), posteriors_of(quick_workdir))


def test_a_signal_in_the_last_validation_is_heeded(
    quick_workdir, quick_config, tmp_path, monkeypatch
):
    validate = selection.validate

    def interrupted(config, trainer, snapshot):
        rows = validate(config, trainer, snapshot)
        if all(record.epochs == config.train.epochs for record in snapshot.records):
            signal.raise_signal(signal.SIGTERM)
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(selection, "validate", interrupted)
        with pytest.raises(loop.Stopped, match="SIGTERM at the end of the training"):
            loop.train_and_evaluate(quick_config, str(tmp_path))
    loop.train_and_evaluate(quick_config, str(tmp_path))
    assert figures_of(tmp_path) == figures_of(quick_workdir)


def test_updates_are_resumed_inside_of_intervals_and_beyond_an_epoch(
    quick_config, tmp_path, monkeypatch
):
    """Folds of 9 to 11 updates an epoch, validated after 7, 14, 21 and 23."""
    train = quick_config.train
    train.epochs, train.updates, train.validate_updates = 0, 23, 7
    train.schedule, train.warmup_updates = "cosine", 5
    train.steps_per_call = 2  # by which 7 cannot be divided
    quick_config.protocol.compare_selections = True
    results = loop.train_and_evaluate(quick_config, str(tmp_path / "whole"))
    rows = curves_of(tmp_path / "whole")
    assert {round(23 / run["epochs"]) for run in results["runs"]} == {9, 10, 11}
    for run in results["runs"]:
        of_run = [row for row in rows if row["fold"] == run["fold"]]
        assert [row["update"] for row in of_run] == [7, 14, 21, 23]
        steps = round(23 / run["epochs"])
        assert [row["epoch"] for row in of_run] == [n / steps for n in (7, 14, 21, 23)]
        best = max(of_run, key=lambda row: (row["val_ua"], -row["val_loss"]))
        assert run["best_update"] == best["update"]
        assert run["best_epoch"] == best["epoch"]
        assert run["updates"] == 23
    # The test part's own best is at least what validation chose, run by run.
    found = results["selections"]
    pairs = zip(found["val"]["runs"], found["test"]["runs"], strict=True)
    assert all(val["ua"] <= test["ua"] for val, test in pairs)
    assert found["val"]["pooled"] == results["pooled"]
    assert {run["best_update"] for run in found["last"]["runs"]} == {23}
    # After 2 updates in the first interval, after 13 in the second and second epoch.
    for calls, epoch in ((1, 1), (6, 2)):
        match = f"SIGTERM in epoch {epoch}; saved"
        _train_until(calls, quick_config, tmp_path / "parts", monkeypatch, match)
    loop.train_and_evaluate(quick_config, str(tmp_path / "parts"))
    assert curves_of(tmp_path / "parts") == rows
    np.testing.assert_array_equal(
        posteriors_of(tmp_path / "parts"), posteriors_of(tmp_path / "whole")
    )
    loop.evaluate(str(tmp_path / "parts"))  # what was written down while training stays
    assert figures_of(tmp_path / "parts") == figures_of(tmp_path / "whole")


@pytest.mark.slow
def test_the_flagship_goes_on_as_well(workdirs, tones, datasets, tmp_path, monkeypatch):
    config = tiny.CONFIGS["area_attn"](tones, datasets)
    _train_until(3, config, tmp_path, monkeypatch)
    loop.train_and_evaluate(config, str(tmp_path))
    whole = workdirs("area_attn")
    assert curves_of(tmp_path) == curves_of(whole)
    np.testing.assert_array_equal(posteriors_of(tmp_path), posteriors_of(whole))


KILLED = """
import signal, sys; sys.path[:0] = [{root!r}]
import pytest
import soundfile
from tests import conftest, quick_model
from tests.training import common
from ser_jax.training import loop
patch = pytest.MonkeyPatch()
quick_model.replace(patch, "area_attn")
common.stop_after(patch, 12, signal.SIGKILL, {workdir!r})
config = conftest.make_tiny_config({tones!r}, {datasets!r})
loop.train_and_evaluate(config, {workdir!r})
"""


def test_after_sigkill_the_same_command_ends_the_same(
    quick_workdir, quick_config, tmp_path, tones, datasets
):
    """Killed in the second epoch, the first checkpoint there or being written."""
    script = KILLED.format(
        root=str(ROOT), tones=str(tones), datasets=datasets, workdir=str(tmp_path)
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / "checkpoints").glob("0*"))
    assert not (tmp_path / "results.json").exists()
    loop.train_and_evaluate(quick_config, str(tmp_path))
    assert curves_of(tmp_path) == curves_of(quick_workdir)
    assert figures_of(tmp_path) == figures_of(quick_workdir)


def test_a_torn_checkpoint_is_skipped_for_the_one_before(
    quick_workdir, quick_config, tmp_path, caplog
):
    workdir = shutil.copytree(quick_workdir, tmp_path / "torn")
    checkpoints = workdir / "checkpoints"
    newest = max(int(p.name) for p in checkpoints.iterdir())
    for file in (checkpoints / str(newest)).rglob("d/*"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    (workdir / "results.json").unlink()
    loop.train_and_evaluate(quick_config, str(workdir))
    assert f"Checkpoint {newest} is torn" in caplog.text
    assert figures_of(workdir) == figures_of(quick_workdir)


def test_a_checkpoint_goes_on_on_other_devices_and_steps_per_call(
    quick_workdir, quick_config, tmp_path, monkeypatch
):
    quick_config.train.devices = 5
    _train_until(4, quick_config, tmp_path, monkeypatch)
    quick_config.train.devices = 2
    quick_config.train.steps_per_call = 3
    loop.train_and_evaluate(quick_config, str(tmp_path))
    last = {row["fold"]: row for row in curves_of(quick_workdir) if row["epoch"] == 2}
    for row in curves_of(tmp_path)[1::2]:
        expected = last[row["fold"]]["train_loss"]
        assert row["train_loss"] == pytest.approx(expected, rel=1e-2)


def test_evaluating_an_unfinished_training_is_refused(
    quick_config, tmp_path, monkeypatch
):
    _train_until(3, quick_config, tmp_path, monkeypatch)
    with pytest.raises(InputError, match="stopped after 0 of 2 epochs. Repeat"):
        loop.evaluate(str(tmp_path))
    assert not (tmp_path / "results.json").exists()


def test_a_relabelled_corpus_cannot_resume(quick_config, tmp_path, monkeypatch):
    folder = tmp_path / "corpus"
    folder.mkdir()
    manifest = conftest.write_tones(folder, per_cell=2)
    quick_config.data.manifest = str(manifest)
    quick_config.data.tfds_dir = str(tmp_path / "tfds")
    _train_until(3, quick_config, tmp_path / "w", monkeypatch)
    rows = manifest.read_text().splitlines()
    rows[1] = rows[1].replace("low,", "mid,")
    manifest.write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match="splits and labels of .*Restore the corpus"):
        loop.train_and_evaluate(quick_config, str(tmp_path / "w"))


def test_a_changed_recording_cannot_resume(quick_config, tmp_path, monkeypatch):
    folder, workdir = tmp_path / "corpus", tmp_path / "w"
    folder.mkdir()
    quick_config.data.manifest = str(conftest.write_tones(folder, per_cell=2))
    quick_config.data.tfds_dir = str(tmp_path / "tfds")
    _train_until(3, quick_config, workdir, monkeypatch)
    wav = next(folder.rglob("*.wav"))
    samples, rate_hz = soundfile.read(wav, dtype="int16")
    soundfile.write(wav, samples[::-1], rate_hz)
    with pytest.raises(InputError, match="the recordings of .*splits.json"):
        loop.train_and_evaluate(quick_config, str(workdir))
    splits = workdir / "splits.json"  # of a version that did not say what was heard
    content = json.loads(splits.read_text())
    sounds = content.pop("sounds")
    splits.write_text(json.dumps(content))
    loop.train_and_evaluate(quick_config, str(workdir))
    assert json.loads(splits.read_text())["sounds"] != sounds


def test_a_corpus_that_moved_is_found_again(quick_config, tmp_path, monkeypatch):
    config, workdir = quick_config, tmp_path / "w"
    (tmp_path / "corpus").mkdir()
    conftest.write_tones(tmp_path / "corpus", per_cell=2)
    monkeypatch.chdir(tmp_path)
    config.data.manifest, config.data.tfds_dir = "corpus/manifest.csv", "tfds"
    _train_until(3, config, workdir, monkeypatch)
    (tmp_path / "corpus").rename(tmp_path / "moved")
    config.data.manifest = "moved/manifest.csv"
    before = loop.train_and_evaluate(config, str(workdir))
    monkeypatch.chdir("/")  # paths are stored as they are found from everywhere
    assert loop.evaluate(str(workdir))["ua"] == before["ua"]
    (tmp_path / "moved").rename(tmp_path / "again")
    with pytest.raises(InputError, match="at .*moved/manifest.csv; .* --data="):
        loop.evaluate(str(workdir))
    assert loop.evaluate(str(workdir), str(tmp_path / "again"))["ua"] == before["ua"]


def test_a_workdir_in_use_is_left_alone(quick_workdir, quick_config, tmp_path):
    folder = tmp_path / "w"
    shutil.copytree(quick_workdir, folder)

    def content():
        return {p: p.read_bytes() for p in folder.rglob("[!.]*") if p.is_file()}

    before = content()
    with lock.lock(epath.Path(folder)):
        for command in (
            lambda: loop.train_and_evaluate(quick_config, str(folder)),
            lambda: loop.evaluate(str(folder)),
        ):
            with pytest.raises(InputError, match="is in use by process"):
                command()
    assert content() == before
