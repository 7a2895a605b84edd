"""Runs encoders on batches of waves, and compares gradients."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests.models.common import fast_jit


def speech(count, seed=0):
    return np.random.default_rng(seed).normal(scale=0.3, size=count).astype(np.float32)


def batch(waves, filling=0.0):
    """Padded samples and lengths."""
    longest = max(map(len, waves))
    rows = [
        np.pad(x, (0, longest - len(x)), constant_values=np.float32(filling))
        for x in waves
    ]
    return jnp.asarray(np.stack(rows)), jnp.asarray([len(x) for x in waves])


def run(encoder, waves, layers=None, filling=0.0):
    """States and steps."""
    graphdef, state = nnx.split(encoder)
    samples, lengths = batch(waves, filling)

    @fast_jit
    def call(state):
        return nnx.merge(graphdef, state)(samples, lengths, layers)

    return call(state)


def gradients(encoder, waves, probe, filling=0.0):
    """States, and gradients of their product with `probe` [n, B, T, D]."""
    graphdef, params, rest = nnx.split(encoder, nnx.Param, ...)
    samples, lengths = batch(waves, filling)

    @fast_jit
    def call(params, rest):
        def loss(params):
            states, _ = nnx.merge(graphdef, params, rest)(samples, lengths)
            return (states * probe[:, :, : states.shape[2]]).sum(), states

        return jax.grad(loss, has_aux=True)(params)

    grads, states = call(params, rest)
    flat = jax.tree.leaves_with_path(nnx.to_pure_dict(grads))
    return states, {jax.tree_util.keystr(k): np.asarray(x) for k, x in flat}


def assert_gradients_close(grads, expected):
    assert grads.keys() == expected.keys()
    for name, grad in grads.items():
        # Some are roundings of zero, as of a bias that cancels in a softmax.
        scale = max(1, np.abs(expected[name]).max())
        np.testing.assert_allclose(
            grad, expected[name], rtol=1e-4, atol=1e-4 * scale, err_msg=name
        )
