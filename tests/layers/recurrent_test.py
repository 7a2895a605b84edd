"""LSTMs: the equations step by step, padding, windows, carried states, one matmul."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import jaxprs_in_params
from jax.test_util import check_grads

from ser_jax.layers.recurrent import LSTM, BiLSTM, SlidingBiLSTM, cut_windows
from tests.layers import common
from tests.layers.common import call
from tests.reference.recurrent import lstm as reference

T, D, H = 7, 5, 3  # steps, features, state
LENGTHS = (7, 4, 1, 0)
# Sums of a dozen float32 terms, seven steps in a row.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


def sequences(lengths=LENGTHS, steps=T, features=D, **options):
    return common.sequences(lengths, steps, features, **options)


def numpy_gates(layer, x):
    """x W + b as float64 [..., (2,) 4H]."""
    kernel, bias = (
        np.asarray(p[...], np.float64) for p in (layer.kernel_in, layer.bias)
    )
    return np.tensordot(np.asarray(x, np.float64), kernel, axes=1) + bias


def lively(layer, seed=3):
    """Larger weights than the initial ones, so that every gate opens and closes."""
    rng = np.random.default_rng(seed)
    for parameter in (layer.kernel_in, layer.kernel, layer.bias):
        noise = rng.normal(size=parameter.shape)
        parameter[...] = jnp.asarray(noise, jnp.float32)
    return layer


def bilstm(dtype=jnp.float32):
    return lively(BiLSTM(D, H, dtype=dtype, rngs=nnx.Rngs(0)))


def sliding(size, step, carry):
    layer = SlidingBiLSTM(D, H, size=size, step=step, carry=carry, rngs=nnx.Rngs(0))
    lively(layer.lstm)
    return layer


def lstm(dtype=jnp.float32):
    return lively(LSTM(D, H, dtype=dtype, rngs=nnx.Rngs(0)))


def test_lstm_is_the_loop_over_the_cut_sequence():
    layer = lstm()
    x, mask = sequences()
    outputs, last = call(layer, x, mask)
    for b, length in enumerate(LENGTHS):
        gates = numpy_gates(layer, x[b, :length])
        expected, h, _ = reference(gates, np.asarray(layer.kernel[...]))
        np.testing.assert_allclose(outputs[b, :length], expected, **TOLERANCE)
        np.testing.assert_array_equal(outputs[b, length:], 0)
        np.testing.assert_allclose(last[b], h, **TOLERANCE)


def test_bilstm_is_two_loops_side_by_side():
    layer = bilstm()
    x, mask = sequences()
    outputs, last = call(layer, x, mask)
    kernels = np.asarray(layer.kernel[...])
    for b, length in enumerate(LENGTHS):
        gates = numpy_gates(layer, x[b, :length])
        ahead, h, _ = reference(gates[:, 0], kernels[0])
        back, g, _ = reference(gates[::-1, 1], kernels[1])
        expected = np.hstack([ahead, back[::-1]])
        np.testing.assert_allclose(outputs[b, :length], expected, **TOLERANCE)
        np.testing.assert_array_equal(outputs[b, length:], 0)
        np.testing.assert_allclose(last[b], np.hstack([h, g]), **TOLERANCE)


LAYERS = {
    "forwards": lstm,
    "both": bilstm,
    "windows": lambda: sliding(4, 2, carry=False),
    "carried": lambda: sliding(3, 3, carry=True),
}


def outputs_and_gradients(layer, x, mask):
    """Output and last states, and the parameters' gradients of a loss of the two."""

    def loss(layer):
        outputs, last, *_ = layer(x, mask)
        total = sum(jnp.square(y).sum() for y in jax.tree.leaves(last))
        total = total + jnp.square(outputs - 0.1).mean(where=outputs != 0)
        return total, (outputs, last)

    (_, outputs), grads = nnx.jit(nnx.value_and_grad(loss, has_aux=True))(layer)
    return outputs, jax.tree.leaves(nnx.to_pure_dict(grads))


@pytest.mark.parametrize("kind", LAYERS)
def test_what_stands_in_the_padding_changes_nothing(kind):
    layer = LAYERS[kind]()
    clean = outputs_and_gradients(layer, *sequences())
    dirty = outputs_and_gradients(layer, *sequences(filling=np.nan))
    for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(dirty), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.all(np.isfinite(a))


def pad_more(x, mask):
    x = jnp.pad(x, [(0, 0), (0, 4), (0, 0)], constant_values=5.0)
    return x, jnp.pad(mask, [(0, 0), (0, 4)])


