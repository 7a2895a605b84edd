"""Lengths under strides, the overlapping pool, and maps that are too small."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax.layers import strided
from ser_jax.layers.strided import POOL, Geometry

GEOMETRIES = [
    Geometry(11, 4, 2),
    Geometry(11, 4),
    Geometry(5, 1, 2),
    Geometry(3, 2),
    Geometry(1),
]


@pytest.mark.parametrize("layer", GEOMETRIES)
def test_positions_are_counted_as_convolutions_make_them(layer):
    kernel = jax.ShapeDtypeStruct((1, 1, layer.size), jnp.float32)
    padding = [(layer.padding, layer.padding)]
    # Lengths with every remainder of the stride.
    for length in range(layer.size, layer.size + 2 * layer.stride + 1):
        x = jax.ShapeDtypeStruct((1, 1, length), jnp.float32)
        out = jax.eval_shape(
            lambda x, k: jax.lax.conv_general_dilated(x, k, (layer.stride,), padding),
            x,
            kernel,
        )
        assert layer.count(length) == out.shape[-1]


@pytest.mark.parametrize("layer", GEOMETRIES)
def test_shortest_is_the_first_length_with_a_count(layer):
    for count in (1, 2, 5):
        shortest = layer.shortest(count)
        assert layer.count(shortest) == count > layer.count(shortest - 1)


def test_shortest_axis_of_layers_in_a_row():
    assert strided.shortest_axis([POOL, POOL]) == 7  # 7 -> 3 -> 1
    assert strided.shortest_axis([Geometry(3, 1, 1), POOL]) == 3
    assert strided.shortest_axis([Geometry(3, 1, 2)]) == 1  # never an empty map


@pytest.mark.parametrize("shape", [(2, 7, 9, 3), (1, 8, 10, 2), (2, 3, 4, 1)])
def test_overlap_pool_is_a_window_maximum(shape):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)

    def reference(x):
        return jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID"
        )

    np.testing.assert_array_equal(strided.overlap_pool(x), reference(x))
    grads = [
        jax.grad(lambda x, f=f: (f(x) ** 2).sum())(x)
        for f in (strided.overlap_pool, reference)
    ]
    np.testing.assert_allclose(*grads, rtol=1e-6)  # sums in another order


def test_begin_clears_padding_and_lengthens_short_rows():
    x = jnp.full((3, 8, 5, 2), 7.0)
    mask = jnp.arange(5) < jnp.array([5, 2, 0])[:, None]
    padded, lengths = strided.mask_and_pad(x, mask, 7)
    assert padded.shape == (3, 8, 7, 2)
    np.testing.assert_array_equal(lengths, [7, 7, 7])
    np.testing.assert_array_equal((padded[:, 0, :, 0] == 7).sum(axis=1), [5, 2, 0])
    np.testing.assert_array_equal(strided.mask_and_pad(x, mask, 4)[1], [5, 4, 4])


def test_too_few_bands_are_refused():
    with pytest.raises(ValueError, match="at least 7 bands.*got 6"):
        strided.mask_and_pad(jnp.zeros((1, 6, 9, 1)), jnp.ones((1, 9), bool), 7)
