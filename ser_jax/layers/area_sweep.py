"""Window sums of all area sizes, and what becomes of them back at the cells."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ser_jax.layers import area_pooling as pooling
from ser_jax.layers.area_blocks import Block, zeros_like


class Areas(NamedTuple):
    """What a call does with areas.

    Attributes:
        max_area: largest height and width.
        value_mode: `sum`; or `mean`: an area's weight is shared among its cells.
        dropout_rate: share of area weights set to 0.
    """

    max_area: tuple[int, int]
    value_mode: str
    dropout_rate: float = 0.0


class Sweep:
    """Sums over all areas of a block of examples and queries, and back to its cells.

    Every size has a grid [H, W]: its entry at (i, j) is the area with that first cell,
    and those that stick out of the map hold too few valid cells. So all sizes have one
    shape and a loop walks over them: what it carries is stored once, where an
    unrolled chain of shifted slices is computed again for every shift.
    """

    def __init__(self, grid: tuple[int, int], areas: Areas):
        self.grid, self.areas = grid, areas
        self.heights, self.widths = pooling.area_sizes(areas.max_area, grid)[-1]
        self.frame = (self.heights - 1, self.widths - 1)

    def grids(self, cells: Float[Array, "b M n"], mask: Bool[Array, "b M"] | None):
        """The cells as [b, H, W, n], and which of them are valid, [b, H, W, 1]."""
        cells = cells.reshape(len(cells), *self.grid, -1)
        if mask is None:
            return cells, jnp.ones((1, *self.grid, 1), bool)
        return cells, mask.reshape(len(mask), *self.grid, 1)

    def flat(self, cells: Float[Array, "b H W n"]) -> Float[Array, "b M n"]:
        """Undoes `grids`."""
        return cells.reshape(len(cells), -1, cells.shape[-1])

    def value_share(self, share: Array) -> Array | np.float32:
        """What an area's weight is multiplied by before it reaches its cells."""
        scale = np.float32(1 / (1 - self.areas.dropout_rate))
        return scale * share if self.areas.value_mode == "mean" else scale

    def sweep(self, area: Callable, cells: tuple, carry, *, unroll: bool = False):
        """Visits every size; gives the last carry and the results back at the cells.

        Args:
            area: (size, window sums of `cells`, carry) -> (carry, a result per area).
            cells: arrays [b, H, W, ...], the first as large as a result.
            carry: of `area`.
            unroll: whether the sizes of one width are one stretch of code. Faster if
                a result is stored before it is spread, as an exponential that a sum
                reads as well is; slower if XLA computes it again at every cell.
        """
        (up, left), (rows, columns) = self.frame, self.grid
        framed = jax.tree.map(
            lambda x: jnp.pad(x, ((0, 0), (0, up), (0, left), (0, 0))), cells
        )

        def width(w, state):
            carry, wide, tall_parts, wide_parts = state
            wide = _grown(wide, framed, w, 2)

            def height(h, state):
                carry, sums, parts = state
                sums = _grown(sums, wide, h, 1)
                carry, result = area((h + 1, w + 1), sums, carry)
                return carry, sums, _put(parts, result, h, (0, up, 0, 0))

            state = carry, jax.tree.map(zeros_like, cells), tall_parts
            carry, _, tall_parts = jax.lax.fori_loop(
                0, self.heights, height, state, unroll=unroll
            )
            strip = _covered(tall_parts, 1, rows)
            wide_parts = _put(wide_parts, strip, w, (0, 0, left, 0))
            return carry, wide, tall_parts, wide_parts

        tall_parts = _room(cells[0], self.heights, up, 1)
        wide_parts = _room(cells[0], self.widths, left, 2)
        wide = jax.tree.map(lambda x: zeros_like(x[:, :, :columns]), framed)
        state = carry, wide, tall_parts, wide_parts
        carry, *_, wide_parts = jax.lax.fori_loop(0, self.widths, width, state)
        return carry, _covered(wide_parts, 2, columns)

    def dropped_out(self, weights, seeds, size, x: Block) -> Array:
        """The weights of areas that survive dropout, 0 for the others."""
        if seeds is None:
            return weights
        rows, columns = self.grid
        batch, queries = x.shape
        ids = pooling.area_ids(
            x.at[0] + jnp.arange(len(x.query)),
            jnp.arange(rows),
            jnp.arange(columns),
            x.at[1] + jnp.arange(x.query.shape[1]),
            (batch, rows, columns, queries),
        )
        seed = seeds[(size[0] - 1) * self.widths + size[1] - 1]
        kept = pooling.kept(seed, ids, self.areas.dropout_rate)
        return jnp.where(kept, weights, 0)


def _grown(sums, source, step, axis: int):
    """Windows one cell longer along an axis: adds the cell `step` after their start."""

    def longer(x, y):
        return x + jax.lax.dynamic_slice_in_dim(y, step, x.shape[axis], axis)

    return jax.tree.map(longer, sums, source)


def _room(x: Array, count: int, before: int, axis: int) -> Array:
    """`count` times zeros like x, with as many as `before` more ahead of an axis."""
    padding = [(0, 0)] * x.ndim
    padding[axis] = (before, 0)
    zeros = jnp.pad(zeros_like(x), padding)
    return jnp.broadcast_to(zeros, (count, *zeros.shape))


def _put(parts: Array, part: Array, number, at: tuple[int, ...]) -> Array:
    """One of the parts replaced, from a cell on."""
    return jax.lax.dynamic_update_slice(parts, part[None], (number, *at))


def _covered(parts: Array, axis: int, length: int) -> Array:
    """Every cell gets the sum of the windows along an axis that cover it.

    Args:
        parts: windows of 1, 2, ... K cells, [K, ...]; all those that begin at cell i
            lie at i + K - 1.
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