@pytest.mark.parametrize("kind", ["forwards", "both"])
def test_more_padding_changes_nothing(kind):
    layer, inputs = LAYERS[kind](), sequences()
    (outputs, last), grads = outputs_and_gradients(layer, *inputs)
    (longer, same), longer_grads = outputs_and_gradients(layer, *pad_more(*inputs))
    np.testing.assert_allclose(longer[:, :T], outputs, **TOLERANCE)
    np.testing.assert_array_equal(longer[:, T:], 0)
    common.assert_trees_close((same, longer_grads), (last, grads), **TOLERANCE)


@pytest.mark.parametrize("kind", ["windows", "carried"])
def test_more_padding_adds_windows_of_zeros_only(kind):
    layer, inputs = LAYERS[kind](), sequences()
    outputs, last, window_mask = call(layer, *inputs)
    count = last.shape[1]
    longer, states, longer_mask = call(layer, *pad_more(*inputs))
    assert states.shape[1] > count
    np.testing.assert_allclose(longer[:, :count], outputs, **TOLERANCE)
    np.testing.assert_allclose(states[:, :count], last, **TOLERANCE)
    np.testing.assert_array_equal(longer_mask[:, :count], window_mask)
    for added in (longer_mask, longer, states):
        assert not added[1:, count:].any()


def test_steps_left_out_are_as_if_they_were_not_there():
    layer = bilstm()
    x, _ = sequences((T,))
    mask = jnp.array([[True, False, True, True, False, False, True]])
    outputs, last = call(layer, x, mask)
    kept = np.flatnonzero(mask[0])
    ones = jnp.ones((1, len(kept)), bool)
    expected, expected_last = call(layer, x[:, kept], ones)
    np.testing.assert_allclose(outputs[:, kept], expected, **TOLERANCE)
    np.testing.assert_allclose(last, expected_last, **TOLERANCE)


@pytest.mark.parametrize(
    ("steps", "size", "step", "count"),
    [
        (11, 4, 2, 5),  # the last runs over by one step
        (10, 4, 2, 4),
        (11, 4, 3, 4),  # the size is no multiple of the step
        (12, 4, 4, 3),
        (11, 2, 5, 3),  # gaps
        (3, 4, 2, 1),
        (4, 4, 2, 1),
        (150, 10, 5, 29),  # ASRNN's windows
        (300, 30, 30, 10),  # ADSRNN's
    ],
)
def test_windows_hold_the_steps_they_should(steps, size, step, count):
    x, mask = sequences((steps, 2), steps, features=2)
    cut, cut_mask = cut_windows(x, mask, size=size, step=step)
    assert cut.shape == (2, count, size, 2) and cut_mask.shape == (2, count, size)
    ends = [(0, 0), (0, step * count + size)]
    x, mask = np.pad(x, [*ends, (0, 0)]), np.pad(mask, ends)
    for i in range(count):
        inside = slice(i * step, i * step + size)
        np.testing.assert_array_equal(cut[:, i], x[:, inside])
        np.testing.assert_array_equal(cut_mask[:, i], mask[:, inside])


@pytest.mark.parametrize(("size", "step"), [(4, 2), (3, 2), (9, 4)])
def test_sliding_without_carry_is_a_bilstm_per_window(size, step):
    layer = sliding(size, step, carry=False)
    x, mask = sequences()
    outputs, last, window_mask = call(layer, x, mask)
    cut, cut_mask = cut_windows(x, mask, size=size, step=step)
    np.testing.assert_array_equal(window_mask, cut_mask)
    for i in range(cut.shape[1]):
        expected, expected_last = call(layer.lstm, cut[:, i], cut_mask[:, i])
        np.testing.assert_allclose(outputs[:, i], expected, **TOLERANCE)
        np.testing.assert_allclose(last[:, i], expected_last, **TOLERANCE)


def test_carried_states_are_each_direction_s_own():
    layer = sliding(3, 3, carry=True)
    x, mask = sequences()
    outputs, last, _ = call(layer, x, mask)
    kernels = np.asarray(layer.lstm.kernel[...])
    for b, length in enumerate(LENGTHS):
        gates = numpy_gates(layer.lstm, x[b, :length])
        states = [(None, None), (None, None)]
        for m, start in enumerate(range(0, length, 3)):
            inside = gates[start : start + 3]
            ahead, *states[0] = reference(inside[:, 0], kernels[0], *states[0])
            back, *states[1] = reference(inside[::-1, 1], kernels[1], *states[1])
            expected = np.hstack([ahead, back[::-1]])
            np.testing.assert_allclose(
                outputs[b, m, : len(inside)], expected, **TOLERANCE
            )
            both = np.hstack([states[0][0], states[1][0]])
            np.testing.assert_allclose(last[b, m], both, **TOLERANCE)


