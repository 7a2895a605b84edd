"""Frames on the device or on the host: the same training, and who decides."""

import itertools

import jax
import numpy as np
import pytest

from ser_jax.training import experiment as experiment_lib
from ser_jax.training import feeder, loop
from ser_jax.training.trainer import Trainer
from tests.training.common import posteriors_of, stop_after


class _Device:
    process_index = 0

    def __init__(self, stats):
        self._stats = stats

    def memory_stats(self):
        return self._stats


@pytest.mark.parametrize(
    ("asked", "num_bytes", "expected"),
    [
        ("auto", 500, "device"),
        ("auto", 501, "host"),
        ("device", 501, "device"),
        ("host", 1, "host"),
    ],
)
def test_auto_keeps_to_a_share_of_the_accelerators_memory(
    tiny_config, asked, num_bytes, expected
):
    tiny_config.data.frames_on, tiny_config.data.device_share = asked, 0.25
    storage = feeder.choose_storage(
        num_bytes, tiny_config.data, [_Device({"bytes_limit": 2000})] * 3
    )
    assert storage.on == expected and storage.budget_bytes == 500
    assert f"data.frames_on={asked}" in str(storage)


def test_cpu_devices_divide_the_hosts_memory(tmp_path, monkeypatch):
    limit = tmp_path / "limit"
    monkeypatch.setattr(feeder, "_LIMITS", (limit, tmp_path / "absent"))
    whole = feeder.host_bytes()
    limit.write_text("max\n")
    assert feeder.host_bytes() == whole > 2**20
    limit.write_text(f"{2**20}\n")
    assert feeder.device_bytes([_Device(None)] * 4) == 2**18


def _trained(config):
    """Parameters after some steps, posteriors of the test parts, and the trainer."""
    experiment = experiment_lib.prepare(config)
    trainer = Trainer(config, experiment)
    planned = trainer.plan(trainer.initial_snapshot().records)
    for call in itertools.islice(trainer.calls(planned), 3):
        trainer.train(call)
    states = trainer.placement.collect(trainer.states)
    weights = [state.weights for state in trainer.states]
    tested = trainer.posteriors(weights, [run.test for run in experiment.runs])
    return states, tested, trainer


@pytest.mark.parametrize(
    ("rule", "pad", "steps_per_call", "mode", "devices"),
    [
        ("slide", "before_norm", 1, "loop", 1),
        ("slide", "after_norm", 3, "map", 4),
        ("whole", "after_norm", 1, "vmap", 1),
    ],
)
def test_both_placements_train_and_test_alike_to_the_bit(
    quick_config, rule, pad, steps_per_call, mode, devices
):
    quick_config.segment.rule, quick_config.segment.buckets = rule, 3
    quick_config.data.pad, quick_config.protocol.groups = pad, 2
    quick_config.train.steps_per_call = steps_per_call
    quick_config.train.runs_per_device, quick_config.train.devices = mode, devices
    found = {}
    for placement in ("device", "host"):
        quick_config.data.frames_on = placement
        states, tested, trainer = _trained(quick_config)
        assert trainer.feeder.storage.on == placement
        assert (trainer.feeder.tables.frames is None) == (placement == "host")
        found[placement] = jax.tree.leaves((states, tested))
    for device, host in zip(*found.values(), strict=True):
        np.testing.assert_array_equal(device, host)


def test_a_table_that_goes_up_in_parts_is_the_same(quick_config, monkeypatch):
    experiment = experiment_lib.prepare(quick_config)
    whole = Trainer(quick_config, experiment).feeder.tables.frames
    row = 4 * int(np.prod(experiment.frame_table.shape[1:]))
    monkeypatch.setattr(feeder, "_PART_BYTES", 101 * row)
    quick_config.train.devices = 2
    parts = Trainer(quick_config, experiment).feeder.tables.frames
    assert len(whole) > 1000 and len(parts.sharding.device_set) == 2
    np.testing.assert_array_equal(whole, parts)


@pytest.mark.slow
def test_stopping_and_going_on_with_frames_on_the_host_ends_the_same(
    quick_config, tmp_path, monkeypatch
):
    """Trained in one go on the device; stopped on the host and resumed there."""
    loop.train_and_evaluate(quick_config, str(tmp_path / "device"))
    quick_config.data.frames_on = "host"
    with monkeypatch.context() as patch:
        stop_after(patch, 9)
        with pytest.raises(loop.Stopped):
            loop.train_and_evaluate(quick_config, str(tmp_path / "host"))
    results = loop.train_and_evaluate(quick_config, str(tmp_path / "host"))
    assert results["frames"]["on"] == "host"
    np.testing.assert_array_equal(
        posteriors_of(tmp_path / "host"), posteriors_of(tmp_path / "device")
    )


def test_a_failure_in_the_thread_reaches_the_caller(quick_config):
    quick_config.data.frames_on = "host"
    experiment = experiment_lib.prepare(quick_config)
    trainer = Trainer(quick_config, experiment)
    planned = trainer.plan(trainer.initial_snapshot().records)
    planned.index.start[:, 1] = 2**31 - 1  # beyond the table
    with pytest.raises(IndexError):
        list(trainer.calls(planned))
