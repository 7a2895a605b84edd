"""The dilated residual block: its sum, its reach, its count, padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.layers.conv_blocks import DilatedResidualBlock
from tests.layers import common
from tests.layers.common import call

H, W, C = 6, 8, 2  # bands, frames, channels
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}  # batch norms of sums of 40 products


def block(skip="leaky_relu", features=(3, 5), dtype=jnp.float32):
    return DilatedResidualBlock(
        C, features, skip_activation=skip, dtype=dtype, rngs=nnx.Rngs(0)
    )


def maps(valid):
    return common.maps(valid, H, W, C)


@pytest.mark.parametrize("skip", ["leaky_relu", "none"])
def test_it_is_the_row_of_convolutions_plus_the_skip(skip):
    layer = block(skip)
    layer.eval()
    x, mask = maps((8, 5))
    out, out_mask = call(layer, x, mask)
    row, beside = x, layer.skip.norm(layer.skip.conv(x))
    for conv in layer.convs:
        row = nnx.leaky_relu(conv.norm(conv.conv(row)), 0.01)
        row = jnp.where(mask[:, None, :, None], row, 0)
    if skip == "leaky_relu":
        beside = nnx.leaky_relu(beside, 0.01)
    expected = jnp.where(mask[:, None, :, None], row + beside, 0)
    np.testing.assert_allclose(out, expected, **TOLERANCE)
    np.testing.assert_array_equal(out_mask, mask)


@pytest.mark.parametrize("training", [True, False])
def test_a_padded_map_is_the_map_without_its_padding(training):
    padded, cut = block(), block()
    for layer in (padded, cut):
        layer.train() if training else layer.eval()
    x, mask = maps((5, 5))
    out, _ = call(padded, x, mask)
    short, _ = call(cut, x[:, :, :5], mask[:, :5])
    np.testing.assert_allclose(out[:, :, :5], short, **TOLERANCE)
    np.testing.assert_array_equal(out[:, :, 5:], 0)
    statistics, expected = (nnx.state(x, nnx.BatchStat) for x in (padded, cut))
    common.assert_trees_close(statistics, expected, **TOLERANCE)


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


def test_bfloat16_computes_in_bfloat16():
    out, _ = call(block(dtype=jnp.bfloat16), *maps((8, 5)))
    assert out.dtype == jnp.bfloat16 and np.all(np.isfinite(out.astype(np.float32)))


def test_unknown_skip_activation_is_refused():
    with pytest.raises(ValueError, match="activation: expected one of"):
        block("gelu")
