"""Runs on the mesh: same numbers anywhere, and nothing crosses between runs."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax.errors import InputError
from ser_jax.training import runs

NUM_RUNS = 5


def _decay(placement):
    """A function with a matmul, a reduction over the batch and a random draw."""

    def one_run(shared, state, batch, seed):
        batch = placement.split_batch(batch)
        noise = jax.random.normal(jax.random.key(seed), batch.shape)
        out = jnp.tanh((batch + 0.1 * noise) @ state)
        return {"state": state - shared * out.mean(0), "sum": out.sum()}

    return one_run


def _inputs():
    rng = np.random.default_rng(0)
    state = rng.standard_normal((NUM_RUNS, 3, 7)).astype(np.float32)
    batch = rng.standard_normal((NUM_RUNS, 4, 3)).astype(np.float32)
    return state, batch, np.arange(NUM_RUNS, dtype=np.uint32)


def _run_all(num_runs, mode, devices, per_call=0):
    placement = runs.place(num_runs, mode=mode, num_devices=devices, per_call=per_call)
    function = placement.compile(_decay(placement))
    shared = placement.replicate(np.float32(0.5))
    stacked = jax.tree.map(lambda x: x[:num_runs], _inputs())
    rounds = zip(*[placement.scatter(x) for x in stacked], strict=True)
    return placement, placement.collect(
        [function(shared, *one_round) for one_round in rounds]
    )


@pytest.mark.parametrize("mode", ["loop", "map", "vmap"])
@pytest.mark.parametrize("devices", [1, 2, 5, 8])
def test_any_placement_gives_what_one_run_after_the_other_gives(mode, devices):
    _, alone = _run_all(NUM_RUNS, "loop", 1)
    _, spread = _run_all(NUM_RUNS, mode, devices)
    assert spread["state"].shape == (NUM_RUNS, 3, 7)
    # Another batch size of the same matmul may round its last bit otherwise.
    np.testing.assert_allclose(spread["state"], alone["state"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(spread["sum"], alone["sum"], rtol=1e-6)


def test_runs_differ_from_each_other():
    _, found = _run_all(NUM_RUNS, "loop", 2)
    assert len({float(x) for x in found["sum"]}) == NUM_RUNS


def _collective_groups(placement) -> list[str]:
    function = placement.compile(_decay(placement))
    stacked = jax.tree.map(lambda x: x[: placement.num_runs], _inputs())
    parts = [placement.put(placement.select(x, 0)) for x in stacked]
    compiled = function.lower(placement.replicate(np.float32(0.5)), *parts).compile()
    pattern = r"(?:all-\w+|collective-\w+|reduce-scatter)[\w-]*\(.*"
    return re.findall(pattern, compiled.as_text())


@pytest.mark.parametrize("mode", ["loop", "map", "vmap"])
def test_no_collective_between_runs(mode):
    placement = runs.place(NUM_RUNS, mode=mode, num_devices=5)
    assert placement.mesh.shape == {"run": 5, "data": 1}
    assert _collective_groups(placement) == []


def test_spare_devices_split_the_batch_of_a_run():
    placement, found = _run_all(3, "auto", 8)
    assert placement.mesh.shape == {"run": 4, "data": 2}
    _, alone = _run_all(3, "loop", 1)
    np.testing.assert_allclose(found["state"], alone["state"], rtol=0, atol=1e-6)
    groups = _collective_groups(placement)
    # Sums over a batch cross the two devices of a run: 4 groups of 2, never more.
    assert groups and all("[4,2]<=[8]" in line for line in groups)


def test_runs_that_do_not_divide_the_devices_fill_up_with_the_first():
    placement = runs.place(5, mode="map", num_devices=2)
    assert (placement.per_device, placement.rounds, placement.round_size) == (3, 1, 6)
    np.testing.assert_array_equal(
        placement.select(np.arange(10, 15), 0), [10, 11, 12, 13, 14, 10]
    )
    loop = runs.place(5, mode="loop", num_devices=2)
    assert (loop.per_device, loop.rounds, loop.round_size) == (1, 3, 2)
    np.testing.assert_array_equal(loop.select(np.arange(10, 15), 2), [14, 10])


def test_too_many_devices_say_how_many_there_are():
    with pytest.raises(InputError, match="at most 8 .cpu.; got 9"):
        runs.place(5, num_devices=9)


@pytest.mark.parametrize(
    ("per_call", "expected"),
    [(0, (4, 1)), (1, (1, 4)), (2, (2, 2)), (3, (2, 2)), (9, (4, 1))],
)
def test_rounds_are_as_equal_as_the_limit_allows(per_call, expected):
    """7 runs on 2 devices: 4 of them on the fuller one."""
    placement = runs.place(7, mode="vmap", num_devices=2, per_call=per_call)
    assert (placement.per_device, placement.rounds) == expected
    numbers = np.concatenate(placement.scatter(np.arange(7)))
    np.testing.assert_array_equal(numbers[:7], np.arange(7))


@pytest.mark.parametrize("mode", ["map", "vmap"])
def test_rounds_of_several_runs_give_what_runs_alone_give(mode):
    _, alone = _run_all(NUM_RUNS, "loop", 1)
    _, found = _run_all(NUM_RUNS, mode, 1, per_call=2)
    np.testing.assert_allclose(found["state"], alone["state"], rtol=0, atol=1e-6)
