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
BLOCK_BYTES = {"cpu": 1 << 19}
ACCELERATOR_BLOCK_BYTES = 1 << 28


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

    def block(at, out):
        piece = _Block(at, logits, mask, seeds, static)
        return piece.put(out, piece.weights())

    # The logits serve as initial values because they carry the mesh axes they vary
    # over, which shard_map demands of a loop's state; all of it is overwritten.
    weights = _over_blocks(block, logits, logits)
    return weights, (logits, mask, seeds, weights)


def _backward(static, residuals, grad):
    """d logits. Uses sum_A p_A dp_A = sum_cells W dW, so no area weight is stored."""
    logits, mask, seeds, weights = residuals
    inner = jnp.einsum("bhwn,bhwn->bn", weights, grad)

    def block(at, out):
        piece = _Block(at, logits, mask, seeds, static)
        return piece.put(out, piece.logit_grads(grad, inner))

    return _over_blocks(block, logits, logits), None, None


_cell_weights.defvjp(_forward, _backward)


def _block_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Examples and queries of one block for logits of this shape."""
    batch, rows, columns, queries = shape
    limit = BLOCK_BYTES.get(jax.default_backend(), ACCELERATOR_BLOCK_BYTES)
    cells = max(1, limit // (4 * rows * columns))
    if cells >= queries:
        return min(batch, cells // queries), queries
    blocks = -(-queries // cells)
    # Whole vectors of 16 floats, as equal as possible.
    return 1, min(queries, -(-queries // blocks // 16) * 16)


def _over_blocks(block: Callable, logits: Array, init):
    """Runs block((b0, n0, examples, queries), carry) over the whole array.

    Blocks that would stick out are moved back: they repeat some queries, with the
    same result, so all have one shape.
    """
    batch, _, _, queries = logits.shape
    b, n = _block_shape(logits.shape)
    if (b, n) == (batch, queries):
        return block((0, 0, b, n), init)
    along = -(-queries // n)

    def step(i, carry):
        b0 = jnp.minimum(i // along * b, batch - b)
        n0 = jnp.minimum(i % along * n, queries - n)
        return block((b0, n0, b, n), carry)

    return jax.lax.fori_loop(0, -(-batch // b) * along, step, init)


class _Block:
    """Some examples and queries of the logits, pooled over all area sizes.

    The map lies in a frame of (h - 1, w - 1) zeros on every side, and the grid of
    every size is [H + h - 1, W + w - 1], its first entry an area that ends in the
    first cell; those that stick out have share 0. So pooling and its adjoint are
    shifted slices, which vectorise where paddings in the middle would not.
    """

    def __init__(self, at, logits, mask, seeds, static):
        self.b0, self.n0, self.b, self.n = at
        self.shape = logits.shape
        max_area, self.value_mode, self.rate = static
        self.grid = logits.shape[1:3]
        self.sizes = pooling.area_sizes(max_area, self.grid)
        self.frame = tuple(m - 1 for m in self.sizes[-1])
        self.seeds = seeds
        self.mask = None
        if mask is not None:
            mask = jax.lax.dynamic_slice_in_dim(mask, self.b0, self.b)
            self.mask = mask[..., None]
        self.logits = self.get(logits)
        self.shares = self._shares()

    def get(self, whole: Array) -> Array:
        """This block of a [B, H, W, N] array, 0 in masked cells."""
        part = jax.lax.dynamic_slice(
            whole, (self.b0, 0, 0, self.n0), (self.b, *self.grid, self.n)
        )
        return self._masked(part)

    def put(self, whole: Array, part: Array) -> Array:
        """The array with this block replaced."""
        return jax.lax.dynamic_update_slice(whole, part, (self.b0, 0, 0, self.n0))

    def _masked(self, part: Array) -> Array:
        return part if self.mask is None else jnp.where(self.mask, part, 0)

    def _pool(self, part: Array) -> list[Array]:
        """Window sums of every size, each on the framed grid."""
        (up, left), (rows, columns) = self.frame, self.grid
        framed = jnp.pad(part, ((0, 0), (up, up), (left, left), (0, 0)))
        sums = pooling.area_sums(framed, self.sizes)
        return [x[:, : rows + up, : columns + left] for x in sums]

    def _spread(self, areas: list[Array]) -> Array:
        """Adjoint of _pool: every cell gets the sum of the areas that cover it."""
        (up, left), (rows, columns) = self.frame, self.grid
        by_size = dict(zip(self.sizes, areas, strict=True))
        cells, wider = 0, 0
        for w in range(left + 1, 0, -1):
            taller, strips = 0, 0
            for h in range(up + 1, 0, -1):
                # All areas of at least h rows reach the cell h - 1 rows down.
                taller = taller + by_size[h, w]
                top = up - (h - 1)
                strips = strips + taller[:, top : top + rows]
            wider = wider + strips
            start = left - (w - 1)
            cells = cells + wider[:, :, start : start + columns]
        return cells

    def _shares(self) -> list:
        """1 / cells of every area on the framed grid; 0 where a cell is not valid."""
        (up, left), (rows, columns) = self.frame, self.grid
        top = np.arange(-up, rows)[:, None, None]
        start = np.arange(-left, columns)[:, None]
        inside = [
            (top >= 0) & (top + h <= rows) & (start >= 0) & (start + w <= columns)
            for h, w in self.sizes
        ]
        if self.mask is None:
            return [
                (i / (h * w)).astype(np.float32)
                for i, (h, w) in zip(inside, self.sizes, strict=True)
            ]
        counts = self._pool(self.mask.astype(jnp.float32))
        return [
            jnp.where(i & (n == h * w), np.float32(1 / (h * w)), 0)
            for i, n, (h, w) in zip(inside, counts, self.sizes, strict=True)
        ]

    def _terms(self) -> tuple[list[Array], list[Array], Array]:
        """Of every area exp(logit - highest), the same after dropout, and their sum.

        Both backward and forward pass add the terms up: XLA stores an exponential
        that a reduction reads as well, and would otherwise repeat it, with dropout's
        hash, at each of the h * w places that read an area. For the same reason what
        is kept and what is dropped are exponentials of their own.
        """
        cells, lowest = self.logits, jnp.finfo(jnp.float32).min
        if self.mask is not None:
            cells = jnp.where(self.mask, cells, lowest)
        highest = cells.max(axis=(1, 2), keepdims=True)
        if self.mask is not None:
            valid = self.mask.any(axis=(1, 2), keepdims=True)
            highest = jnp.where(valid, highest, 0)
        exponents = [
            jnp.where(share > 0, total * share - highest, lowest)
            for total, share in zip(self._pool(self.logits), self.shares, strict=True)
        ]
        if self.rate:
            ids = self._ids()
            keep = [pooling.kept(seed, ids, self.rate) for seed in self.seeds]
            pairs = list(zip(keep, exponents, strict=True))
            kept = [jnp.exp(jnp.where(k, e, lowest)) for k, e in pairs]
            dropped = [jnp.exp(jnp.where(k, lowest, e)) for k, e in pairs]
            terms = [k + d for k, d in zip(kept, dropped, strict=True)]
        else:
            terms = kept = [jnp.exp(e) for e in exponents]
        total = sum(term.sum(axis=(1, 2), keepdims=True) for term in terms)
        return terms, kept, jnp.where(total > 0, total, 1)

    def _ids(self) -> Array:
        """Numbers of the areas' top-left cells and queries, for dropout."""
        (up, left), (rows, columns) = self.frame, self.grid
        return pooling.area_ids(
            self.b0 + jnp.arange(self.b),
            jnp.arange(-up, rows),
            jnp.arange(-left, columns),
            self.n0 + jnp.arange(self.n),
            self.shape,
        )

    def _value_shares(self) -> list:
        """What an area's weight is multiplied by before it reaches its cells."""
        scale = np.float32(1 / (1 - self.rate))
        if self.value_mode == "mean":
            return [scale * share for share in self.shares]
        return [scale] * len(self.sizes)

    def weights(self) -> Array:
        """Cell weights [b, H, W, n]."""
        _, kept, total = self._terms()
        parts = [k * f for k, f in zip(kept, self._value_shares(), strict=True)]
        return self._masked(self._spread(parts) / total)

    def logit_grads(self, grad: Array, inner: Array) -> Array:
        """d logits [b, H, W, n] from d weights and sum over cells of W dW [B, N]."""
        inner = jax.lax.dynamic_slice(inner, (self.b0, self.n0), (self.b, self.n))
        inner = inner[:, None, None]
        terms, kept, total = self._terms()
        parts = [
            share * (k * factor * area_grad - term * inner)
            for term, k, share, area_grad, factor in zip(
                terms,
                kept,
                self.shares,
                self._pool(self.get(grad)),
                self._value_shares(),
                strict=True,
            )
        ]
        return self._masked(self._spread(parts) / total)
