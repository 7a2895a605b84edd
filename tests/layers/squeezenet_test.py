"""SqueezeNet's trunk: counts, map sizes, a slow reference, padding, the head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.layers.squeezenet import SqueezeNet
from tests.layers.common import call, check_padded_trunk, maps
from tests.reference import trunks


def build(width=0.06, channels=2, classes=0):
    return SqueezeNet(channels, width=width, classes=classes, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def trunk():
    """A thin trunk with a head of 3 classes and biases that matter."""
    return trunks.filled(lambda: build(classes=3))


@pytest.mark.parametrize(("classes", "count"), [(1000, 1_235_496), (0, 722_496)])
def test_published_counts(classes, count):
    trunk = nnx.eval_shape(lambda: build(1.0, 3, classes))
    assert sum(x.size for x in jax.tree.leaves(nnx.state(trunk, nnx.Param))) == count
    assert trunk.features == 512 and trunk.shortest == 31
    assert len(trunk.named_convs()) == (26 if classes else 25)


@pytest.mark.parametrize(
    ("bands", "frames", "cells"),
    [(227, 227, (13, 13)), (200, 300, (11, 17)), (31, 46, (1, 1)), (31, 47, (1, 2))],
)
def test_map_sizes(bands, frames, cells):
    x, mask = jnp.zeros((1, bands, frames, 2)), jnp.ones((1, frames), bool)
    out, columns = jax.eval_shape(lambda x, mask: build()(x, mask), x, mask)
    assert out.shape[1:3] == cells and columns.shape == (1, cells[1])


def test_the_last_map_is_the_slow_one(trunk):
    x, mask = maps([53], 33, 53, 2)
    out, columns = call(trunk, x, mask)
    expected = trunks.squeezenet(np.asarray(x[0]), trunk.named_convs())
    assert out.shape[1:3] == (1, 2) and np.all(columns) and expected.max() > 0.1
    # Sums of some dozen float32 products, 17 layers of them.
    np.testing.assert_allclose(out[0], expected, rtol=1e-4, atol=1e-5)


def test_padding_neither_leaks_nor_counts(trunk):
    lengths = [101, 80, 20, 0]
    check_padded_trunk(trunk, lengths, *maps(lengths, 33, 103, 2))


def test_the_head_averages_valid_cells(trunk):
    x, mask = call(trunk, *maps([80, 47], 47, 80, 2))
    assert mask.sum(axis=1).tolist() == [4, 2] and x.shape[1:3] == (2, 4)
    logits = trunk.logits(x, mask)
    for row, count in enumerate((4, 2)):
        cells = np.asarray(x[row, :, :count])
        scores = trunks.relu_conv(cells, trunk.head)
        np.testing.assert_allclose(logits[row], scores.mean(axis=(0, 1)), rtol=1e-5)
    headless = nnx.eval_shape(build)
    with pytest.raises(ValueError, match="classes: expected at least 1"):
        headless.logits(x, mask)
