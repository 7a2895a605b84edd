"""Area attention without areas: mean keys with sum or mean values.

With mean keys the logit of an area is the mean of its cells' logits, and with sum
values the output is the cell values weighted by the total weight of all areas that
cover each cell. So only L = K Q^T is pooled, size by size, and the weights are pushed
back to the cells by the adjoint pooling; no area key or value exists.

Every 1x1 area is in the softmax and a mean never exceeds its largest member, so the
largest cell logit is the largest area logit: one pass gives numerator and normaliser.
Queries lie on the minor axis, so windows are contiguous slices, and blocks of
queries that stay in cache keep memory independent of the number of sizes.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ser_jax.layers import area_pooling as pooling

# One block of logits; several temporaries of this size should fit in the cache. An
# accelerator hides memory by parallelism instead and wants few, large kernels.
BLOCK_BYTES = {"cpu": 1 << 20}
ACCELERATOR_BLOCK_BYTES = 1 << 28

LOWEST = np.finfo(np.float32).min


def cell_weights(
    logits: Float[Array, "B H W N"],
    mask: Bool[Array, "B H W"] | None,
    seeds: Array | None,
    *,
    max_area: tuple[int, int],
    value_mode: str,
    dropout_rate: float,
) -> Float[Array, "B H W N"]:
    """Total weight of the areas covering each cell, per query; float32.

    Args:
        logits: float32, of single cells, already scaled.
        mask: valid cells; None = all.
        seeds: uint32 per area size (area_pooling.area_seeds) for dropout; None = off.
        max_area: largest height and width.
        value_mode: `sum`; or `mean`: an area's weight is shared among its cells.
        dropout_rate: share of area weights set to 0.
    """
    static = (max_area, value_mode, dropout_rate if seeds is not None else 0.0)
    return _cell_weights(logits, mask, seeds, static)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _cell_weights(logits, mask, seeds, static):
    return _forward(logits, mask, seeds, static)[0]


def _forward(logits, mask, seeds, static):
    """Cell weights, and what the backward pass needs."""
    framed = _Framed(logits.shape, static[0])
    log_total = logits[:, 0, 0]  # a start of the right shape, all of it overwritten

    def block(at, carry):
        weights, log_total = carry
        piece, highest, total = _block_weights(framed, at, logits, mask, seeds, static)
        weights = framed.put(weights, at, piece)
        log_total = jax.lax.dynamic_update_slice(
            log_total, highest + jnp.log(total), at[:2]
        )
        return weights, log_total

    # The logits serve as initial values because they carry the mesh axes they vary
    # over, which shard_map demands of a loop's state; all of it is overwritten.
    weights, log_total = _over_blocks(block, logits.shape, (logits, log_total))
    return weights, (logits, mask, seeds, weights, log_total)


def _backward(static, residuals, grad):
    """d logits. Uses sum_A p_A dp_A = sum_cells W dW, so no area weight is stored."""
    logits, mask, seeds, weights, log_total = residuals
    inner = jnp.einsum("bhwn,bhwn->bn", weights, grad)
    framed = _Framed(logits.shape, static[0])
    state = logits, mask, seeds, grad, inner, log_total

    def block(at, out):
        return framed.put(out, at, _block_grads(framed, at, state, static))

    return _over_blocks(block, logits.shape, logits), None, None


_cell_weights.defvjp(_forward, _backward)


def _block_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Examples and queries of one block for logits of this shape."""
    batch, rows, columns, queries = shape
    if jax.config.jax_disable_jit:  # a loop would be written out, block by block
        return batch, queries
    limit = BLOCK_BYTES.get(jax.default_backend(), ACCELERATOR_BLOCK_BYTES)
    cells = max(1, limit // (4 * rows * columns))
    if cells >= queries:
        return min(batch, cells // queries), queries
    blocks = -(-queries // cells)
    # Whole vectors of 16 floats, as equal as possible.
    return 1, min(queries, -(-queries // blocks // 16) * 16)


def _over_blocks(block: Callable, shape: tuple[int, ...], init):
    """Runs block((b0, n0, examples, queries), carry) over the whole array.

    Blocks that would stick out are moved back: they repeat some queries, with the
    same result, so all have one shape.
    """
    batch, _, _, queries = shape
    b, n = _block_shape(shape)
    if (b, n) == (batch, queries):
        return block((0, 0, b, n), init)
    along = -(-queries // n)

    def step(i, carry):
        b0 = jnp.minimum(i // along * b, batch - b)
        n0 = jnp.minimum(i % along * n, queries - n)
        return block((b0, n0, b, n), carry)

    return jax.lax.fori_loop(0, -(-batch // b) * along, step, init)


def _block_weights(framed, at, logits, mask, seeds, static):
    """Cell weights [b, H, W, n], highest logit and sum of exponentials [b, n]."""
    _, value_mode, rate = static
    cells = framed.get(logits, at)
    valid = framed.valid(mask, at)
    highest = jnp.where(valid, cells, LOWEST).max(axis=(1, 2), keepdims=True)
    highest = jnp.where(valid.any(axis=(1, 2), keepdims=True), highest, 0)

    def area(size, sums, total):
        logit, count = sums
        share = _share(count, size)
        term = jnp.exp(jnp.where(share > 0, logit * share - highest, LOWEST))
        total = total + term.sum(axis=(1, 2), keepdims=True)
        kept = framed.dropped_out(term, seeds, size, at, rate)
        return total, kept * _value_share(share, value_mode, rate)

    sums = jnp.where(valid, cells, 0), valid.astype(jnp.float32)
    # With dropout a loop stores the results: their hash is not drawn again per cell.
    start = jnp.zeros_like(highest)
    total, weights = framed.sweep(area, sums, start, unroll=not rate)
    total = jnp.where(total > 0, total, 1)
    return jnp.where(valid, weights / total, 0), highest[:, 0, 0], total[:, 0, 0]


def _block_grads(framed, at, state, static):
    """d logits [b, H, W, n]."""
    logits, mask, seeds, grad, inner, log_total = state
    _, value_mode, rate = static
    valid = framed.valid(mask, at)
    corner, extent = at[:2], at[2:]
    inner, log_total = (
        jax.lax.dynamic_slice(x, corner, extent)[:, None, None]
        for x in (inner, log_total)
    )

    def area(size, sums, carry):
        logit, area_grad, count = sums
        share = _share(count, size)
        weight = jnp.exp(jnp.where(share > 0, logit * share - log_total, LOWEST))
        kept = framed.dropped_out(weight, seeds, size, at, rate)
        factor = _value_share(share, value_mode, rate)
        return carry, share * (kept * factor * area_grad - weight * inner)

    cells = [jnp.where(valid, framed.get(x, at), 0) for x in (logits, grad)]
    sums = *cells, valid.astype(jnp.float32)
    return jnp.where(valid, framed.sweep(area, sums, ())[1], 0)


def _share(count, size):
    """1 / cells of every area on the framed grid; 0 where a cell is not valid."""
    cells = (size[0] * size[1]).astype(jnp.float32)
    return jnp.where(count == cells, 1 / cells, 0)


def _value_share(share, value_mode, rate):
    """What an area's weight is multiplied by before it reaches its cells."""
    scale = np.float32(1 / (1 - rate))
    return scale * share if value_mode == "mean" else scale


class _Framed:
    """Sums over all areas of a block of examples and queries, and back to its cells.

    The map lies in a frame of (h - 1, w - 1) zeros on every side, and the grid of
    every size is [H + h - 1, W + w - 1], its first entry an area that ends in the
    first cell; those that stick out hold too few valid cells. So all sizes have one
    shape and a loop walks over them: what it carries is stored once, where an
    unrolled chain of shifted slices is computed again for every shift.
    """

    def __init__(self, shape, max_area):
        self.shape = shape
        self.grid = shape[1:3]
        self.heights, self.widths = pooling.area_sizes(max_area, self.grid)[-1]
        self.frame = (self.heights - 1, self.widths - 1)

    def get(self, whole: Array, at) -> Array:
        """A block of a [B, H, W, N] array."""
        b0, n0, b, n = at
        return jax.lax.dynamic_slice(whole, (b0, 0, 0, n0), (b, *self.grid, n))

    def put(self, whole: Array, at, part: Array) -> Array:
        """The array with a block replaced."""
        return jax.lax.dynamic_update_slice(whole, part, (at[0], 0, 0, at[1]))

    def valid(self, mask, at) -> Bool[Array, "b H W 1"]:
        """Which cells of a block may be attended to."""
        if mask is None:
            return jnp.ones((1, *self.grid, 1), bool)
        return jax.lax.dynamic_slice_in_dim(mask, at[0], at[2])[..., None]

    def sweep(self, area: Callable, cells: tuple, carry, *, unroll: bool = False):
        """Visits every size; gives the last carry and the results back at the cells.

        Args:
            area: (size, window sums of `cells` on the framed grid, carry) -> (carry,
                a result per area).
            cells: arrays [b, H, W, ...].
            carry: of `area`.
            unroll: whether the sizes of one width are one stretch of code. Faster if
                a result is stored before it is spread, as an exponential that a sum
                reads as well is; slower if XLA computes it again at every cell.
        """
        (up, left), (rows, columns) = self.frame, self.grid
        framed = jax.tree.map(
            lambda x: jnp.pad(x, ((0, 0), (up, up), (left, left), (0, 0))), cells
        )

        def width(state, w):
            carry, wide = state

            def height(state, h):
                carry, sums = state
                carry, result = area((h + 1, w + 1), sums, carry)
                return (carry, _grown(sums, wide, h + 1, 1)), result

            first = jax.tree.map(lambda x: x[:, : rows + up], wide)
            (carry, _), results = jax.lax.scan(
                height, (carry, first), jnp.arange(self.heights), unroll=unroll
            )
            state = carry, _grown(wide, framed, w + 1, 2)
            return state, _covered(results, 1, rows)

        first = jax.tree.map(lambda x: x[:, :, : columns + left], framed)
        (carry, _), strips = jax.lax.scan(
            width, (carry, first), jnp.arange(self.widths)
        )
        return carry, _covered(strips, 2, columns)

    def dropped_out(self, weights, seeds, size, at, rate: float) -> Array:
        """The weights of areas that survive dropout, 0 for the others."""
        if not rate:
            return weights
        (up, left), (rows, columns) = self.frame, self.grid
        ids = pooling.area_ids(
            at[0] + jnp.arange(at[2]),
            jnp.arange(-up, rows),
            jnp.arange(-left, columns),
            at[1] + jnp.arange(at[3]),
            self.shape,
        )
        seed = seeds[(size[0] - 1) * self.widths + size[1] - 1]
        return jnp.where(pooling.kept(seed, ids, rate), weights, 0)


def _grown(sums, source, step, axis: int):
    """Windows one cell longer along an axis: adds the cell `step` after their start."""

    def longer(x, y):
        return x + jax.lax.dynamic_slice_in_dim(y, step, x.shape[axis], axis)

    return jax.tree.map(longer, sums, source)


def _covered(parts: Array, axis: int, length: int) -> Array:
    """Every cell gets the sum of the windows along an axis that cover it.

    Args:
        parts: windows of 1, 2, ... K cells, [K, ...]; those of the k-th that begin at
            cell i lie at i + K - 1.
        axis: of one of the parts.
        length: cells.
    """
    longest = len(parts)
    total = 0
    for back in range(longest):
        start = longest - 1 - back
        for part in parts[back:]:
            total = total + jax.lax.slice_in_dim(part, start, start + length, axis=axis)
    return total
