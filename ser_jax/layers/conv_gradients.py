"""Function: a 2-D convolution with gradients of its own, which trains fast on CPU.

Kernels of three rows, where differentiated, are convolved by Winograd's filter: half
the products in all three passes. What is only evaluated or exported stays lax's.

XLA computes the gradient of a kernel as a convolution with the whole map, which on CPU
takes at least four times as long as the forward pass once there are a few examples
(docs/performance.md). Here it is a matrix product: with the padded map x and the
output's gradient g as rows of channels, both of the padded map's width,

    dK[i, j] = sum_yv x[y + i, v + j]^T g[y, v] = sum_yv x[y + i, v]^T g[y, v - j],

so the rows of the kernel are shifts of x, its columns are shifts of g (or of x, where
that copies less), and one product of the two, each shift beside the other, holds every
cell of the kernel. It is summed over blocks that stay in the cache.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ser_jax.layers import conv_runs

# Channels on both sides from which a step by Winograd's is never slower and mostly
# 1.3 to 1.8 times as fast (two cores; benchmarks and shapes in docs/performance.md).
WINOGRAD_CHANNELS = 16
# Bytes of one block, shifted map and gradient: 2 to 16 MiB differ by up to 40 %.
BLOCK_BYTES = 4 << 20


def conv_general_dilated(
    x: Float[Array, "B *H C"],
    kernel: Float[Array, "*h G D"],
    window_strides,
    padding,
    lhs_dilation=None,
    rhs_dilation=None,
    **options,
) -> Float[Array, "B *I D"]:
    """`jax.lax.conv_general_dilated` for `nnx.Conv(conv_general_dilated=...)`.

    Sequences, strides, groups and dilated maps are lax's alone. Off the CPU all is
    lax's, looped over runs (`conv_runs`).
    """
    whole = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=window_strides,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        **options,
    )
    groups = options.get("feature_group_count", 1)
    steps = {*window_strides, *(lhs_dilation or ()), groups}
    if jax.default_backend() != "cpu":
        return conv_runs.convolve(x, kernel, functools.partial(whole, padding=padding))
    if x.ndim != 4 or steps != {1}:
        return whole(x, kernel, padding=padding)
    dilation = tuple(rhs_dilation or (1, 1))
    if isinstance(padding, str):
        sizes = zip(kernel.shape[:2], dilation, strict=True)
        spans = [(k - 1) * d + 1 for k, d in sizes]
        padding = jax.lax.padtype_to_pads(x.shape[1:3], spans, (1, 1), padding)
    padding = tuple((int(before), int(after)) for before, after in padding)
    return _convolve(x, kernel, whole, padding, dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve(x, kernel, whole, padding, dilation):
    return whole(x, kernel, padding=padding)


def _by_winograd(x, kernel, whole, padding, dilation):
    def by_columns(x, kernel):
        return _convolve(x, kernel, whole, ((0, 0), padding[1]), dilation)

    return convolve_by_winograd(x, kernel, padding[0], by_columns)


def _use_winograd(x, kernel, dilation) -> bool:
    # Its sums of rows lose digits (see `convolve_by_winograd`): float32 only.
    fits = kernel.shape[0] == TAPS and dilation[0] == 1
    single = x.dtype == kernel.dtype == jnp.float32
    return fits and single and min(kernel.shape[2:]) >= WINOGRAD_CHANNELS


def _forward(x, kernel, whole, padding, dilation):
    function = _by_winograd if _use_winograd(x, kernel, dilation) else _convolve
    return function(x, kernel, whole, padding, dilation), (x, kernel)


def _backward(whole, padding, dilation, residuals, gradient):
    x, kernel = residuals
    if _use_winograd(x, kernel, dilation):  # keeps x, not the larger sums of its rows
        again = functools.partial(
            _by_winograd, whole=whole, padding=padding, dilation=dilation
        )
        return jax.vjp(again, x, kernel)[1](gradient)
    pull = jax.linear_transpose(lambda y: whole(y, kernel, padding=padding), x)
    size = kernel.shape[:2]
    of_kernel = kernel_gradient(x, gradient, size, padding=padding, dilation=dilation)
    return *pull(gradient), of_kernel.astype(kernel.dtype)


_convolve.defvjp(_forward, _backward)


def kernel_gradient(
    x: Float[Array, "B H W C"],
    gradient: Float[Array, "B I J D"],
    size: tuple[int, int],
    *,
    padding: tuple[tuple[int, int], tuple[int, int]],
    dilation: tuple[int, int],
) -> Float[Array, "h w C D"]:
    """Gradient of a stride-1 convolution's kernel of a `size`, float32."""
    (rows, columns), (down, along) = size, dilation
    (examples, height, width, out), ins = gradient.shape, x.shape[-1]
    on_map, on_gradient, floats = _place_columns(rows, columns, ins, out)
    across = (on_gradient - 1) * along
    wide = width + across
    group, tall = _block_shape(examples, height, 4 * wide * floats)

    def add(number, products):
        maps, gradients = (
            jax.lax.dynamic_slice_in_dim(array, number * group, group)
            for array in (x, gradient)
        )
        # Padded here, not once for all: memory touched for the first time costs more.
        maps = jnp.pad(maps, ((0, 0), *padding, (0, 0)))
        gradients = jnp.pad(gradients, ((0, 0), (0, 0), (across, across), (0, 0)))
        for top in range(0, height, tall):
            end = min(top + tall, height)
            left = [
                maps[:, top + i : end + i, j : j + wide]
                for i in range(0, rows * down, down)
                for j in range(0, on_map * along, along)
            ]
            right = [
                gradients[:, top:end, across - j : across - j + wide]
                for j in range(0, on_gradient * along, along)
            ]
            products += jax.lax.dot_general(
                _as_rows(left),
                _as_rows(right),
                (((0,), (0,)), ((), ())),
                preferred_element_type=jnp.float32,
            )
        return products

    start = jnp.zeros((rows * on_map * ins, on_gradient * out), jnp.float32)
    products = jax.lax.fori_loop(0, examples // group, add, start)
    products = products.reshape(rows, on_map, ins, on_gradient, out)
    return jnp.swapaxes(products, 2, 3).reshape(rows, columns, ins, out)


def _block_shape(examples: int, height: int, row_bytes: int) -> tuple[int, int]:
    """Examples of a block, and rows of their maps, that stay in the cache."""
    fit = max(1, BLOCK_BYTES // row_bytes)
    most = min(examples, max(1, fit // height))
    group = max(n for n in range(1, most + 1) if examples % n == 0)
    return group, -(-height // -(-height // fit))


def _place_columns(rows: int, columns: int, ins: int, out: int) -> tuple[int, int, int]:
    """The kernel's columns as shifts of the map or of its gradient; floats per cell."""
    on_map, on_gradient = rows * columns * ins + out, rows * ins + columns * out
    return min((columns, 1, on_map), (1, columns, on_gradient), key=lambda x: x[2])


def _as_rows(shifts):
    rows = jnp.concatenate(shifts, axis=-1)
    return rows.reshape(-1, rows.shape[-1])


# Winograd's minimal filter F(4, 3), the matrices B^T, G and A^T.
TAPS = 3  # rows of the kernel
OUTPUTS = 4  # rows of the output that are made together
INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
KERNEL = np.array(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]
) / np.array([[24]])
OUTPUT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
)


def convolve_by_winograd(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "3 w C D"],
    padding: tuple[int, int],
    by_columns: Callable,
) -> Float[Array, "B I J D"]:
    """The convolution with stride 1 and zeros above and below the map.

    Four rows of the output are 12 products of input rows with kernel rows. As
    y = A^T [(G k) * (B^T x)] they are six products of sums of the rows (Winograd,
    Arithmetic Complexity of Computations, SIAM 1980; matrices of Lavin and Gray, CVPR
    2016, arXiv 1509.09308). The columns stay convolutions, beside which the sums cost
    little given a few channels.

    `by_columns` convolves a map with a kernel of one row, nothing padded but columns.
    Differs from the exact sum by about 3e-6 of the largest output in float32 with 256
    channels, where adding up all products differs by 4e-7.
    """
    rows = x.shape[1] + sum(padding) - TAPS + 1
    tiles = -(-rows // OUTPUTS)
    taken = OUTPUTS * tiles + TAPS - 1
    below = taken - x.shape[1] - padding[0]
    x = jnp.pad(x, ((0, 0), (padding[0], below), (0, 0), (0, 0)))
    last = OUTPUTS * (tiles - 1) + 1
    inputs = [x[:, i : i + last : OUTPUTS] for i in range(OUTPUTS + TAPS - 1)]
    kernels = jnp.split(kernel, TAPS)
    products = [
        by_columns(_total(of_input, inputs), _total(of_kernel, kernels))
        for of_input, of_kernel in zip(INPUT, KERNEL, strict=True)
    ]
    outputs = jnp.stack([_total(weights, products) for weights in OUTPUT], axis=2)
    outputs = outputs.reshape(len(x), OUTPUTS * tiles, *outputs.shape[3:])
    return jax.lax.slice_in_dim(outputs, 0, rows, axis=1)


def _total(weights: np.ndarray, parts: Sequence[Array]) -> Array:
    terms = [w * part for w, part in zip(weights.tolist(), parts, strict=True) if w]
    return sum(terms[1:], terms[0])
