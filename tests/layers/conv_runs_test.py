"""Convolutions under `vmap`: the same numbers, one per run, never grouped."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax.layers import conv_gradients, conv_runs

RUNS = 3
CASES = {
    "same": {"padding": "SAME", "window_strides": (1, 1)},
    "strided": {"padding": ((1, 2), (0, 1)), "window_strides": (2, 1)},
    "dilated": {"padding": "SAME", "window_strides": (1, 1), "rhs_dilation": (2, 3)},
}


def by_lax(case):
    numbers = ("NHWC", "HWIO", "NHWC")
    return functools.partial(
        jax.lax.conv_general_dilated, dimension_numbers=numbers, **CASES[case]
    )


def ours(case):
    return functools.partial(conv_runs.convolve, whole=by_lax(case))


def arrays(runs_of_x, runs_of_kernel):
    rng = np.random.default_rng(0)
    shapes = (*runs_of_x, 2, 7, 9, 4), (*runs_of_kernel, 3, 2, 4, 5)
    return [jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in shapes]


def differentiate(function):
    """Output, and the gradients of its sine: another one at every entry."""

    def both(x, kernel):
        out, pull = jax.vjp(function, x, kernel)
        return out, *pull(jnp.sin(out))

    return both


def check_equal(found, expected):
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.shape == theirs.shape and mine.dtype == theirs.dtype
        # float32 sums of up to 126 products, in another order
        assert jnp.abs(mine - theirs).max() < 1e-5 * jnp.abs(theirs).max()


@pytest.mark.parametrize("case", CASES)
def test_alone_it_is_lax(case):
    pair = arrays((), ())
    found, expected = (differentiate(f(case))(*pair) for f in (ours, by_lax))
    check_equal(found, expected)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
@pytest.mark.parametrize("written_out", [RUNS, RUNS - 1])
def test_runs_give_what_each_gives_alone(case, axes, written_out, monkeypatch):
    monkeypatch.setattr(conv_runs, "WRITTEN_OUT", written_out)
    runs = [() if axis is None else (RUNS,) for axis in axes]
    x, kernel = arrays(*runs)
    found = jax.jit(jax.vmap(differentiate(ours(case)), in_axes=axes))(x, kernel)
    alone = [
        differentiate(by_lax(case))(
            x if axes[0] is None else x[run], kernel if axes[1] is None else kernel[run]
        )
        for run in range(RUNS)
    ]
    check_equal(found, [jnp.stack(parts) for parts in zip(*alone, strict=True)])


def test_the_gradient_of_a_vmapped_loss_is_that_of_each_run():
    x, kernel = arrays((RUNS,), (RUNS,))

    def loss(function, x, kernel):
        return jnp.sum(jax.vmap(function)(x, kernel) ** 2)

    gradients = [
        jax.grad(functools.partial(loss, f("same")), argnums=(0, 1))(x, kernel)
        for f in (ours, by_lax)
    ]
    check_equal(*gradients)


def test_two_levels_of_runs():
    x, kernel = arrays((2, RUNS), (2, RUNS))
    found, expected = (
        jax.vmap(jax.vmap(differentiate(f("same"))))(x, kernel) for f in (ours, by_lax)
    )
    check_equal(found, expected)


def groups(function, *pair) -> set[int]:
    text = jax.jit(jax.vmap(differentiate(function))).lower(*pair).as_text()
    found = {int(x.split(" ")[0]) for x in text.split("feature_group_count = ")[1:]}
    counts = {int(x.split(" ")[0]) for x in text.split("batch_group_count = ")[1:]}
    return found | counts


def test_no_convolution_is_grouped():
    pair = arrays((RUNS,), (RUNS,))
    assert groups(by_lax("same"), *pair) == {1, RUNS}  # what is avoided
    assert groups(ours("same"), *pair) == {1}


@pytest.mark.parametrize("written_out", [RUNS, RUNS - 1])
def test_a_loop_stands_only_for_many_runs(written_out, monkeypatch):
    monkeypatch.setattr(conv_runs, "WRITTEN_OUT", written_out)
    pair = arrays((RUNS,), (RUNS,))
    text = jax.jit(jax.vmap(ours("same"))).lower(*pair).as_text()
    counts = text.count("stablehlo.convolution"), text.count("stablehlo.while")
    assert counts == ((RUNS, 0) if written_out == RUNS else (1, 1))


def test_it_is_taken_off_the_cpu(monkeypatch):
    x, kernel = arrays((RUNS,), (RUNS,))
    convolve = functools.partial(
        conv_gradients.conv_general_dilated,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        **CASES["same"],
    )
    expected = jax.vmap(differentiate(by_lax("same")))(x, kernel)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert groups(convolve, x, kernel) == {1}
    check_equal(jax.vmap(differentiate(convolve))(x, kernel), expected)
