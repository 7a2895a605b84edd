"""What `auto` does on an accelerator, forced on CPU devices."""

import json

import jax
import numpy as np
import pytest

from ser_jax.training import autotune, runs
from ser_jax.training import experiment as experiment_lib
from ser_jax.training.trainer import Trainer
from ser_jax.workdir import files
from ser_jax.workdir.workdir import Workdir


@pytest.fixture
def accelerator(monkeypatch):
    """CPU devices for which no rule is known, with 1 GB of memory left."""
    monkeypatch.setattr(autotune, "LOOP_PLATFORMS", ())
    monkeypatch.setattr(autotune, "free_bytes", lambda: 1e9)
    monkeypatch.setattr(autotune, "TIMED_CALLS", 1)


@pytest.fixture
def trainer(quick_config):
    """Five runs on one device."""
    quick_config.train.runs_per_device = "auto"
    return Trainer(quick_config, experiment_lib.prepare(quick_config))


def _kind(placement):
    return placement.mode, placement.per_device, placement.rounds


def test_on_a_cpu_nothing_is_measured(trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(autotune, "time_placements", None)
    autotune.tune(trainer, Workdir(tmp_path))
    assert _kind(trainer.placement) == ("loop", 1, 5)
    assert not (tmp_path / files.PLACEMENT).exists()


def test_auto_measures_keeps_the_choice_and_repeats_it(
    accelerator, trainer, tmp_path, monkeypatch, caplog
):
    """And the trainer starts from the beginning, whatever was tried out on it."""
    workdir = Workdir(tmp_path)
    before = trainer.placement.collect(trainer.states)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        autotune.tune(trainer, workdir)
    # Threads, whose compilations are not logged, have left the calls none.
    assert "Finished jaxpr to MLIR module conversion jit(sharded)" in caplog.text
    assert "Finished XLA compilation of jit(sharded)" not in caplog.text
    record = json.loads((tmp_path / files.PLACEMENT).read_text())
    assert set(record["seconds_of_a_call"]) == {"loop of 1", "vmap of 5"}
    assert all(x > 0 for x in record["seconds_of_a_call"].values())
    assert _kind(trainer.placement)[:2] == (record["mode"], record["runs_per_call"])
    after = trainer.placement.collect(trainer.states)
    jax.tree.map(np.testing.assert_array_equal, after, before)

    record |= {"mode": "vmap", "runs_per_call": 2}
    files.write_json(workdir.path / files.PLACEMENT, record)
    (tmp_path / "checkpoints" / "0").mkdir(parents=True)
    monkeypatch.setattr(autotune, "time_placements", None)
    autotune.tune(trainer, workdir)
    assert _kind(trainer.placement) == ("vmap", 2, 3)


def _temporary_bytes(trainer):
    return 100 * trainer.placement.per_device


def test_vmap_takes_as_many_runs_as_fit(accelerator, trainer, monkeypatch):
    monkeypatch.setattr(autotune, "_temporary_bytes", _temporary_bytes)

    monkeypatch.setattr(autotune, "_seconds", lambda trainer: 1.0)
    for room, expected in [(2.5, ("vmap", 2, 3)), (1.5, ("loop", 1, 5))]:
        free = room * 100 / autotune.MEMORY_SHARE
        monkeypatch.setattr(autotune, "free_bytes", lambda free=free: free)
        (found,) = autotune.time_placements(trainer, batch_only=True)
        assert _kind(found) == expected


def test_a_call_that_runs_out_of_memory_is_halved(accelerator, trainer, monkeypatch):
    def seconds(trainer):
        if trainer.placement.per_device > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return 1.0 / trainer.placement.per_device

    monkeypatch.setattr(autotune, "_temporary_bytes", _temporary_bytes)
    monkeypatch.setattr(autotune, "_seconds", seconds)
    took = autotune.time_placements(trainer, batch_only=False)
    assert {_kind(x) for x in took} == {("loop", 1, 5), ("vmap", 2, 3)}
    assert autotune.fastest(took).mode == "vmap"


def test_a_call_that_does_not_fit_on_another_host_is_halved_here_too(
    accelerator, trainer, monkeypatch
):
    said = []

    def share(value):  # the other host has room for two runs
        said.append(value)
        return [value, None if trainer.placement.per_device > 2 else value]

    monkeypatch.setattr(autotune.hosts, "share", share)
    monkeypatch.setattr(autotune, "_temporary_bytes", _temporary_bytes)
    monkeypatch.setattr(autotune, "_seconds", lambda trainer: 1.0)
    took = autotune.time_placements(trainer, batch_only=False)
    assert said == [5, 1.0, 1.0]
    assert {_kind(x) for x in took} == {("loop", 1, 5), ("vmap", 2, 3)}


def test_vmap_must_be_worth_its_memory():
    loop, vmap = (runs.place(5, mode=mode, num_devices=1) for mode in ("loop", "vmap"))
    assert autotune.fastest({loop: 1.0, vmap: 0.97}) == loop
    assert autotune.fastest({loop: 1.0, vmap: 0.9}) == vmap


def test_many_runs_are_compiled_together_only_once_they_are_known_to_fit(
    accelerator, trainer, monkeypatch
):
    compiled = []

    def compile_(trainer, placements):
        compiled.append([_kind(placement) for placement in placements])
        trainer.use(placements[-1])

    monkeypatch.setattr(autotune, "_compile", compile_)
    monkeypatch.setattr(autotune, "_temporary_bytes", _temporary_bytes)
    monkeypatch.setattr(autotune, "_seconds", lambda trainer: 1.0)
    for limit in (5, 4):
        monkeypatch.setattr(autotune, "AHEAD", limit)
        autotune.time_placements(trainer, batch_only=False)
    assert compiled == [[("vmap", 5, 1), ("loop", 1, 5)], [("loop", 1, 5)]]
