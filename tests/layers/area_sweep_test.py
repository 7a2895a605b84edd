"""Every way to visit all areas, against areas that are formed one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax.layers import area_kernel, area_pooling, area_streaming
from ser_jax.layers.area_attention import area_attention

# implementation, loops, written out by width
WAYS = {
    "loops": ("xla", True, False),
    "loops, written out by width": ("xla", True, True),
    "written out": ("xla", False, False),
    "kernel": ("pallas", False, False),
}
# Two strips of rows and three of columns in the kernel, the last ones cut off.
SHAPE = BATCH, ROWS, COLUMNS, QUERIES = 2, 11, 9, 3


def area(share, keep, sums, numbers):
    """A result that tells all arguments apart; 0 if the first sum is LOWEST."""
    (logit, other), (number,) = sums, numbers
    term = jnp.exp(logit * share - number)
    survives = term if keep is None else jnp.where(keep, term, 0)
    return survives * share * other, term


@pytest.mark.parametrize(
    ("max_area", "rate"), [((3, 2), 0.4), ((1, 4), 0.0), ((2, 1), 0.4)]
)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_visits_all_areas_once(way, max_area, rate, monkeypatch):
    implementation, loops, unroll = WAYS[way]
    monkeypatch.setattr(area_streaming, "use_loops", lambda: loops)
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((2, *SHAPE)).astype(np.float32)
    mask = rng.random(SHAPE[:3]) > 0.1
    number = rng.standard_normal((BATCH, QUERIES)).astype(np.float32)
    areas = area_pooling.Areas(
        (ROWS, COLUMNS), max_area, dropout_rate=rate, implementation=implementation
    )
    seeds = area_pooling.area_seeds(jax.random.key(0), areas.sizes) if rate else None

    @jax.jit
    def run(maps, number, mask):
        # A block from the middle of 5 examples and 10 queries.
        first = jnp.int32(2), jnp.int32(4)
        block = area_pooling.Block(first, (5, 10), None, None, None, mask, seeds)
        maps = tuple(x.reshape(BATCH, -1, QUERIES) for x in maps)
        return area_streaming.sweep(area, maps, (number,), block, areas, unroll=unroll)

    results, total = run(maps, number, mask.reshape(BATCH, -1))
    expected, terms = enumerate_areas(maps, mask, number, areas, seeds)
    np.testing.assert_allclose(results, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(total, terms, rtol=1e-4)


def enumerate_areas(maps, mask, number, areas, seeds):
    """The same, area by area, in float64."""
    maps = maps.astype(np.float64)
    results, total = np.zeros(SHAPE), np.zeros((BATCH, QUERIES))
    for index, (height, width) in enumerate(areas.sizes):
        if seeds is not None:
            axes = (2 + np.arange(BATCH), np.arange(ROWS), np.arange(COLUMNS))
            axes = *axes, 4 + np.arange(QUERIES)
            ids = area_pooling.area_ids(*map(jnp.asarray, axes), (5, ROWS, COLUMNS, 10))
            keep = area_pooling.keep_mask(seeds[index], ids, areas.dropout_rate)
            keep = np.asarray(keep)
        for i in range(ROWS - height + 1):
            for j in range(COLUMNS - width + 1):
                at = np.s_[:, i : i + height, j : j + width]
                valid = mask[at].all(axis=(1, 2))[:, None]
                logit, other = (x[at].sum(axis=(1, 2)) for x in maps)
                term = valid * np.exp(logit / (height * width) - number)
                total += term
                if seeds is not None:
                    term = term * keep[:, i, j]
                results[at] += (term * other / (height * width))[:, None, None]
    return results.reshape(BATCH, -1, QUERIES), total


# Compiling the interpreted kernel takes seconds, more with every area size.
@pytest.mark.parametrize(
    ("value_mode", "loops", "max_area"),
    [("sum", True, (2, 1)), ("mean", False, (1, 2))],
)
def test_the_kernel_gives_the_attention_and_its_gradients(
    value_mode, loops, max_area, monkeypatch
):
    monkeypatch.setattr(area_kernel, "COLUMNS", 2)
    monkeypatch.setattr(area_streaming, "use_loops", lambda: loops)
    rng = np.random.default_rng(1)
    shapes = (2, 4, 6), (2, 3, 5, 6), (2, 3, 5, 7)
    arrays = [jnp.asarray(rng.standard_normal(s, np.float32)) for s in shapes]
    common = {
        "max_area": max_area,
        "value_mode": value_mode,
        "mask": jnp.asarray(rng.random((2, 3, 5)) > 0.2),
        "dropout_rate": 0.3,
        "dropout_key": jax.random.key(0),
    }

    def loss(*a, implementation):
        return (area_attention(*a, implementation=implementation, **common) ** 2).sum()

    kernel, plain = (
        jax.jit(
            jax.value_and_grad(functools.partial(loss, implementation=way), (0, 1, 2))
        )(*arrays)
        for way in ("pallas", "xla")
    )
    for ours, theirs in zip(
        jax.tree.leaves(kernel), jax.tree.leaves(plain), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_kernel_runs_for_stacked_and_sharded_runs(monkeypatch):
    monkeypatch.setattr(area_kernel, "COLUMNS", 2)
    rng = np.random.default_rng(2)
    shapes = (2, 2, 3, 4), (2, 2, 3, 2, 4), (2, 2, 3, 2, 5)
    runs = [jnp.asarray(rng.standard_normal(s, np.float32)) for s in shapes]

    def loss(*a, implementation="pallas"):
        out = area_attention(*a, max_area=(2, 1), implementation=implementation)
        return (out**2).sum()

    grad = jax.grad(loss, (0, 1, 2))
    plain = jax.grad(functools.partial(loss, implementation="xla"), (0, 1, 2))
    expected = jax.jit(jax.vmap(plain))(*runs)
    mesh = jax.make_mesh((2,), ("run",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("run")
    stacked = jax.jit(jax.vmap(grad))(*runs)
    # JAX's interpreter of kernels refuses the check; a GPU's compiler takes it
    # (benchmarks.gpu_programs).
    sharded = jax.shard_map(
        jax.vmap(grad), mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
    )
    for results in (stacked, jax.jit(sharded)(*runs)):
        for ours, theirs in zip(results, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
