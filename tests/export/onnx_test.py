"""Every operation of the table, in ONNX Runtime against JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from ser_jax.export.onnx import graph, operators

A = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32)
B = np.random.default_rng(1).standard_normal((2, 3, 5)).astype(np.float32)
KERNEL = np.random.default_rng(2).standard_normal((2, 3, 5, 4)).astype(np.float32)
MAP = np.random.default_rng(3).standard_normal((2, 7, 6, 5)).astype(np.float32)
INTEGERS = np.array([[-7, 7, 3], [5, -5, 0]], np.int32)
AT = np.array([4, -3], np.int32)


def conv(x, k, **changes):
    numbers = ("NHWC", "HWIO", "NHWC")
    options = {"window_strides": (1, 1), "padding": [(0, 2), (1, 0)]} | changes
    return jax.lax.conv_general_dilated(x, k, dimension_numbers=numbers, **options)


PROGRAMS = {
    "unary": lambda: (
        lambda x: [jnp.abs(x), jnp.exp(x), jnp.tanh(x), -x, jnp.sign(x), jnp.floor(x)],
        A,
    ),
    "roots": lambda: (
        lambda x: [jnp.sqrt(x * x), jax.lax.rsqrt(x * x + 1), jnp.log(x**2 + 1), x**3],
        A,
    ),
    "logistic": lambda: (jax.nn.sigmoid, A),
    "clip": lambda: (lambda x: jax.lax.clamp(-0.3, x, 0.4), A),
    "integers": lambda: (lambda i: [i // 2, i % 3, jax.lax.rem(i, 2), i - 1], INTEGERS),
    "compared": lambda: (
        lambda x, y: [x < y, x <= y, x > y, x >= y, x == y, x != y, ~(x > y)],
        (A, B),
    ),
    "logic": lambda: (lambda x: [(x > 0) & (x < 1), (x > 0) | (x < -1)], A),
    "chosen": lambda: (
        lambda x, y: [jnp.where(x > 0, x, y), jnp.maximum(x, y)],
        (A, B),
    ),
    "chosen booleans": lambda: (
        lambda x, y: jax.lax.select(x > 0, y > 0, y < 1),
        (A, B),
    ),
    "finite": lambda: (lambda x: jnp.isfinite(jnp.log(x)), A),
    "reduced": lambda: (
        lambda x: [x.sum((0, 2)), x.max(1), x.min(2), (x > 1).any(0), (x > -1).all(1)],
        A,
    ),
    "shapes": lambda: (
        lambda x: [x.reshape(5, 6), x.transpose(2, 0, 1), x[:, None], x[:1][0]],
        A,
    ),
    "broadcast": lambda: (lambda x: jnp.broadcast_to(x[:, None, 0], (2, 4, 5)), A),
    "joined": lambda: (
        lambda x, y: [jnp.concatenate([x, y[:, :0], y], 1), jnp.stack([x, y], 1)],
        (A, B),
    ),
    "cut": lambda: (lambda x: [x[:, 1:, ::2], x[:, ::-1], *jnp.split(x, [2], 2)], A),
    "padded": lambda: (
        lambda x: [
            jnp.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=3),
            jnp.pad(x, ((1, 0), (0, 0), (2, 2)), mode="edge"),
        ],
        A,
    ),
    "products": lambda: (
        lambda x, y: [
            jnp.einsum("abc,abd->acd", x, y),
            jnp.einsum("abc,dbc->ad", x, y),
            jnp.einsum("abc,adc->dab", x, y),
        ],
        (A, B),
    ),
    "convolution": lambda: (conv, (MAP, KERNEL)),
    "strided": lambda: (
        lambda x, k: conv(x, k, window_strides=(2, 1), rhs_dilation=(1, 2)),
        (MAP, KERNEL),
    ),
    "rows": lambda: (
        lambda x, i: jnp.take_along_axis(x, i[None, :, None].clip(0, 2), axis=1),
        (A[:1], AT),
    ),
    "replaced": lambda: (lambda x: [x.at[:, 0].set(7), x.at[..., 2].set(x[..., 0])], A),
    "cut somewhere": lambda: (
        lambda x, i: [
            jax.lax.dynamic_slice(x, (0, i[k], 1), (2, 2, 3)) for k in (0, 1)
        ],
        (A, AT),
    ),
    "put": lambda: (
        lambda x, y: [
            jax.lax.dynamic_update_slice(x, y[:, :2], (0, 9, 0)),
            jax.lax.dynamic_update_slice(x, y, (0, 1, 0)),
        ],
        (A, B),
    ),
    "cast": lambda: (lambda x: [(x * 3).astype(jnp.int32), (x > 0).astype("f4")], A),
    "activations": lambda: (lambda x: [jax.nn.relu(x), jax.nn.log_softmax(x)], A),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_operations_give_what_jax_gives(name):
    function, given = PROGRAMS[name]()
    given = given if isinstance(given, tuple) else (given,)
    flat = lambda *x: jax.tree.leaves(function(*x))
    with jax.disable_jit():
        program = jax.make_jaxpr(flat)(*given)
    inputs = [f"in{i}" for i in range(len(given))]
    outputs = [f"out{i}" for i in range(len(program.out_avals))]
    content = graph.to_bytes(program, inputs, outputs)
    session = onnxruntime.InferenceSession(content)
    found = session.run(None, dict(zip(inputs, given, strict=True)))
    for got, expected in zip(found, flat(*map(jnp.asarray, given)), strict=True):
        assert got.dtype == expected.dtype
        # Float32 sums of up to 70 terms.
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_an_unknown_operation_is_named():
    program = jax.make_jaxpr(jnp.sort)(A)
    with pytest.raises(ValueError, match="no ONNX for the operation sort"):
        graph.to_bytes(program, ["x"], ["y"])


def test_equal_constants_are_stored_once():
    import onnx

    weight = jnp.asarray(KERNEL[0, 0])
    program = jax.make_jaxpr(lambda x: x[0] @ weight + x[1] @ weight * 1.0)(A)
    content = graph.to_bytes(program, ["x"], ["y"])
    kept = onnx.load_from_string(content).graph.initializer
    assert sum(list(x.dims) == [5, 4] for x in kept) == 1
    assert len({x.name for x in kept}) == len(kept)


def test_table_has_no_operation_twice():
    tables = (operators.UNARY, operators.BINARY, operators.REDUCTIONS)
    names = [name for table in tables for name in table]
    assert len(names) == len(set(names))
