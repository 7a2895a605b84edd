"""The convolution with a kernel gradient of its own, against lax's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax.layers import convolution

# map, kernel, padding, dilation
CASES = {
    "same": ((2, 7, 9, 8), (3, 5, 8, 11), "SAME", (1, 1)),
    "even": ((1, 40, 30, 16), (2, 8, 16, 3), "SAME", (1, 1)),
    "uneven padding": ((3, 6, 13, 9), (4, 2, 9, 5), ((1, 2), (3, 0)), (1, 1)),
    "valid, dilated": ((2, 9, 8, 10), (3, 2, 10, 4), "VALID", (2, 3)),
    "dilated": ((6, 13, 24, 12), (3, 3, 12, 6), "SAME", (2, 2)),
    "columns on the map": ((2, 7, 9, 2), (3, 5, 2, 11), "SAME", (1, 1)),
    "columns on the map, dilated": ((4, 7, 11, 1), (2, 3, 1, 5), "VALID", (2, 3)),
}


def both(case, function):
    """Output and gradients of a convolution."""
    shape, kernel_shape, padding, dilation = CASES[case]
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal(shape, np.float32))
    kernel = jnp.asarray(rng.standard_normal(kernel_shape, np.float32))

    def convolve(x, kernel):
        return function(
            x,
            kernel,
            window_strides=(1, 1),
            padding=padding,
            rhs_dilation=dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    out, pull = jax.vjp(convolve, x, kernel)
    return out, *pull(jnp.asarray(rng.standard_normal(out.shape, np.float32)))


# Bytes of a block: one row of the map, some rows, several examples.
@pytest.mark.parametrize("block", [1, 20_000, 4 << 20])
@pytest.mark.parametrize("case", CASES)
def test_output_and_gradients_are_those_of_lax(case, block, monkeypatch):
    monkeypatch.setattr(convolution, "BLOCK_BYTES", block)
    ours = both(case, convolution.conv_general_dilated)
    for mine, theirs in zip(
        ours, both(case, jax.lax.conv_general_dilated), strict=True
    ):
        # float32 sums of up to 1600 products in another order
        assert jnp.abs(mine - theirs).max() < 1e-5 * jnp.abs(theirs).max()


def test_gradient_of_one_cell_is_a_sum_a_person_can_do():
    x = jnp.arange(2 * 3 * 4, dtype=jnp.float32).reshape(1, 2, 3, 4).repeat(2, -1)
    gradient = jnp.ones((1, 2, 3, 1))
    found = convolution.kernel_gradient(
        x, gradient, (1, 3), padding=((0, 0), (1, 1)), dilation=(1, 1)
    )
    # The left cell never meets the last column, the right one never the first.
    channel = x[0, ..., 0]
    expected = channel[:, :2].sum(), channel.sum(), channel[:, 1:].sum()
    np.testing.assert_allclose(found[0, :, 0, 0], expected)


def test_strides_and_groups_are_left_to_lax():
    x, kernel = jnp.ones((1, 8, 9, 8)), jnp.ones((3, 3, 4, 6))
    out = convolution.conv_general_dilated(
        x,
        kernel,
        window_strides=(2, 3),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=2,
    )
    assert out.shape == (1, 4, 3, 6)
