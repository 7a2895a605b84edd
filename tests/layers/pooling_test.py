"""Attention, statistics and cross attention against NumPy; padding; empty rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.layers.pooling import (
    AttentionPool,
    cross_attention,
    masked_softmax,
    statistics,
)
from tests.layers import common
from tests.layers.common import call

L, D = 6, 5  # steps, features
LENGTHS = (6, 3, 1, 0)
# Sums of six float32 terms.
TOLERANCE = {"rtol": 2e-6, "atol": 1e-6}
ACTIVATIONS = {
    "none": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
}


def sequences(**options):
    return common.sequences(LENGTHS, L, D, **options)


def softmax(scores):
    terms = np.exp(scores - scores.max())
    return terms / terms.sum()


def attention(activation="tanh", hidden=4, **options):
    hidden = 0 if activation == "none" else hidden
    layer = AttentionPool(
        D, hidden=hidden, activation=activation, rngs=nnx.Rngs(1), **options
    )
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(nnx.state(layer)))
    if hidden:
        layer.hidden.bias[...] = jnp.linspace(-1, 1, hidden)
    return layer


def test_masked_softmax_is_the_softmax_of_what_is_valid():
    x, mask = sequences(filling=np.nan)
    scores = 50 * x[..., 0]
    weights = masked_softmax(scores.astype(jnp.bfloat16), mask)
    assert weights.dtype == jnp.float32
    weights = masked_softmax(scores, mask)
    for b, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(weights[b, length:], 0)
        if length:
            expected = softmax(np.asarray(scores[b, :length], np.float64))
            # exp(50 * 2): the rounding of the exponent counts.
            np.testing.assert_allclose(weights[b, :length], expected, 1e-4, 1e-7)


def test_masked_softmax_has_finite_gradients_in_empty_rows():
    x, mask = sequences(filling=np.inf)

    def loss(scores):
        return jnp.square(masked_softmax(scores, mask)).sum()

    grads = jax.grad(loss)(x[..., 0])
    assert np.all(np.isfinite(grads)) and not grads[~mask].any()


@pytest.mark.parametrize(
    ("activation", "scale", "combine"),
    [
        ("none", 1.0, "sum"),
        ("sigmoid", 0.3, "mean"),
        ("tanh", 0.3, "sum"),
        ("relu", 1.0, "mean"),
    ],
)
def test_attention_is_its_equation(activation, scale, combine):
    layer = attention(activation, scale=scale, combine=combine)
    x, mask = sequences()
    pooled = call(layer, x, mask)
    u = np.asarray(layer.score.kernel[...], np.float64)[:, 0]
    for b, length in enumerate(LENGTHS):
        steps = np.asarray(x[b, :length], np.float64)
        hidden = steps
        if layer.hidden is not None:
            hidden = steps @ layer.hidden.kernel[...] + layer.hidden.bias[...]
        expected = np.zeros(D)
        if length:
            weights = softmax(scale * ACTIVATIONS[activation](hidden) @ u)
            expected = weights @ steps / (length if combine == "mean" else 1)
        np.testing.assert_allclose(pooled[b], expected, **TOLERANCE)


@pytest.mark.parametrize(
    ("activation", "hidden", "count"),
    [("none", 0, 256), ("sigmoid", 1, 256 + 2), ("tanh", 768, 256 * 768 + 2 * 768)],
)
def test_attention_has_no_bias_at_its_end(activation, hidden, count):
    layer = AttentionPool(256, hidden=hidden, activation=activation, rngs=nnx.Rngs(0))
    leaves = jax.tree.leaves(nnx.state(layer, nnx.Param))
    assert sum(x.size for x in leaves) == count


@pytest.mark.parametrize(
    "pool",
    [
        lambda x, mask: attention()(x, mask),
        lambda x, mask: attention("none", combine="mean")(x, mask),
        lambda x, mask: jnp.hstack([*statistics(x, mask).values()]),
        lambda x, mask: cross_attention(x[:, 0], x, mask),
    ],
    ids=["tanh", "none", "statistics", "cross"],
)
def test_padding_changes_neither_answers_nor_gradients(pool):
    def loss(x, mask):
        pooled = pool(x, mask)
        return jnp.square(pooled).sum(), pooled

    run = jax.jit(jax.grad(loss, has_aux=True))
    x, mask = sequences()
    grads, pooled = run(x, mask)
    assert np.all(np.isfinite(grads)) and np.all(np.isfinite(pooled))
    assert not pooled[LENGTHS.index(0)].any()
    dirty = jnp.where(mask[..., None] | (jnp.arange(L) == 0)[:, None], x, jnp.nan)
    for a, b in zip(run(dirty, mask), (grads, pooled), strict=True):
        np.testing.assert_array_equal(a, b)
    longer = jnp.pad(x, [(0, 0), (0, 3), (0, 0)], constant_values=7.0)
    more, same = run(longer, jnp.pad(mask, [(0, 0), (0, 3)]))
    np.testing.assert_allclose(same, pooled, **TOLERANCE)
    np.testing.assert_allclose(more[:, :L], grads, **TOLERANCE)
    np.testing.assert_array_equal(more[:, L:], 0)


def test_statistics_are_those_of_the_valid_steps():
    x, mask = sequences()
    pooled = statistics(x, mask)
    for b, length in enumerate(LENGTHS[:2]):
        steps = np.asarray(x[b, :length], np.float64)
        np.testing.assert_array_equal(pooled["max"][b], x[b, :length].max(axis=0))
        np.testing.assert_allclose(pooled["mean"][b], steps.mean(axis=0), **TOLERANCE)
        np.testing.assert_allclose(pooled["std"][b], steps.std(axis=0), **TOLERANCE)
    # One step: the root of epsilon.
    np.testing.assert_allclose(pooled["std"][2], 1e-4, rtol=1e-5)
    assert [*pooled] == ["max", "mean", "std"]


def test_a_constant_sequence_has_a_finite_deviation_gradient():
    ones, mask = jnp.ones((2, L, D)), jnp.ones((2, L), bool)
    grads = jax.grad(lambda x: statistics(x, mask)["std"].sum())(ones)
    np.testing.assert_array_equal(grads, 0)


def test_cross_attention_reads_with_any_number_of_queries():
    x, mask = sequences()
    queries = jnp.asarray(
        np.random.default_rng(4).normal(size=(len(LENGTHS), 2, 3, D)), jnp.float32
    )
    pooled = cross_attention(queries, x, mask)
    assert pooled.shape == queries.shape
    for b, length in enumerate(LENGTHS):
        keys = np.asarray(x[b, :length], np.float64)
        for i, j in np.ndindex(2, 3):
            expected = np.zeros(D)
            if length:
                expected = softmax(keys @ queries[b, i, j]) @ keys
            np.testing.assert_allclose(pooled[b, i, j], expected, **TOLERANCE)
    one = cross_attention(queries[:, 1, 2], x, mask)
    np.testing.assert_allclose(one, pooled[:, 1, 2], **TOLERANCE)


def test_bfloat16_stays_close():
    x, mask = sequences()
    low = x.astype(jnp.bfloat16)
    pooled = call(attention(dtype=jnp.bfloat16), low, mask)
    assert pooled.dtype == statistics(low, mask)["std"].dtype == jnp.bfloat16
    # bfloat16 has 8 bits, values are up to 2.
    exact = call(attention(), x, mask)
    np.testing.assert_allclose(pooled.astype(np.float32), exact, atol=0.03)


def test_weights_leave_only_when_asked_for():
    layer, (x, mask) = attention(), sequences()
    run = nnx.capture(nnx.Intermediate)(lambda layer, *inputs: layer(*inputs))
    assert not jax.tree.leaves(run(layer, x, mask)[1])
    layer.set_attributes(sow_maps=True)
    _, sown = run(layer, x, mask)
    (weights,) = jax.tree.leaves(sown)
    np.testing.assert_allclose(weights.sum(axis=1), [1, 1, 1, 0], rtol=1e-6)
    np.testing.assert_array_equal(weights > 0, mask)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "gelu", "hidden": 4}, "activation: expected one of"),
        ({"activation": "tanh", "hidden": 0}, "hidden: expected at least 1"),
        ({"activation": "none", "hidden": 4}, "hidden: expected 0"),
        (
            {"activation": "tanh", "hidden": 4, "combine": "max"},
            "combine: expected one of",
        ),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AttentionPool(D, **options, rngs=nnx.Rngs(0))
