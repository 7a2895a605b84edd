"""Dense blocks: orders and modes against NumPy, and rows of padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.layers.dense import DenseBlock
from tests.layers import common
from tests.layers.common import call

L, C, D = 7, 4, 3  # steps, features in and out
LENGTHS = (7, 3, 0)
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}  # sums of a few float32 products


def sequences(**options):
    return common.sequences(LENGTHS, L, C, **options)


def block(**options):
    layer = DenseBlock(C, D, rngs=nnx.Rngs(0), **options)
    layer.linear.bias[...] = jnp.linspace(-1, 1, D)
    layer.train()
    return layer


def act(x, name):
    slope = {"relu": 0.0, "leaky_relu": 0.01, "none": 1.0}[name]
    return np.where(x > 0, x, slope * x)


def norm(x, name):
    if name == "none":
        return x
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)


@pytest.mark.parametrize("order", ["norm_first", "act_first"])
@pytest.mark.parametrize(
    ("kind", "activation"),
    [("batch", "relu"), ("plain", "leaky_relu"), ("none", "leaky_relu")],
)
def test_valid_rows_are_the_formula_and_the_others_zero(order, kind, activation):
    layer = block(norm=kind, activation=activation, order=order)
    x, mask = sequences(filling=9.0)
    out = call(layer, x, mask)
    rows = np.asarray(x)[mask].astype(np.float64)
    raw = rows @ layer.linear.kernel[...] + layer.linear.bias[...]
    if order == "norm_first":
        expected = act(norm(raw, kind), activation)
    else:
        expected = norm(act(raw, activation), kind)
    np.testing.assert_allclose(np.asarray(out)[mask], expected, rtol=1e-4, atol=1e-5)
    assert not out[~mask].any()


def test_rows_without_a_mask_all_count():
    layer, other = block(norm="batch"), block(norm="batch")
    x, mask = sequences()
    rows = x[mask]
    np.testing.assert_allclose(
        call(layer, rows), call(other, x, mask)[mask], **TOLERANCE
    )
    common.assert_trees_close(nnx.state(layer), nnx.state(other), **TOLERANCE)


def test_evaluation_uses_the_running_statistics_alone():
    layer = block(norm="batch", bn_momentum=0.5)
    x, mask = sequences()
    call(layer, x, mask)
    layer.eval()
    both = call(layer, x, mask)
    np.testing.assert_allclose(call(layer, x[1:2, :3]), both[1:2, :3], **TOLERANCE)


def test_padding_only_is_finite():
    layer = block(norm="batch", order="act_first")
    x, mask = sequences()

    def loss(layer, mask):
        return jnp.square(layer(x, mask)).sum()

    value, grads = nnx.jit(nnx.value_and_grad(loss))(layer, jnp.zeros_like(mask))
    assert value == 0
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(grads))
    assert all(np.all(np.isfinite(s)) for s in jax.tree.leaves(nnx.state(layer)))


def test_bfloat16_keeps_parameters_and_statistics_in_float32():
    layer = block(norm="batch", dtype=jnp.bfloat16)
    out = call(layer, *sequences())
    assert out.dtype == jnp.bfloat16
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(nnx.state(layer)))
    exact = call(block(norm="batch"), *sequences())
    # Normalized values up to 3 with 8 bits.
    np.testing.assert_allclose(out.astype(np.float32), exact, atol=0.06)


@pytest.mark.parametrize("name", ["norm", "activation", "order"])
def test_unknown_modes_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}: expected one of"):
        block(**{name: "other"})
