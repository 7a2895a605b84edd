"""Workdir and dataset in a bucket: trained, killed, resumed, predicted from, reported."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from etils import epath

from ser_jax.datasets import build
from ser_jax.errors import InputError
from ser_jax.predict.recognizer import Recognizer
from ser_jax.report import report
from ser_jax.training import loop
from tests import buckets
from tests.training.common import curves_of, figures_of, posteriors_of

ROOT = Path(__file__).parents[2]

# In the second epoch, once the checkpoint of the first is there.
KILLED = """
import os, signal, sys, time; sys.path[:0] = [{root!r}]
import pytest
import soundfile
from etils import epath
from tests import conftest, quick_model
from ser_jax.training import loop
from ser_jax.training.trainer import Trainer
patch = pytest.MonkeyPatch()
quick_model.replace(patch, "area_attn")
train, calls = Trainer.train, []
def until_killed(self, call):
    train(self, call)
    calls.append(call)
    while len(calls) > 12:
        if epath.Path({workdir!r}, "checkpoints/0/commit_success.txt").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(.1)
patch.setattr(Trainer, "train", until_killed)
config = conftest.make_tiny_config({tones!r}, {datasets!r})
loop.train_and_evaluate(config, {workdir!r})
"""


@pytest.fixture(params=["gs", "s3"])
def store(request, monkeypatch, tmp_path):
    """An empty bucket, and a machine that has nothing of it yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with buckets.emulator(request.param, monkeypatch) as url:
        yield url


@pytest.mark.slow
def test_a_training_in_a_bucket_is_that_on_a_disk(
    store, quick_workdir, quick_config, tones, tmp_path, monkeypatch
):
    datasets, workdir = f"{store}/sets", f"{store}/runs/w"
    script = KILLED.format(
        root=str(ROOT), tones=str(tones), datasets=datasets, workdir=workdir
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    folder = epath.Path(workdir)
    assert not (folder / "results.json").exists()
    assert [x.name for x in (folder / "checkpoints").iterdir()] == ["0"]

    # Another machine goes on, which finds the features in the bucket.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(build, "_build", None)
    quick_config.data.tfds_dir = datasets
    loop.train_and_evaluate(quick_config, workdir)
    assert curves_of(folder) == curves_of(quick_workdir)
    assert figures_of(folder) == figures_of(quick_workdir)
    np.testing.assert_array_equal(posteriors_of(folder), posteriors_of(quick_workdir))
    assert [x.name for x in (folder / "tensorboard").iterdir()]

    samples, rate_hz = soundfile.read(next(tones.parent.glob("*.wav")))
    answers = [
        Recognizer.from_workdir(str(one))(samples, rate_hz).probabilities
        for one in (workdir, quick_workdir)
    ]
    np.testing.assert_array_equal(*answers)
    command = [sys.executable, "run.py", "report", f"--workdir={workdir}"]
    table = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    here = report.write_report(shutil.copytree(quick_workdir, tmp_path / "here"))
    assert table.stdout.decode().split("\n\n")[0] == here.split("\n\n")[0]
    assert "<html" in (folder / "report.html").read_text()

    # A third machine finds a dataset that TFDS itself copies, info first.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "third"))
    shard = next(epath.Path(datasets, "manifest").glob("*/*/*array_record*"))
    shard.unlink()
    with pytest.raises(
        InputError, match=f"whole dataset in .*, got none of {shard.name}"
    ):
        build.ensure_built(quick_config.data)


@pytest.mark.slow
def test_a_missing_bucket_is_one_line_of_the_command(monkeypatch):
    with buckets.emulator("s3", monkeypatch):
        command = [sys.executable, "run.py", "report", "--workdir=s3://absent/w"]
        got = subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
    assert got.returncode == 2
    assert got.stderr.decode().startswith("error: expected the bucket s3://absent,")
    assert got.stderr.count(b"\n") == 1
