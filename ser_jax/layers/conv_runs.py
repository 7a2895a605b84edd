"""Function: a convolution that stays one when several runs are batched by `vmap`.

With a kernel per run XLA makes it one grouped convolution, which on a GPU takes two to
five times as long as the runs one after the other (docs/gpu.md). Here `vmap`
makes one convolution per run of the forward pass and of both gradients, and only of
them: what lies between convolutions stays batched. A kernel that all runs share is no
loss, and stays batched as well.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array

# Up to so many runs are written out, more are a loop: ten of ASRNN's take 28 ms a step
# instead of 36 on an H200, and compile in half the time. Programs grow with the runs.
WRITTEN_OUT = 16


def convolve(x: Array, kernel: Array, whole: Callable) -> Array:
    """`whole(x, kernel)`, linear in both, with their gradients."""

    def of_map(gradient, kernel, like):
        return jax.linear_transpose(lambda x: whole(x, kernel), like)(gradient)[0]

    def of_kernel(x, gradient, like):
        return jax.linear_transpose(lambda k: whole(x, k), like)(gradient)[0]

    @jax.custom_vjp
    def convolution(x, kernel):
        return _loop_over_kernels(whole)(x, kernel)

    def forward(x, kernel):
        return convolution(x, kernel), (x, kernel)

    def backward(residuals, gradient):
        x, kernel = residuals
        shapes = [jax.ShapeDtypeStruct(y.shape, y.dtype) for y in (x, kernel)]
        map_gradient = _loop_over_kernels(lambda g, k: of_map(g, k, shapes[0]))
        kernel_gradient = _loop_over_kernels(lambda x, g: of_kernel(x, g, shapes[1]))
        return map_gradient(gradient, kernel), kernel_gradient(x, gradient)

    convolution.defvjp(forward, backward)
    return convolution(x, kernel)


def _loop_over_kernels(function: Callable) -> Callable:
    """A function of two arrays, one after the other where `vmap` batches both."""
    looped = custom_vmap(function)

    @looped.def_vmap
    def rule(axis_size, in_batched, *arrays):
        if all(in_batched):
            return _each(looped, axis_size, arrays), True
        axes = [0 if batched else None for batched in in_batched]
        return jax.vmap(function, in_axes=axes, axis_size=axis_size)(*arrays), True

    return looped


def _each(function: Callable, runs: int, arrays) -> Array:
    if runs > WRITTEN_OUT:
        return jax.lax.map(lambda pair: function(*pair), arrays)
    return jnp.stack([function(*(x[i] for x in arrays)) for i in range(runs)])
