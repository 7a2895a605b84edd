"""2-D convolution whose kernel gradient is fast on CPU.

XLA computes the gradient of a kernel as a convolution whose kernel is the whole map.
On CPU that runs at a tenth of the speed of the forward pass once there are a few
examples (25 of 160 GFLOP/s, 16 maps of 40 x 300 x 128; docs/performance.md). Here it is
one matrix product: with the padded map and the output's gradient g laid out as rows of
channels of the same width V,

    dK[i, j] = sum_m x[m + i V + j]^T g[m] = sum_m x[m + j]^T g[m - i V],

so the columns of the kernel are shifts of x, its rows are shifts of g, and one product
of the two, each shift beside the other, holds every cell of the kernel. It is summed
over blocks of m that stay in the cache.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Rows of one product: the shifted blocks of map and gradient fill about 1 MB.
BLOCK_ROWS = 512
# With fewer channels the products are too thin, and XLA's own way is faster.
FEWEST_CHANNELS = 8


def conv_general_dilated(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "h w G D"],
    window_strides,
    padding,
    lhs_dilation=None,
    rhs_dilation=None,
    dimension_numbers=None,
    feature_group_count: int = 1,
    **options,
) -> Float[Array, "B I J D"]:
    """`jax.lax.conv_general_dilated` of maps, for `nnx.Conv(conv_general_dilated=...)`.

    Everything but the kernel's gradient is lax's, and that one too off the CPU, with
    few channels, strides, groups or a dilated map.
    """
    whole = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=window_strides,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        **options,
    )
    plain = set(window_strides) | set(lhs_dilation or (1,)) == {1}
    if (
        jax.default_backend() != "cpu"
        or x.ndim != 4
        or not plain
        or feature_group_count != 1
        or x.shape[-1] < FEWEST_CHANNELS
    ):
        return whole(x, kernel, padding=padding)
    dilation = tuple(rhs_dilation or (1, 1))
    if isinstance(padding, str):
        spans = [
            (k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilation, strict=True)
        ]
        padding = jax.lax.padtype_to_pads(x.shape[1:3], spans, (1, 1), padding)
    padding = tuple((int(before), int(after)) for before, after in padding)
    return _convolve(x, kernel, whole, padding, dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve(x, kernel, whole, padding, dilation):
    return whole(x, kernel, padding=padding)


def _forward(x, kernel, whole, padding, dilation):
    return _convolve(x, kernel, whole, padding, dilation), (x, kernel)


def _backward(whole, padding, dilation, residuals, gradient):
    x, kernel = residuals
    pull = jax.linear_transpose(lambda y: whole(y, kernel, padding=padding), x)
    found = kernel_gradient(
        x, gradient, kernel.shape[:2], padding=padding, dilation=dilation
    )
    return *pull(gradient), found.astype(kernel.dtype)


_convolve.defvjp(_forward, _backward)


def kernel_gradient(
    x: Float[Array, "B H W C"],
    gradient: Float[Array, "B I J D"],
    size: tuple[int, int],
    *,
    padding: tuple[tuple[int, int], tuple[int, int]],
    dilation: tuple[int, int],
) -> Float[Array, "h w C D"]:
    """Gradient of a stride-1 convolution's kernel, float32.

    Args:
        x: the map.
        gradient: of the output.
        size: rows and columns of the kernel.
        padding: zeros before and after the map's rows and columns.
        dilation: distance between the kernel's cells.
    """
    (rows, columns), (features_in, features_out) = (
        size,
        (x.shape[-1], gradient.shape[-1]),
    )
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    missing = [a - b for a, b in zip(x.shape[1:3], gradient.shape[1:3], strict=True)]
    gradient = jnp.pad(gradient, ((0, 0), *((0, m) for m in missing), (0, 0)))
    down, along = dilation[0] * x.shape[2], dilation[1]
    total = gradient[..., 0].size + (rows - 1) * down
    blocks = -(-total // BLOCK_ROWS)
    spare = blocks * BLOCK_ROWS - gradient[..., 0].size
    x = jnp.pad(
        x.reshape(-1, features_in), ((0, spare + (columns - 1) * along), (0, 0))
    )
    gradient = gradient.reshape(-1, features_out)
    gradient = jnp.pad(gradient, (((rows - 1) * down, spare), (0, 0)))

    def shifts(array, starts):
        cut = functools.partial(jax.lax.dynamic_slice_in_dim, slice_size=BLOCK_ROWS)
        return jnp.concatenate([cut(array, start) for start in starts], axis=1)

    def add(block, products):
        first = block * BLOCK_ROWS
        maps = shifts(x, [first + j * along for j in range(columns)])
        gradients = shifts(gradient, [first + i * down for i in reversed(range(rows))])
        return products + jax.lax.dot_general(
            maps,
            gradients,
            (((0,), (0,)), ((), ())),
            preferred_element_type=jnp.float32,
        )

    start = jnp.zeros((columns * features_in, rows * features_out), jnp.float32)
    products = jax.lax.fori_loop(0, blocks, add, start)
    products = products.reshape(columns, features_in, rows, features_out)
    return products.transpose(2, 0, 1, 3)
