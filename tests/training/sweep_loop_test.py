"""Sweeps on the main path: each run as if it were alone, tests of the chosen only."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ser_jax.ensemble import ensemble
from ser_jax.errors import InputError
from ser_jax.predict import trained_model
from ser_jax.report import report
from ser_jax.training import loop, sweep_choice
from ser_jax.training.trainer import Trainer
from ser_jax.workdir import checkpoint, files, metrics_log, predictions
from tests import conftest, encoder_folder, quick_model
from tests.training.common import curves_of, figures_of, posteriors_of, stop_after

ROOT = Path(__file__).parents[2]
RATES = (1e-2, 3e-3)  # the first is that of `quick_config`
FOLDS = ["s1", "s2", "s3", "s4", "s5"]


@pytest.fixture(scope="module")
def swept(tones, datasets, tmp_path_factory):
    """A finished sweep of one group, and which runs' tests were read while it ran."""
    folder, seen = tmp_path_factory.mktemp("swept") / "w", []
    original = Trainer.posteriors

    def posteriors(self, weights, segments):
        for run, of in zip(self.experiment.runs, segments, strict=True):
            if of is run.test and len(of.utterance):
                seen.append((run.point.number, run.fold.name))
        return original(self, weights, segments)

    config = conftest.make_tiny_config(tones, datasets)
    config.sweep = {"train.learning_rate": RATES}
    with pytest.MonkeyPatch.context() as patch:
        quick_model.replace(patch, "area_attn")
        patch.setattr(Trainer, "posteriors", posteriors)
        loop.train_and_evaluate(config, str(folder))
    return folder, seen


@pytest.fixture
def quick(monkeypatch):
    quick_model.replace(monkeypatch, "area_attn")


def _sweep_of(workdir) -> dict:
    return files.read_json(workdir / "results.json")["sweep"]


def _assert_equal_arrays(alone, group, runs: slice) -> None:
    alone, group = (checkpoint.read_newest(x).arrays for x in (alone, group))
    for name, array in alone.items():
        np.testing.assert_array_equal(array, group[name][runs], err_msg=name)


def test_a_point_is_what_it_is_alone(swept, quick_workdir):
    folder, _ = swept
    _assert_equal_arrays(quick_workdir, folder / "sweep" / "1", slice(0, 5))
    rows = metrics_log.read(folder / "sweep" / "1" / "metrics.jsonl")
    own = [row for row in rows if row["point"] == 0]
    for row in own:
        del row["seconds"], row["point"]
    assert own == curves_of(quick_workdir)
    best = checkpoint.read_newest(folder / "sweep" / "1").arrays
    assert any(not np.array_equal(x[:5], x[5:]) for x in best.values())


def _losses(workdir) -> dict:
    """Training losses of the first epoch by point and fold."""
    rows = metrics_log.read(workdir / "sweep" / "1" / "metrics.jsonl")
    return {
        (row["point"], row["fold"]): row["train_loss"]
        for row in rows
        if row["epoch"] == 1
    }


def test_points_train_side_by_side_as_one_by_one(swept, quick_config, tmp_path):
    """As on a GPU, where `vmap` gives each run its point's numbers."""
    quick_config.sweep = {"train.learning_rate": RATES}
    quick_config.train.runs_per_device, quick_config.train.epochs = "vmap", 1
    loop.train_and_evaluate(quick_config, str(tmp_path))
    alone, found = _losses(swept[0]), _losses(tmp_path)
    assert found == pytest.approx(alone, rel=1e-3)
    # Points differ by more than that.
    assert all(abs(alone[0, x] / alone[1, x] - 1) > 3e-3 for x in FOLDS)


def test_each_folds_best_point_is_tested_and_no_other(swept, quick_workdir):
    folder, seen = swept
    about, results = _sweep_of(folder), files.read_json(folder / "results.json")
    for fold in FOLDS:
        scores = [x["parts"][fold] for x in about["points"]]
        ranks = [(x["val_ua"], -x["val_loss"]) for x in scores]
        assert about["chosen"][fold] == ranks.index(max(ranks))
    chosen = [(about["chosen"][fold], fold) for fold in FOLDS]
    assert seen == chosen  # once each
    assert [(run["point"], run["fold"]) for run in results["runs"]] == chosen
    assert (about["runs"], len(about["points"])) == (10, 2)
    # Where it chose the point of `quick_workdir` it answers the same.
    both = [predictions.read(x / "predictions.csv")[0] for x in (folder, quick_workdir)]
    alone = {(line.fold, line.utterance): line for line in both[1]}
    same = [line for line in both[0] if about["chosen"][line.fold] == 0]
    assert same
    assert all(line == alone[line.fold, line.utterance] for line in same)