def test_gradients_are_those_of_finite_differences():
    x, mask = sequences((4, 2), 4)
    graphdef, params = nnx.split(lstm())

    def run(params, x):
        return nnx.merge(graphdef, params)(x, mask)

    # float32 differences of 1e-2: two or three digits.
    check_grads(jax.jit(run), (params, x), order=1, eps=1e-2, rtol=1e-2, atol=1e-2)


def test_stacked_parameters_run_as_they_would_alone():
    graphdef, one = nnx.split(bilstm())
    other = jax.tree.map(lambda p: 0.5 * p, one)
    x, mask = sequences()

    def run(params):
        return nnx.merge(graphdef, params)(x, mask)

    stacked = jax.tree.map(lambda a, b: jnp.stack([a, b]), one, other)
    both = jax.jit(jax.vmap(run))(stacked)
    for i, params in enumerate((one, other)):
        for a, b in zip(both, jax.jit(run)(params), strict=True):
            np.testing.assert_allclose(a[i], b, **TOLERANCE)


def test_bfloat16_keeps_the_cell_in_float32_and_stays_close():
    layer, (x, mask) = lstm(jnp.bfloat16), sequences()
    outputs, last = call(layer, x, mask)
    assert outputs.dtype == last.dtype == jnp.bfloat16
    # bfloat16 has 8 bits: 0.4 % of gates up to 6, over seven steps.
    expected, _ = call(lstm(), x, mask)
    np.testing.assert_allclose(outputs.astype(np.float32), expected, atol=0.1)
    graphdef, params = nnx.split(layer)
    jaxpr = jax.make_jaxpr(lambda p: nnx.merge(graphdef, p)(x, mask))(params)
    (loop,) = [e for e in jaxpr.eqns if e.primitive.name == "scan"]
    h, c = (x.aval.dtype for x in loop.outvars[:2])
    assert h == jnp.bfloat16 and c == jnp.float32
    coarse, last = call(bilstm(jnp.bfloat16), x, mask)
    assert coarse.dtype == last.dtype == jnp.bfloat16


def matmuls(jaxpr, inside=False):
    """(matmuls outside of loops, inside of loops, loops)."""
    counts = np.zeros(3, int)
    for equation in jaxpr.eqns:
        loop = equation.primitive.name == "scan"
        counts[2] += loop
        if equation.primitive.name == "dot_general":
            counts[int(inside)] += 1
        for inner in jaxprs_in_params(equation.params):
            counts += matmuls(getattr(inner, "jaxpr", inner), inside or loop)
    return counts


@pytest.mark.parametrize("kind", LAYERS)
def test_all_steps_are_projected_by_one_matmul_ahead_of_one_loop(kind):
    layer = LAYERS[kind]()
    graphdef, params = nnx.split(layer)
    jaxpr = jax.make_jaxpr(lambda p, x, m: nnx.merge(graphdef, p)(x, m))(
        params, *sequences()
    )
    np.testing.assert_array_equal(matmuls(jaxpr.jaxpr), [1, 1, 1])


def test_off_the_cpu_long_loops_take_five_steps_at_once_to_the_same_end(monkeypatch):
    x, mask = sequences((33, 28), steps=33)
    expected = call(bilstm(), x, mask)
    assert unrolled(x, mask) == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert unrolled(x, mask) == 5
    assert unrolled(*sequences()) == 1
    for ours, theirs in zip(call(bilstm(), x, mask), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, **TOLERANCE)


def unrolled(x, mask):
    """Steps that the loop over a sequence takes in one turn."""
    graphdef, params = nnx.split(bilstm())
    jaxpr = jax.make_jaxpr(lambda p: nnx.merge(graphdef, p)(x, mask))(params)
    (loop,) = [e for e in jaxpr.eqns if e.primitive.name == "scan"]
    return loop.params["unroll"]


def test_parameters_are_one_bias_a_gate_and_the_forget_gate_starts_open():
    layer = BiLSTM(D, H, rngs=nnx.Rngs(0))
    sizes = [p.size for p in jax.tree.leaves(nnx.state(layer, nnx.Param))]
    assert sum(sizes) == 2 * (D * 4 * H + H * 4 * H + 4 * H)
    expected = np.repeat([0.0, 1.0, 0.0, 0.0], H)
    np.testing.assert_array_equal(layer.bias[...], [expected, expected])
    # The directions differ, and the state's kernel is orthogonal.
    ahead, back = layer.kernel[...]
    assert np.abs(ahead - back).max() > 0.1
    np.testing.assert_allclose(ahead @ ahead.T, np.eye(H), atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sliding(4, 2, carry=True), "step: expected size"),
        (lambda: cut_windows(*sequences(), size=0, step=2), "size, step: expected"),
    ],
)
def test_impossible_windows_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
