"""Window attention against loops; how the windows' logits are combined."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.layers.window_attention import (
    WindowAttention,
    WindowHeads,
    combination_weights,
    combine_logits,
)

# Sums of a handful of float32 products.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def drawn(*shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return jnp.asarray(values)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def slow_attention(x, kernels):
    """Out_m = softmax(O_m (O_{1..m} W_m)^T) O_{1..m}, example by example."""
    out = np.zeros_like(x)
    for b in range(x.shape[0]):
        for m in range(x.shape[1]):
            seen = x[b, : m + 1]
            out[b, m] = softmax(x[b, m] @ (seen @ kernels[m]).T) @ seen
    return out


def test_attention_is_its_equation():
    layer = WindowAttention(5, 4, rngs=nnx.Rngs(0))
    assert layer.kernel.shape == (4, 5, 5)
    x = drawn(2, 4, 5)
    got = layer(x, jnp.ones((2, 4), bool))
    want = slow_attention(np.asarray(x), np.asarray(layer.kernel[...]))
    np.testing.assert_allclose(got, want, **CLOSE)


def test_later_windows_are_not_seen():
    layer = WindowAttention(5, 4, rngs=nnx.Rngs(0))
    mask = jnp.ones((2, 4), bool)
    x = drawn(2, 4, 5)
    before, after = layer(x, mask), layer(x.at[:, 2].add(1), mask)
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert np.all(np.abs(before - after)[:, 2:].max(axis=-1) > 1e-4)


def test_windows_that_do_not_count_are_neither_read_nor_written():
    layer = WindowAttention(5, 4, rngs=nnx.Rngs(0))
    mask = jnp.arange(4) < jnp.array([[4], [2], [0]])
    x = drawn(3, 4, 5)
    out = layer(x, mask)
    np.testing.assert_array_equal(out[1, 2:], 0)
    np.testing.assert_array_equal(out[2], 0)
    np.testing.assert_allclose(out[1, :2], layer(x, mask | True)[1, :2], **CLOSE)
    np.testing.assert_array_equal(out, layer(jnp.where(mask[..., None], x, 9.0), mask))


def test_a_shared_matrix_is_the_same_for_every_window():
    shared = WindowAttention(5, 4, sharing="shared", rngs=nnx.Rngs(0))
    assert shared.kernel.shape == (1, 5, 5)
    separate = WindowAttention(5, 4, rngs=nnx.Rngs(1))
    separate.kernel[...] = jnp.tile(shared.kernel[...], (4, 1, 1))
    x, mask = drawn(2, 4, 5), jnp.ones((2, 4), bool)
    np.testing.assert_allclose(shared(x, mask), separate(x, mask), **CLOSE)


def test_weights_leave_only_when_asked_for():
    layer = WindowAttention(5, 4, rngs=nnx.Rngs(0))
    run = nnx.capture(nnx.Intermediate)(lambda layer, *inputs: layer(*inputs))
    inputs = drawn(2, 4, 5), jnp.arange(4) < jnp.array([[4], [3]])
    assert not jax.tree.leaves(run(layer, *inputs)[1])
    layer.set_attributes(sow_maps=True)
    (weights,) = jax.tree.leaves(run(layer, *inputs)[1])
    assert weights.shape == (2, 4, 4)
    np.testing.assert_array_equal(np.triu(weights[0], 1), 0)
    np.testing.assert_allclose(weights.sum(-1), [[1, 1, 1, 1], [1, 1, 1, 0]], **CLOSE)


@pytest.mark.parametrize(("sharing", "count"), [("separate", 4), ("shared", 1)])
def test_every_window_has_its_head(sharing, count):
    heads = WindowHeads(5, 3, 4, sharing=sharing, rngs=nnx.Rngs(0))
    heads.bias[...] = drawn(count, 3, seed=1)
    x = drawn(2, 4, 5)
    kernel, bias = np.asarray(heads.kernel[...]), np.asarray(heads.bias[...])
    assert kernel.shape == (count, 5, 3)
    for m in range(4):
        own = m % count
        want = np.asarray(x[:, m]) @ kernel[own] + bias[own]
        np.testing.assert_allclose(heads(x)[:, m], want, **CLOSE)


def test_shares_of_the_drawn_rule_and_of_the_code():
    assert combination_weights(4, "sum") == (0.25,) * 4
    cascade = combination_weights(10, "cascade")
    assert cascade == tuple(2.0**-k for k in (9, 9, 8, 7, 6, 5, 4, 3, 2, 1))
    assert sum(cascade) == 1
    assert combination_weights(1, "cascade") == (1.0,)
    with pytest.raises(ValueError, match="combination: expected one of"):
        combination_weights(3, "product")


def test_the_cascade_is_the_running_average_of_the_windows_that_count():
    p = np.random.default_rng(0).dirichlet(np.ones(3), size=(1, 6))
    for count in (1, 2, 4, 6):
        want = p[0, 0]
        for m in range(1, count):
            want = (want + p[0, m]) / 2
        shares = combination_weights(6, "cascade")
        valid = jnp.arange(6)[None] < count
        got = combine_logits(jnp.log(jnp.asarray(p, jnp.float32)), valid, shares)
        np.testing.assert_allclose(np.exp(got)[0], want, rtol=1e-5)


def test_softmax_gives_the_combined_posteriors_back():
    logits = drawn(2, 4, 3)
    valid = jnp.arange(4) < jnp.array([[4], [3]])
    logs = combine_logits(logits, valid, combination_weights(4, "sum"))
    posteriors = np.asarray(jax.nn.softmax(logits))
    want = np.stack([posteriors[0].mean(axis=0), posteriors[1, :3].mean(axis=0)])
    np.testing.assert_allclose(jax.nn.softmax(logs), want, rtol=1e-5)
    np.testing.assert_allclose(np.exp(logs), want, rtol=1e-5)


def test_sure_and_unasked_windows_keep_the_gradient_finite():
    logits = jnp.array([[[200.0, 0, -200], [0, 0, 0], [1e4, 0, 0]]] * 2)
    valid = jnp.array([[True, True, False], [False, False, False]])

    def loss(logits):
        shares = combination_weights(3, "cascade")
        return -combine_logits(logits, valid, shares)[:, 2].sum()

    value, grads = jax.value_and_grad(loss)(logits)
    assert np.isfinite(value) and np.all(np.isfinite(grads))
    np.testing.assert_array_equal(grads[0, 2], 0)


def test_unknown_sharing_is_refused():
    with pytest.raises(ValueError, match="attention: expected one of"):
        WindowAttention(5, 4, sharing="some", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="heads: expected one of"):
        WindowHeads(5, 3, 4, sharing="some", rngs=nnx.Rngs(0))
