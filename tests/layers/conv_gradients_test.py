"""The convolution with a kernel gradient of its own, against lax's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax.layers import conv_gradients

# map, kernel, padding, dilation
CASES = {
    "same": ((2, 7, 9, 8), (3, 5, 8, 11), "SAME", (1, 1)),
    "even": ((1, 12, 14, 16), (2, 8, 16, 3), "SAME", (1, 1)),
    "uneven padding": ((3, 6, 13, 9), (4, 2, 9, 5), ((1, 2), (3, 0)), (1, 1)),
    "valid, dilated": ((2, 9, 8, 10), (3, 2, 10, 4), "VALID", (2, 3)),
    "dilated": ((6, 13, 24, 12), (3, 3, 12, 6), "SAME", (2, 2)),
    "columns on the map": ((2, 7, 9, 2), (3, 5, 2, 11), "SAME", (1, 1)),
    "three rows": ((2, 8, 9, 16), (3, 5, 16, 17), "SAME", (1, 1)),
    "three rows, tiles cut off": (
        (2, 6, 5, 18),
        (3, 3, 18, 16),
        ((2, 3), (0, 2)),
        (1, 1),
    ),
    "three rows, dilated columns": ((1, 9, 7, 16), (3, 2, 16, 19), "VALID", (1, 3)),
    "columns on the map, dilated": ((4, 7, 11, 1), (2, 3, 1, 5), "VALID", (2, 3)),
}


def convolve(x, kernel, function=conv_gradients.conv_general_dilated, **options):
    return function(
        x,
        kernel,
        **{"window_strides": (1, 1), "padding": "SAME", **options},
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def both(case, function):
    """Output and gradients of a convolution."""
    shape, kernel_shape, padding, dilation = CASES[case]
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal(shape, np.float32))
    kernel = jnp.asarray(rng.standard_normal(kernel_shape, np.float32))
    run = functools.partial(
        convolve, function=function, padding=padding, rhs_dilation=dilation
    )
    shape = jax.eval_shape(run, x, kernel).shape
    gradient = jnp.asarray(rng.standard_normal(shape, np.float32))

    def differentiate(x, kernel, gradient):
        out, pull = jax.vjp(run, x, kernel)
        return out, *pull(gradient)

    return jax.jit(differentiate)(x, kernel, gradient)


@functools.cache
def by_lax(case):
    return both(case, jax.lax.conv_general_dilated)


# Bytes of a block: one row of the map, some rows, several examples. Kernels of three
# rows go by Winograd's filter, whose blocks are the same.
@pytest.mark.parametrize(
    ("case", "block"),
    [
        (case, block)
        for case in CASES
        for block in ((1, 20_000, 4 << 20) if "rows" not in case else (20_000,))
    ],
)
def test_output_and_gradients_are_those_of_lax(case, block, monkeypatch):
    monkeypatch.setattr(conv_gradients, "BLOCK_BYTES", block)
    ours = both(case, conv_gradients.conv_general_dilated)
    for mine, theirs in zip(ours, by_lax(case), strict=True):
        # float32 sums of up to 1600 products, in another order or Winograd's
        assert jnp.abs(mine - theirs).max() < 1e-5 * jnp.abs(theirs).max()


def test_gradient_of_one_cell_is_a_sum_a_person_can_do():
    x = jnp.arange(2 * 3 * 4, dtype=jnp.float32).reshape(1, 2, 3, 4).repeat(2, -1)
    gradient = jnp.ones((1, 2, 3, 1))
    of_kernel = conv_gradients.kernel_gradient(
        x, gradient, (1, 3), padding=((0, 0), (1, 1)), dilation=(1, 1)
    )
    # The left cell never meets the last column, the right one never the first.
    channel = x[0, ..., 0]
    expected = channel[:, :2].sum(), channel.sum(), channel[:, 1:].sum()
    np.testing.assert_allclose(of_kernel[0, :, 0, 0], expected)


def test_strides_and_groups_are_left_to_lax():
    x, kernel = jnp.ones((1, 8, 9, 8)), jnp.ones((3, 3, 4, 6))
    out = convolve(x, kernel, window_strides=(2, 3), feature_group_count=2)
    assert out.shape == (1, 4, 3, 6)


@pytest.mark.parametrize(
    ("rows", "padding"), [(3, (0, 0)), (4, (1, 1)), (6, (2, 1)), (13, (1, 1))]
)
def test_winograd_is_the_sum_of_all_products(rows, padding):
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((2, rows, 7, 5))
    kernel = rng.standard_normal((3, 2, 5, 4))
    padded = np.pad(x, ((0, 0), padding, (0, 0), (0, 0)))
    height = padded.shape[1] - 2
    expected = sum(
        padded[:, i : i + height, j : j + 6] @ kernel[i, j]
        for i in range(3)
        for j in range(2)
    )

    def by_columns(x, kernel):  # in float64, so that only the matrices are tested
        return sum(x[:, :, j : j + 6] @ kernel[0, j] for j in range(2))

    with jax.enable_x64(True):
        out = conv_gradients.convolve_by_winograd(
            jnp.asarray(x), jnp.asarray(kernel), padding, by_columns
        )
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-12)


def test_only_what_is_trained_goes_by_winograd():
    x, kernel = jnp.ones((1, 8, 9, 16)), jnp.ones((3, 3, 16, 16))

    def convolutions(function):
        return str(jax.make_jaxpr(function)(x, kernel)).count("conv_general_dilated[")

    assert convolutions(convolve) == 1
    assert convolutions(lambda x, kernel: jax.vjp(convolve, x, kernel)[0]) == 6
