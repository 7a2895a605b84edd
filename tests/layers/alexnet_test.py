"""AlexNet's trunk: published counts, map sizes, a slow reference, padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.layers.alexnet import SIZES, AlexNet, response_norm
from tests.layers.common import call, check_padded_trunk, maps
from tests.reference import trunks


def build(size, width=0.05, channels=2):
    return AlexNet(channels, size=size, width=width, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module", params=SIZES)
def trunk(request):
    """A thin trunk of either size with biases that matter."""
    return trunks.filled(lambda: build(request.param))


@pytest.mark.parametrize(
    ("size", "count", "shortest"),
    [("original", 3_747_200, 67), ("torchvision", 2_469_696, 63)],
)
def test_published_counts_and_the_shortest_axis(size, count, shortest):
    # Counts of the published convolutions, for a picture in color.
    trunk = nnx.eval_shape(lambda: build(size, 1.0, 3))
    assert sum(x.size for x in jax.tree.leaves(nnx.state(trunk, nnx.Param))) == count
    assert trunk.features == 256 and trunk.shortest == shortest


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("bands", "frames", "cells"),
    [(200, 300, (5, 8)), (400, 300, (11, 8)), (67, 98, (1, 1)), (67, 99, (1, 2))],
)
def test_map_sizes(size, bands, frames, cells):
    # The papers' 40 and 88 cells. The next column takes 32 frames more than 67 or
    # 63: 98 is the last length with one column without padding, not with.
    x, mask = jnp.zeros((1, bands, frames, 2)), jnp.ones((1, frames), bool)
    out, columns = jax.eval_shape(lambda x, mask: build(size)(x, mask), x, mask)
    if size == "torchvision" and frames == 98:
        cells = (1, 2)
    assert out.shape[1:3] == cells and columns.shape == (1, cells[1])


def test_the_last_map_is_the_slow_one(trunk):
    size = "original" if trunk.stages[0].response_norm else "torchvision"
    x, mask = maps([103], 69, 103, 2)
    out, columns = call(trunk, x, mask)
    expected = trunks.alexnet(np.asarray(x[0]), trunk.named_convs(), size)
    assert out.shape[1:3] == (1, 2) and np.all(columns) and expected.max() > 0.1
    # Sums of some hundred float32 products, five layers of them.
    np.testing.assert_allclose(out[0], expected, rtol=1e-4, atol=1e-5)


def test_response_norm_is_the_papers():
    x = 50 * np.random.default_rng(0).normal(size=(2, 3, 4, 7)).astype(np.float32)
    out = response_norm(jnp.asarray(x))
    np.testing.assert_allclose(out, trunks.response_norm(x), rtol=1e-5)
    one = np.full((1, 1, 1, 1), 100.0, np.float32)  # 100 / (2 + 1)^0.75
    np.testing.assert_allclose(response_norm(jnp.asarray(one)), 43.8691, rtol=1e-5)


def test_padding_neither_leaks_nor_counts(trunk):
    lengths = [167, 130, 40, 0]
    check_padded_trunk(trunk, lengths, *maps(lengths, 67, 170, 2))


def test_bfloat16_stays_bfloat16_and_unknown_sizes_are_refused():
    trunk = trunks.filled(
        lambda: AlexNet(1, width=0.05, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    )
    out, _ = call(trunk, *maps([63], 63, 63, 1))
    assert out.dtype == jnp.bfloat16 and out.shape == (1, 1, 1, 13)
    with pytest.raises(ValueError, match="size: expected one of"):
        build("large")
