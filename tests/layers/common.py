"""What tests of layers share: padded inputs, one compiled call, comparison of trees."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def sequences(lengths, steps, features, *, seed=0, filling=0.0):
    """A padded batch [B, T, D] and its mask; `filling` stands in the padding."""
    x = np.random.default_rng(seed).normal(size=(len(lengths), steps, features))
    mask = np.arange(steps) < np.array(lengths)[:, None]
    x = np.where(mask[..., None], x, filling)
    return jnp.asarray(x, jnp.float32), jnp.asarray(mask)


def maps(lengths, bands, frames, channels, *, seed=0):
    """Padded maps [B, H, W, C], zeros in the columns from `lengths` on, and the mask."""
    x = np.random.default_rng(seed).normal(size=(len(lengths), bands, frames, channels))
    mask = np.arange(frames) < np.array(lengths)[:, None]
    x = np.where(mask[:, None, :, None], x, 0)
    return jnp.asarray(x, jnp.float32), jnp.asarray(mask)


@nnx.jit
def call(layer, *inputs):
    """The layer's output, compiled as one: op by op it takes seconds."""
    return layer(*inputs)


def assert_trees_close(tree, expected, **tolerance):
    """Compares all arrays of two trees."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True)
    for got, want in pairs:
        np.testing.assert_allclose(got, want, **tolerance)


def check_padded_trunk(trunk, lengths, x, mask):
    """Every row of a batch is what it is alone, whatever stands in the padding."""
    out, columns = call(trunk, x, mask)
    noisy = jnp.where(mask[:, None, :, None], x, 9.0)
    np.testing.assert_array_equal(out, call(trunk, noisy, mask)[0])
    for row, length in enumerate(lengths):
        here = slice(row, row + 1)
        alone, own = call(trunk, x[here, :, :length], mask[here, :length])
        count = own.shape[1]
        assert np.all(own) and count == columns[row].sum() >= 1
        np.testing.assert_allclose(out[row, :, :count], alone[0], rtol=1e-5, atol=1e-6)
        assert np.all(out[row, :, count:] == 0)