def test_folds_may_choose_different_points_of_a_group(
    swept, quick, quick_workdir, tmp_path, monkeypatch
):
    folder = shutil.copytree(swept[0], tmp_path / "w")
    chosen = dict(zip(FOLDS, (1, 0, 1, 0, 0), strict=True))
    monkeypatch.setattr(sweep_choice, "choose", lambda _: chosen)
    results = loop.evaluate(str(folder))
    assert {run["fold"]: run["point"] for run in results["runs"]} == chosen
    both = [predictions.read(x / "predictions.csv")[0] for x in (folder, quick_workdir)]
    alone = {(line.fold, line.utterance): line for line in both[1]}
    for line in both[0]:  # those of `quick_workdir` are of point 0
        assert (line == alone[line.fold, line.utterance]) == (chosen[line.fold] == 0)


def test_the_workdir_is_a_model_of_the_chosen_runs(swept, quick):
    folder, _ = swept
    trained = trained_model.load(folder)
    assert trained.runs == tuple((fold, 0) for fold in FOLDS)
    stored = checkpoint.read_newest(folder / "sweep" / "1").arrays
    chosen = _sweep_of(folder)["chosen"]
    places = [5 * chosen[fold] + n for n, fold in enumerate(FOLDS)]
    held = checkpoint.read_newest(folder).arrays
    assert held
    for name, array in held.items():
        np.testing.assert_array_equal(array, stored[name][places], err_msg=name)
    rows = metrics_log.read(folder / "metrics.jsonl")
    assert {(row["fold"], row["point"]) for row in rows} == {*chosen.items()}
    with pytest.raises(InputError, match=f"all points of a sweep. Name {folder},"):
        trained_model.load(folder / "sweep" / "1")


def test_it_is_evaluated_reported_and_fused_as_any_workdir(
    swept, quick, quick_workdir, tmp_path
):
    folder = shutil.copytree(swept[0], tmp_path / "w")
    loop.evaluate(str(folder))
    assert figures_of(folder) == figures_of(swept[0])
    np.testing.assert_array_equal(posteriors_of(folder), posteriors_of(swept[0]))
    printed = report.write_report(folder)
    assert "(nested; tests seen once)" in printed
    page = (folder / "report.md").read_text()
    assert "**The choice is nested:**" in page
    for number, rate in enumerate(RATES):
        folds = [x for x, n in _sweep_of(folder)["chosen"].items() if n == number]
        shown = ", ".join(folds) if len(folds) <= 4 else "several"
        assert f"| `{rate}` | {shown or '–'} | {len(folds)} |" in page
    ensemble.run([folder, quick_workdir], str(tmp_path / "e"))


def test_another_sweep_is_refused_there(swept, quick_config):
    quick_config.sweep = {"train.learning_rate": (1e-2, 1e-4)}
    with pytest.raises(InputError, match="another config:\n  sweep:"):
        loop.train_and_evaluate(quick_config, str(swept[0]))


SWEEP = {"train.batch_size": (8, 12), "train.learning_rate": RATES}
KILLED = """
import signal, sys; sys.path[:0] = [{root!r}]
import pytest
from tests import conftest, quick_model
from tests.training import common
from ser_jax.training import loop, sweep_choice
patch = pytest.MonkeyPatch()
quick_model.replace(patch, "area_attn")
common.stop_after(patch, {calls}, signal.SIGKILL)
config = conftest.make_tiny_config({tones!r}, {datasets!r})
config.sweep = {sweep!r}
loop.train_and_evaluate(config, {workdir!r})
"""


@pytest.mark.slow
def test_killed_in_a_group_or_between_two_it_ends_the_same(
    quick_config, tmp_path, tones, datasets, monkeypatch
):
    quick_config.sweep = SWEEP
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    loop.train_and_evaluate(quick_config, str(whole))
    # 2 epochs of 11 and of 7 calls: in each group's second epoch.
    with monkeypatch.context() as patch:
        stop_after(patch, 13)
        with pytest.raises(loop.Stopped, match="in epoch 2; saved"):
            loop.train_and_evaluate(quick_config, str(parts))
    assert not (parts / "sweep" / "2").exists()
    with pytest.raises(InputError, match="finished sweep; group 1 of 2"):
        loop.evaluate(str(parts))
    with pytest.raises(InputError, match="has not chosen yet"):
        trained_model.load(parts)
    places = {"tones": str(tones), "datasets": datasets, "root": str(ROOT)}
    script = KILLED.format(calls=9 + 9, sweep=SWEEP, workdir=str(parts), **places)
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (parts / "sweep" / "1" / "outcome.json").exists()
    assert not (parts / "sweep" / "2" / "outcome.json").exists()
    loop.train_and_evaluate(quick_config, str(parts))
    assert figures_of(parts) == figures_of(whole)
    assert curves_of(parts) == curves_of(whole)
    np.testing.assert_array_equal(posteriors_of(parts), posteriors_of(whole))
    quick_config.sweep = None
    quick_config.train.batch_size, quick_config.train.learning_rate = 12, 3e-3
    loop.train_and_evaluate(quick_config, str(tmp_path / "alone"))
    _assert_equal_arrays(tmp_path / "alone", parts / "sweep" / "2", slice(5, 10))
    # Weights of another moment than the scores that chose them are not tested.
    path = parts / "sweep" / "2" / "outcome.json"
    outcome = json.loads(path.read_text())
    outcome["records"][0]["updates"] += 1
    path.write_text(json.dumps(outcome))
    with pytest.raises(InputError, match="got an earlier one"):
        loop.evaluate(str(parts))


