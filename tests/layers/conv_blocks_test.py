"""Convolution blocks: padded maps are cut maps, modes, dilation, pooling, columns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.layers.conv_blocks import (
    ConvBlock,
    ConvSpec,
    DilatedResidualBlock,
    columns,
    max_pool,
    pool,
)
from tests.layers import common
from tests.layers.common import call

H, W, C, D = 6, 9, 2, 3  # bands, frames, channels in and out
# Sums of up to 70 float32 products.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}
DILATED = {"rtol": 1e-5, "atol": 1e-5}  # batch norms of sums of 40 products


def maps(valid):
    return common.maps(valid, H, W, C)


def block(kernel=(3, 5), dtype=jnp.float32, **options):
    spec = ConvSpec(kernel=kernel, **options)
    layer = ConvBlock(C, D, spec, dtype=dtype, rngs=nnx.Rngs(0))
    layer.conv.bias[...] = jnp.linspace(-1, 1, D)  # what leaks would be seen
    return layer


def dilated(skip="leaky_relu", features=(3, 5), dtype=jnp.float32):
    return DilatedResidualBlock(
        C, features, skip_activation=skip, dtype=dtype, rngs=nnx.Rngs(0)
    )


@pytest.mark.parametrize(
    ("options", "training"),
    [
        ("dilated", True),
        ("dilated", False),
        ({}, True),
        ({"norm": "plain", "activation": "leaky_relu", "pool": (2, 2)}, True),
        ({"norm": "batch", "activation": "leaky_relu", "pool": (2, 2)}, False),
        ({"norm": "none", "activation": "none", "dilation": 2, "pool": (3, 1)}, True),
    ],
)
def test_a_padded_map_is_the_map_without_its_padding(options, training):
    make = dilated if options == "dilated" else functools.partial(block, **options)
    padded, cut = make(), make()
    tolerance = DILATED if options == "dilated" else TOLERANCE
    for layer in (padded, cut):
        layer.train() if training else layer.eval()
    x, mask = maps((6, 6))
    out, out_mask = call(padded, x, mask)
    short, short_mask = call(cut, x[:, :, :6], mask[:, :6])
    width = short.shape[2]
    np.testing.assert_allclose(out[:, :, :width], short, **tolerance)
    np.testing.assert_array_equal(out[:, :, width:], 0)
    np.testing.assert_array_equal(out_mask[:, :width], short_mask)
    assert not out_mask[:, width:].any()
    statistics, expected = (nnx.state(x, nnx.BatchStat) for x in (padded, cut))
    common.assert_trees_close(statistics, expected, **tolerance)


def test_statistics_are_those_of_the_valid_cells():
    layer = block(norm="plain", activation="none")
    layer.train()
    x, mask = maps((9, 4, 0))
    out, _ = call(layer, x, mask)
    cells = np.asarray(out)[np.broadcast_to(mask[:, None], out.shape[:3])]
    np.testing.assert_allclose(cells.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(cells.var(axis=0), 1, atol=1e-3)  # batch norm's epsilon
    raw = np.asarray(layer.conv(x))[np.broadcast_to(mask[:, None], out.shape[:3])]
    # momentum 0.9 from mean 0 and variance 1.
    np.testing.assert_allclose(layer.norm.mean[...], 0.1 * raw.mean(0), **TOLERANCE)
    np.testing.assert_allclose(layer.norm.var[...], 0.9 + 0.1 * raw.var(0), **TOLERANCE)


@pytest.mark.parametrize(
    ("norm", "params", "statistics"),
    [("batch", 2 * D, 2 * D), ("plain", 0, 2 * D), ("none", 0, 0)],
)
def test_norms_have_the_parameters_they_should(norm, params, statistics):
    layer = block(norm=norm)
    sizes = [
        sum(x.size for x in jax.tree.leaves(nnx.state(layer, kind)))
        for kind in (nnx.Param, nnx.BatchStat)
    ]
    assert sizes == [3 * 5 * C * D + D + params, statistics]


@pytest.mark.parametrize(
    ("activation", "slope"), [("relu", 0.0), ("leaky_relu", 0.01), ("none", 1.0)]
)
def test_activations(activation, slope):
    x, mask = maps((9,))
    out, _ = call(block(norm="none", activation=activation), x, mask)
    raw, _ = call(block(norm="none", activation="none"), x, mask)
    expected = jnp.where(raw > 0, raw, slope * raw)
    np.testing.assert_allclose(out, expected, **TOLERANCE)


def test_dilation_spreads_the_kernel():
    layer = block(kernel=(3, 3), dilation=2, norm="none", activation="none")
    layer.conv.bias[...] = jnp.zeros(D)
    x = jnp.zeros((1, H, W, C)).at[0, 2, 4].set(1.0)
    out, _ = call(layer, x, jnp.ones((1, W), bool))
    rows, steps = np.nonzero(np.abs(out[0]).sum(axis=-1))
    assert set(rows) == {0, 2, 4} and set(steps) == {2, 4, 6}


def test_a_recording_shorter_than_a_pooling_window_pools_what_it_has():
    layer = block(norm="none", activation="none", pool=(1, 4))
    layer.conv.bias[...] = jnp.full(D, -50.0)  # all cells negative: below the padding
    x, mask = maps((2, 0))
    out, out_mask = call(layer, x, mask)
    raw = layer.conv(x)[0, :, :2].max(axis=1)
    np.testing.assert_allclose(out[0, :, 0], raw, **TOLERANCE)
    np.testing.assert_array_equal(out_mask, [[True, False], [False, False]])
    assert not out[1].any() and not out[0, :, 1].any()


def test_a_batch_of_padding_only_is_finite():
    layer = block(activation="leaky_relu", pool=(2, 2))
    layer.train()

    def loss(layer, x, mask):
        return jnp.square(layer(x, mask)[0]).sum()

    value, grads = nnx.jit(nnx.value_and_grad(loss))(layer, *maps((0, 0)))
    assert value == 0
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(grads))
    assert all(np.all(np.isfinite(s)) for s in jax.tree.leaves(nnx.state(layer)))


def test_bfloat16_keeps_parameters_and_statistics_in_float32():
    layer = block(dtype=jnp.bfloat16, activation="leaky_relu", pool=(2, 1))
    layer.train()
    x, mask = maps((9, 5))
    out, _ = call(layer, x.astype(jnp.bfloat16), mask)
    assert out.dtype == jnp.bfloat16
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(nnx.state(layer)))
    exact = block(activation="leaky_relu", pool=(2, 1))
    exact.train()
    # Normalized values up to 3 with 8 bits, after 30 products of 8 bits.
    np.testing.assert_allclose(
        out.astype(np.float32), call(exact, x, mask)[0], atol=0.06
    )


def test_pooling_is_reduce_window_and_drops_odd_ends():
    x, mask = maps((9, 5))
    size = (4, 2)
    expected = jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, *size, 1), (1, *size, 1), "VALID"
    )
    np.testing.assert_array_equal(max_pool(x, size), expected)
    pooled, pooled_mask = pool(x, mask, size)
    # Five valid frames are two whole windows of two.
    np.testing.assert_array_equal(pooled_mask, [[True] * 4, [True, True, False, False]])
    np.testing.assert_array_equal(
        pooled, jnp.where(pooled_mask[:, None, :, None], expected, 0)
    )


def test_columns_keep_a_time_step_together():
    x = jnp.arange(2 * H * W * C, dtype=jnp.float32).reshape(2, H, W, C)
    steps = columns(x)
    assert steps.shape == (2, W, H * C)
    np.testing.assert_array_equal(steps[1, 4], np.asarray(x)[1, :, 4].ravel())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "layer"}, "norm: expected one of"),
        ({"activation": "gelu"}, "activation: expected one of"),
    ],
)
def test_impossible_specs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ConvSpec(kernel=(3, 3), **change)


def test_the_gradient_of_pooling_is_that_of_the_maximum_with_ties_shared():
    x = jnp.round(jax.random.normal(jax.random.key(3), (2, 6, 9, 5)) * 2)  # many ties
    weight = jax.random.normal(jax.random.key(4), (2, 3, 3, 5))

    def plain(x):
        return x.reshape(2, 3, 2, 3, 3, 5).max(axis=(2, 4))

    gradient, expected = (
        jax.jit(jax.grad(lambda x, f=f: (weight * f(x)).sum()))(x)
        for f in (lambda x: max_pool(x, (2, 3)), plain)
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    np.testing.assert_array_equal(max_pool(x, (2, 3)), plain(x))


@pytest.mark.parametrize("skip", ["leaky_relu", "none"])
def test_dilated_is_the_row_of_convolutions_plus_the_skip(skip):
    layer = dilated(skip)
    layer.eval()
    x, mask = maps((9, 5))
    out, out_mask = call(layer, x, mask)
    row, beside = x, layer.skip.norm(layer.skip.conv(x))
    for conv in layer.convs:
        row = nnx.leaky_relu(conv.norm(conv.conv(row)), 0.01)
        row = jnp.where(mask[:, None, :, None], row, 0)
    if skip == "leaky_relu":
        beside = nnx.leaky_relu(beside, 0.01)
    expected = jnp.where(mask[:, None, :, None], row + beside, 0)
    np.testing.assert_allclose(out, expected, **DILATED)
    np.testing.assert_array_equal(out_mask, mask)


def test_parameters_are_those_of_adsrnn_and_adrnn():
    for features, count in [
        # Four 3x3 convolutions 128 -> 128 with bias, four batch norms.
        ((128, 128, 128), 4 * (9 * 128 * 128 + 128 + 2 * 128)),
        ((128, 128, 256), 2 * (9 * 128 * 128 + 384) + 2 * (9 * 128 * 256 + 768)),
    ]:
        layer = nnx.eval_shape(
            lambda features=features: DilatedResidualBlock(
                128, features, skip_activation="none", rngs=nnx.Rngs(0)
            )
        )
        leaves = jax.tree.leaves(nnx.state(layer, nnx.Param))
        assert sum(x.size for x in leaves) == count


def test_dilated_computes_in_bfloat16():
    out, _ = call(dilated(dtype=jnp.bfloat16), *maps((9, 5)))
    assert out.dtype == jnp.bfloat16 and np.all(np.isfinite(out.astype(np.float32)))


def test_unknown_skip_activation_is_refused():
    with pytest.raises(ValueError, match="activation: expected one of"):
        dilated("gelu")
