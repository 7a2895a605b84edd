"""Dense blocks: orders and modes against NumPy, and rows of padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.layers.dense import DenseBlock

L, C, D = 7, 4, 3  # steps, features in and out
LENGTHS = (7, 3, 0)
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}  # sums of a few float32 products


def sequences(filling=0.0):
    x = np.random.default_rng(0).normal(size=(len(LENGTHS), L, C))
    mask = np.arange(L) < np.array(LENGTHS)[:, None]
    x = np.where(mask[..., None], x, filling)
    return jnp.asarray(x, jnp.float32), jnp.asarray(mask)


def block(**options):
    made = DenseBlock(C, D, rngs=nnx.Rngs(0), **options)
    made.linear.bias[...] = jnp.linspace(-1, 1, D)
    made.train()
    return made


@nnx.jit
def call(layer, *inputs):
    """The layer's answer, compiled as one."""
    return layer(*inputs)


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
    made = block(norm=kind, activation=activation, order=order)
    x, mask = sequences(filling=9.0)
    out = call(made, x, mask)
    rows = np.asarray(x)[mask].astype(np.float64)
    raw = rows @ made.linear.kernel[...] + made.linear.bias[...]
    if order == "norm_first":
        expected = act(norm(raw, kind), activation)
    else:
        expected = norm(act(raw, activation), kind)
    np.testing.assert_allclose(np.asarray(out)[mask], expected, rtol=1e-4, atol=1e-5)
    assert not out[~mask].any()


def test_rows_without_a_mask_all_count():
    made, other = block(norm="batch"), block(norm="batch")
    x, mask = sequences()
    rows = x[mask]
    np.testing.assert_allclose(
        call(made, rows), call(other, x, mask)[mask], **TOLERANCE
    )
    for a, b in zip(
        jax.tree.leaves(nnx.state(made)), jax.tree.leaves(nnx.state(other)), strict=True
    ):
        np.testing.assert_allclose(a, b, **TOLERANCE)


def test_evaluation_uses_the_running_statistics_and_no_company():
    made = block(norm="batch", bn_momentum=0.5)
    x, mask = sequences()
    call(made, x, mask)
    made.eval()
    both = call(made, x, mask)
    np.testing.assert_allclose(call(made, x[1:2, :3]), both[1:2, :3], **TOLERANCE)


def test_padding_only_is_finite():
    made = block(norm="batch", order="act_first")
    x, mask = sequences()

    def loss(made, mask):
        return jnp.square(made(x, mask)).sum()

    value, grads = nnx.jit(nnx.value_and_grad(loss))(made, jnp.zeros_like(mask))
    assert value == 0
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(grads))
    assert all(np.all(np.isfinite(s)) for s in jax.tree.leaves(nnx.state(made)))


def test_bfloat16_keeps_parameters_and_statistics_in_float32():
    made = block(norm="batch", dtype=jnp.bfloat16)
    out = call(made, *sequences())
    assert out.dtype == jnp.bfloat16
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(nnx.state(made)))
    exact = call(block(norm="batch"), *sequences())
    # Normalized values up to 3 with 8 bits.
    np.testing.assert_allclose(out.astype(np.float32), exact, atol=0.06)


@pytest.mark.parametrize("name", ["norm", "activation", "order"])
def test_unknown_modes_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}: expected one of"):
        block(**{name: "other"})
