"""area_attention equals enumeration of every area, forwards and backwards."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax.layers import area_pooling, area_streaming
from ser_jax.layers.area_attention import area_attention, attention_map, check_shapes
from tests.area_inputs import TOLERANCE, inputs, some_mask
from tests.reference import area_attention as reference

EVERYTHING = 10**6  # as top_k_areas: keeps all areas and forces the pooled path


@functools.cache
def compiled(**static):
    return jax.jit(functools.partial(area_attention, **static))


def attend(*arrays, mask=None, sample_key=None, **static):
    """area_attention, compiled as one: op by op it takes seconds."""
    mask = None if mask is None else jnp.asarray(mask)
    return compiled(**static)(*arrays, mask=mask, sample_key=sample_key)


@pytest.mark.parametrize("key_mode", ["mean", "max"])
@pytest.mark.parametrize("value_mode", ["sum", "mean", "max"])
def test_every_mode_equals_enumeration(key_mode, value_mode):
    arrays, mask = inputs(), some_mask()
    modes = {"max_area": (3, 2), "key_mode": key_mode, "value_mode": value_mode}
    expected = reference.area_attention(*arrays, mask=mask, **modes)
    streams = key_mode == "mean" and value_mode != "max"
    for top_k in (0, EVERYTHING) if streams else (0,):
        got = attend(*arrays, mask=mask, top_k_areas=top_k, **modes)
        np.testing.assert_allclose(got, expected, **TOLERANCE)


@pytest.mark.parametrize(
    ("max_area", "scale"),
    [((1, 3), "sqrt_d"), ((4, 1), "none"), ((9, 8), "sqrt_d")],
)
def test_area_sizes_up_to_and_beyond_the_map(max_area, scale):
    arrays = inputs()
    expected = reference.area_attention(*arrays, max_area=max_area, scale=scale)
    got = attend(*arrays, max_area=max_area, scale=scale)
    np.testing.assert_allclose(got, expected, **TOLERANCE)


def test_single_cells_are_plain_attention():
    query, key, value = inputs(values=3)
    flat = [x.reshape(2, 20, -1)[:, :, None] for x in (key, value)]
    expected = jax.nn.dot_product_attention(query[:, :, None], *flat)[:, :, 0]
    got = attend(query, key, value, max_area=(1, 1))
    np.testing.assert_allclose(got, expected, **TOLERANCE)


def test_a_map_of_one_cell_gives_its_value():
    query, key, value = inputs(rows=1, columns=1)
    got = attend(query, key, value, max_area=(3, 3))
    np.testing.assert_allclose(got, np.repeat(value[:, :, 0], 7, 1), atol=1e-6)


def slope(f, arrays, direction, step=1e-4):
    """Directional derivative of a float64 function by central differences."""

    def at(s):
        pairs = zip(arrays, direction, strict=True)
        return f(*(a.astype(np.float64) + s * d for a, d in pairs))

    return (at(step) - at(-step)) / (2 * step)


@pytest.mark.parametrize(
    ("value_mode", "masked", "rate"),
    [("sum", False, 0.0), ("mean", True, 0.0), ("mean", False, 0.4)],
)
def test_streaming_gradient_is_the_slope_of_the_enumeration(value_mode, masked, rate):
    arrays, direction = inputs(), inputs(seed=5)
    mask = some_mask() if masked else None
    modes = {"max_area": (3, 2), "value_mode": value_mode}
    key = jax.random.key(3)
    target = np.random.default_rng(2).normal(size=(2, 7, 6))
    keep = keep_factors(key, rate, (2, 5, 4, 7), (3, 2))

    def expected(*a):
        out = reference.area_attention(*a, mask=mask, keep=keep, **modes)
        return (out * target).sum()

    def ours(*a):
        valid = None if mask is None else jnp.asarray(mask)
        dropout = {"dropout_rate": rate, "dropout_key": key}
        out = area_attention(*a, mask=valid, **dropout, **modes)
        return (out * target).sum()

    value, grads = jax.jit(jax.value_and_grad(ours, (0, 1, 2)))(
        *map(jnp.asarray, arrays)
    )
    np.testing.assert_allclose(value, expected(*arrays), rtol=1e-4, atol=1e-4)
    along = sum((g * d).sum() for g, d in zip(grads, direction, strict=False))
    np.testing.assert_allclose(
        along, slope(expected, arrays, direction), rtol=1e-3, atol=1e-3
    )


def keep_factors(key, rate, shape, max_area):
    """Dropout factors [B, A, N] of all areas of a [B, H, W, N] array."""
    sizes = area_pooling.area_sizes(max_area, shape[1:3])
    return np.asarray(area_pooling.dropout_factors(key, sizes, shape, rate))


def value_and_gradients(top_k):
    """Of 37 queries with dropout and a mask; the path depends on `top_k`."""
    arrays = inputs(batch=3, queries=37)

    def loss(*a):
        out = area_attention(
            *a,
            mask=jnp.asarray(some_mask((3, 5, 4))),
            dropout_rate=0.5,
            dropout_key=jax.random.key(0),
            top_k_areas=top_k,
        )
        return (out**2).sum()

    return jax.tree.leaves(jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(*arrays))


@pytest.fixture(scope="module")
def pooled():
    return value_and_gradients(EVERYTHING)


# 5 x 4 cells: 16, 25 and all 37 queries at a time; the last overlaps or batches.
@pytest.mark.parametrize("block_bytes", [1 << 8, 1 << 11, 1 << 14])
def test_blocks_change_nothing(block_bytes, pooled, monkeypatch):
    monkeypatch.setitem(area_streaming.BLOCK_BYTES, "cpu", block_bytes)
    for ours, theirs in zip(value_and_gradients(0), pooled, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def test_dropout_keeps_the_stated_share_and_the_expectation():
    keep = keep_factors(jax.random.key(1), 0.3, (4, 9, 10, 50), (2, 2)) > 0
    # 58,140 x ... draws; standard error below 0.001, also between two sizes.
    assert abs(keep.mean() - 0.7) < 0.005
    both = keep[:, :72] & keep[:, 90:162]
    assert abs(both.mean() - 0.49) < 0.01
    other = keep_factors(jax.random.key(2), 0.3, (4, 9, 10, 50), (2, 2)) > 0
    assert abs((keep & other).mean() - 0.49) < 0.005


@pytest.mark.parametrize("top_k", [1, 4])
def test_top_k_keeps_the_largest_and_renormalises(top_k):
    arrays = inputs()
    expected = reference.area_attention(*arrays, max_area=(2, 3), top_k=top_k)
    got = attend(*arrays, max_area=(2, 3), top_k_areas=top_k)
    np.testing.assert_allclose(got, expected, **TOLERANCE)


def test_sampled_keys_are_means_without_a_key_and_noisy_with_one():
    arrays = inputs()
    mean = attend(*arrays, key_mode="mean")
    np.testing.assert_allclose(attend(*arrays, key_mode="sample"), mean)
    sampled = functools.partial(attend, *arrays, key_mode="sample")
    first = sampled(sample_key=jax.random.key(0))
    assert np.abs(first - mean).max() > 1e-2
    np.testing.assert_array_equal(first, sampled(sample_key=jax.random.key(0)))
    assert np.abs(first - sampled(sample_key=jax.random.key(1))).max() > 1e-2


@functools.partial(jax.jit, static_argnums=2)
def area_stds(key, mask, sizes):
    """Deviations of all areas, [B, A, D]."""
    return area_pooling.flatten_areas(area_pooling.area_stds(key, sizes, mask))


def test_statistics_of_areas_are_those_of_valid_cells():
    key, mask = inputs()[1], some_mask()
    sizes = area_pooling.area_sizes((2, 3), (5, 4))
    stds = area_stds(jnp.asarray(key), jnp.asarray(mask), sizes)
    heights, widths = area_pooling.area_shape_ids(sizes, (5, 4))
    heights, widths = np.asarray(heights), np.asarray(widths)
    for a, (i, j, h, w) in enumerate(reference.areas((5, 4), (2, 3))):
        assert (heights[a] + 1, widths[a] + 1) == (h, w)
        cells = key[1, i : i + h, j : j + w][mask[1, i : i + h, j : j + w]]
        if len(cells):
            expected = np.sqrt(cells.var(axis=0) + 1e-6)
            # E[x^2] - E[x]^2 cancels: 1e-7 becomes 3e-4 under the root.
            np.testing.assert_allclose(stds[1, a], expected, atol=1e-3)


def test_learned_keys_receive_mean_deviation_and_size():
    arrays = inputs()
    area_keys = functools.partial(attend, *arrays, key_mode="features")
    mean = attend(*arrays)
    np.testing.assert_allclose(
        area_keys(area_key_fn=lambda m, s, h, w: m), mean, **TOLERANCE
    )
    sized = area_keys(area_key_fn=lambda m, s, h, w: m + (h * w)[None, :, None])
    assert np.abs(sized - mean).max() > 1e-2
    with pytest.raises(ValueError, match="area_key_fn"):
        area_keys()


def test_an_example_without_valid_cells_gives_zeros_and_finite_gradients():
    arrays = [jnp.asarray(x) for x in inputs()]
    mask = jnp.asarray(some_mask()).at[0].set(False)
    for top_k in (0, EVERYTHING):

        def loss(*a, top_k=top_k):
            out = area_attention(*a, mask=mask, top_k_areas=top_k)
            return (out**2).sum(), out

        grads, out = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*arrays)
        assert np.all(out[0] == 0) and np.all(np.isfinite(out))
        assert np.abs(out[1]).max() > 0
        for grad in grads:
            assert np.all(np.isfinite(grad)) and np.all(grad[0] == 0)


def test_masked_cells_may_hold_anything():
    query, key, value = inputs()
    mask = some_mask()
    other = [np.where(mask[..., None], x, 77.0) for x in (key, value)]
    for modes in ({}, {"key_mode": "max", "value_mode": "max"}):
        np.testing.assert_array_equal(
            attend(query, *other, mask=mask, **modes),
            attend(query, key, value, mask=mask, **modes),
        )


def test_bfloat16_is_close_and_keeps_its_dtype():
    arrays = inputs()
    half = [jnp.asarray(x, jnp.bfloat16) for x in arrays]
    for modes in ({}, {"key_mode": "max"}):
        got = attend(*half, **modes)
        assert got.dtype == jnp.bfloat16
        # bfloat16 has 8 bits; sums of up to nine values.
        np.testing.assert_allclose(
            got.astype(jnp.float32), attend(*arrays, **modes), atol=0.1
        )


def test_jit_vmap_and_shard_map_agree(monkeypatch):
    monkeypatch.setitem(area_streaming.BLOCK_BYTES, "cpu", 1 << 11)  # several blocks
    stacked = [jnp.asarray(x) for x in inputs(batch=6, queries=37)]

    def loss(*a):
        return (area_attention(*a, max_area=(2, 3)) ** 2).sum()

    grad = jax.grad(loss, (0, 1, 2))
    expected = jax.jit(grad)(*stacked)
    runs = [x.reshape(3, 2, *x.shape[1:]) for x in stacked]
    mapped = jax.jit(jax.vmap(grad))(*runs)
    mesh = jax.make_mesh((1,), ("run",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("run")
    sharded = jax.shard_map(jax.vmap(grad), mesh=mesh, in_specs=spec, out_specs=spec)
    for results in (mapped, jax.jit(sharded)(*runs)):
        for got, want in zip(results, expected, strict=False):
            np.testing.assert_allclose(got.reshape(want.shape), want, **TOLERANCE)


def test_memory_does_not_grow_with_the_number_of_sizes(monkeypatch):
    monkeypatch.setitem(area_streaming.BLOCK_BYTES, "cpu", 1 << 13)
    arrays = inputs(batch=4, queries=240, rows=12, columns=20, depth=8, values=8)

    def temporary_bytes(max_area):
        def loss(*a):
            return (area_attention(*a, max_area=max_area) ** 2).sum()

        compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(*arrays).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    # 4 -> 16 sizes: materialised keys would take four times as much.
    assert temporary_bytes((4, 4)) < 1.3 * temporary_bytes((2, 2))


@pytest.mark.parametrize("top_k", [0, EVERYTHING])
def test_padding_the_grid_changes_nothing(top_k):
    query, key, value = inputs()
    padded = [np.pad(x, ((0, 0), (0, 2), (0, 3), (0, 0))) for x in (key, value)]
    mask = np.pad(np.ones((2, 5, 4), bool), ((0, 0), (0, 2), (0, 3)))
    got = attend(query, *padded, mask=mask, max_area=(3, 2), top_k_areas=top_k)
    expected = attend(query, key, value, max_area=(3, 2), top_k_areas=top_k)
    np.testing.assert_allclose(got, expected, **TOLERANCE)


def test_map_is_the_weight_of_the_areas_over_a_cell():
    query, key, _ = inputs()
    modes = {"max_area": (2, 3), "mask": jnp.asarray(some_mask())}
    eye = np.broadcast_to(np.eye(20, dtype=np.float32).reshape(5, 4, 20), (2, 5, 4, 20))
    expected = reference.area_attention(query, key, eye, **modes)
    for top_k in (0, EVERYTHING):
        got = jax.jit(functools.partial(attention_map, top_k_areas=top_k, **modes))(
            query, key
        )
        got = np.moveaxis(np.asarray(got).reshape(2, 20, 7), 1, 2)
        np.testing.assert_allclose(got, expected, **TOLERANCE)


def test_equals_the_pypi_package_with_its_grid_set():
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("area_attention")
    query, key, value = inputs()
    layer = peer.AreaAttention(
        key_query_size=3,
        area_key_mode="mean",
        area_value_mode="sum",
        max_area_height=3,
        max_area_width=2,
        memory_height=5,
        memory_width=4,
        dropout_rate=0.0,
        top_k_areas=0,
    )
    flat = [torch.tensor(x.reshape(2, 20, -1)) for x in (key, value)]
    with torch.no_grad():
        expected = layer(torch.tensor(query), *flat).numpy()
    got = attend(query, key, value, max_area=(3, 2))
    np.testing.assert_allclose(got, expected, **TOLERANCE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key_mode": "median"}, "key_mode: expected one of"),
        ({"value_mode": "min"}, "value_mode: expected one of"),
        ({"scale": "d"}, "scale: expected one of"),
        ({"dropout_rate": 1.0}, "dropout_rate: expected"),
        ({"max_area": (0, 2)}, "max_area: expected"),
        ({"implementation": "cuda"}, "implementation: expected one of"),
    ],
)
def test_impossible_options_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        attend(*inputs(), **change)


def test_grids_that_do_not_fit_are_refused():
    query, key, value = inputs()
    # The check itself: in tests the shape annotations would speak first.
    with pytest.raises(ValueError, match="expected query"):
        check_shapes(query, key, value[:, :4])