@pytest.mark.slow
def test_points_that_fall_behind_take_no_more_steps(quick_config, tmp_path):
    train = quick_config.train
    train.epochs, train.halving = 4, 2
    quick_config.sweep = {"train.learning_rate": (1e-2, 1e-4, 3e-3, 1e-5)}
    loop.train_and_evaluate(quick_config, str(tmp_path))
    rows = metrics_log.read(tmp_path / "sweep" / "1" / "metrics.jsonl")
    for fold in FOLDS:
        last = [
            max(x["epoch"] for x in rows if (x["fold"], x["point"]) == (fold, n))
            for n in range(4)
        ]
        assert sorted(last) == [1, 1, 2, 4]  # rungs after 1 and 2 of 4
        first = [
            next(x for x in rows if (x["fold"], x["point"]) == (fold, n))
            for n in range(4)
        ]
        ranks = [(x["val_ua"], -x["val_loss"]) for x in first]
        assert {n for n in range(4) if last[n] > 1} == {
            *sorted(range(4), key=lambda n: ranks[n])[2:]
        }
        assert last[_sweep_of(tmp_path)["chosen"][fold]] == 4
    points = _sweep_of(tmp_path)["points"]
    assert sum(x["parts"]["s1"]["halted"] for x in points) == 3
    assert (
        "stopped in"
        in report.write_report(tmp_path) + (tmp_path / "report.md").read_text()
    )


@pytest.mark.slow
def test_the_flagships_points_share_a_program(tones, datasets, tmp_path):
    """Real layers, compiled once: rates and dropout are arguments, the bits the same."""
    config = conftest.make_tiny_config(tones, datasets)
    config.protocol.groups, config.protocol.validation = 2, "random"
    config.train.epochs = 1
    swept = {"train.learning_rate": RATES, "model.head_dropout": (0.2, 0.37)}
    config.sweep = swept
    loop.train_and_evaluate(config, str(tmp_path / "w"))
    assert len(list((tmp_path / "w" / "sweep").iterdir())) == 1
    config.sweep = None
    config.train.learning_rate, config.model.head_dropout = 3e-3, 0.37
    loop.train_and_evaluate(config, str(tmp_path / "alone"))
    _assert_equal_arrays(
        tmp_path / "alone", tmp_path / "w" / "sweep" / "1", slice(6, 8)
    )
    config.sweep, config.train.runs_per_device = swept, "vmap"
    loop.train_and_evaluate(config, str(tmp_path / "vmap"))
    assert _losses(tmp_path / "vmap") == pytest.approx(
        _losses(tmp_path / "w"), rel=1e-3
    )


@pytest.mark.slow
def test_where_folds_choose_different_layers_of_an_encoder(
    tones, datasets, once, tmp_path, monkeypatch
):
    """Each layer is other data, a group of its own; no one network is there to predict."""
    folder = once("encoder", encoder_folder.write)
    config = encoder_folder.tiny_config(tones, datasets, folder)
    config.protocol.selection, config.protocol.validation = "val", "random"
    config.sweep = {"encoder.layers": ((0,), (2,))}
    with monkeypatch.context() as patch:
        patch.setattr(sweep_choice, "choose", lambda _: {"group1": 1, "group2": 0})
        results = loop.train_and_evaluate(config, str(tmp_path))
    assert [x["values"] for x in results["sweep"]["points"]] == [
        {"encoder.layers": [0]},
        {"encoder.layers": [2]},
    ]
    assert [(x["fold"], x["point"]) for x in results["runs"]] == [
        *(("group1", 1), ("group2", 0))
    ]
    assert "`[2]` | group1 | 1 |" in (
        report.write_report(tmp_path) + (tmp_path / "report.md").read_text()
    )
    places = " (chosen by 1 folds), ".join(str(tmp_path / "points" / x) for x in "01")
    with pytest.raises(InputError, match=f"no single model.*{re.escape(places)}"):
        trained_model.load(tmp_path)
    # A point's folder is what training it alone leaves, its tests not yet read.
    own = tmp_path / "points" / "1"
    assert trained_model.load(own).config.encoder.layers == (2,)
    assert not (own / "results.json").exists()
    for key, value in (("layers", (2,)), ("weights", str(folder))):
        config.encoder[key] = value
    config.sweep = None
    loop.train_and_evaluate(config, str(own))  # all runs have ended
    lines = [predictions.read(x / "predictions.csv")[0] for x in (own, tmp_path)]
    alone, found = ([x for x in of if x.fold == "group1"] for of in lines)
    assert [x.utterance for x in alone] == [x.utterance for x in found]
    for one, other in zip(alone, found, strict=True):  # evaluated on other devices
        np.testing.assert_allclose(one.posteriors, other.posteriors, atol=1e-6)
