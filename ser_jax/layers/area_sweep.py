"""Visits every area of a map, size by size, in plain JAX.

On CPU loops walk over the sizes. Every size has a grid [H, W]: its entry at (i, j) is
the area with that first cell, and those that stick out of the map hold too few valid
cells. So all sizes have one shape, and what a loop carries is stored once, where XLA
computes an unrolled chain of shifted slices again for every shift. On accelerators
the sizes are written out: there a loop moves six to nine times as many bytes
(docs/performance.md).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ser_jax.layers import area_pooling as pooling
from ser_jax.layers.area_blocks import zeros_like

LOWEST = np.finfo(np.float32).min


class Dropout(NamedTuple):
    """Which areas are dropped.

    Attributes:
        seeds: uint32 per area size (area_pooling.area_seeds).
        rate: share of the areas.
        at: example and query that the first ones here are of the whole.
        whole: B and N of the whole.
    """

    seeds: Array
    rate: float
    at: tuple
    whole: tuple[int, int]


def sweep(
    area: Callable,
    maps: tuple[Float[Array, "b M n"], ...],
    numbers: tuple[Float[Array, "b n"], ...],
    mask: Bool[Array, "b M"] | None,
    dropout: Dropout | None,
    *,
    grid: tuple[int, int],
    max_area: tuple[int, int],
    unroll: bool = False,
) -> tuple[Float[Array, "b M n"], Float[Array, "b n"]]:
    """Gives every cell the sum of what its areas give, and the total of all areas.

    Args:
        area: (1 / its cells, kept, sums of the maps over it, numbers of its query) ->
            (what it gives each of its cells, what it adds to the total). `kept` tells
            what survives dropout, None without. The first sum of an area with a masked
            cell is LOWEST: there both results must be 0, as an exponential of it is.
        maps: what is summed over areas.
        numbers: of the queries.
        mask: valid cells; None = all.
        dropout: None = off.
        grid: H and W.
        max_area: largest height and width.
        unroll: on CPU, whether the sizes of one width are one stretch of code. Faster
            if a result is stored before it is spread, as an exponential that a sum
            reads as well is; slower if XLA computes it again at every cell.
    """
    numbers = [x[:, None, None] for x in numbers]
    maps = [x.reshape(len(x), *grid, -1) for x in maps]
    sizes = pooling.area_sizes(max_area, grid)
    if mask is None:
        valid = jnp.ones((1, *grid, 1), bool)
    else:
        valid = mask.reshape(len(mask), *grid, 1)
        maps = [jnp.where(valid, x, 0) for x in maps]

    def visit(size, sums, total):
        *sums, count = sums
        cells = jnp.asarray(size[0] * size[1], jnp.float32)
        kept = _kept(dropout, size, sums[0].shape, grid, sizes)
        sums[0] = jnp.where(count == cells, sums[0], LOWEST)
        given, term = area(1 / cells, kept, sums, numbers)
        return total + term.sum(axis=(1, 2)), given

    cells = *maps, valid.astype(jnp.float32)
    start = zeros_like(maps[0][:, 0, 0])
    if loops():
        total, results = _in_loops(visit, cells, start, sizes[-1], unroll)
    else:
        total, results = _written_out(visit, cells, start, sizes)
    return results.reshape(len(results), -1, results.shape[-1]), total


def loops() -> bool:
    """Whether loops walk over the sizes."""
    return jax.default_backend() == "cpu"


def _kept(dropout, size, shape, grid, sizes):
    """Which of the areas of a size survive dropout."""
    if dropout is None:
        return None
    examples, rows, columns, queries = shape
    ids = pooling.area_ids(
        dropout.at[0] + jnp.arange(examples),
        jnp.arange(rows),
        jnp.arange(columns),
        dropout.at[1] + jnp.arange(queries),
        (dropout.whole[0], *grid, dropout.whole[1]),
    )
    seed = dropout.seeds[(size[0] - 1) * sizes[-1][1] + size[1] - 1]
    return pooling.kept(seed, ids, dropout.rate)


def _written_out(visit, cells, total, sizes):
    """All sizes, one after the other."""
    sums = [pooling.area_sums(x, sizes) for x in cells]
    results = []
    for size, *of_size in zip(sizes, *sums, strict=True):
        total, result = visit(size, of_size, total)
        results.append(result)
    return total, pooling.spread_to_cells(results, sizes, cells[0].shape[1:3])


def _in_loops(visit, cells, total, largest, unroll):
    """Widths, and in them heights."""
    rows, columns = cells[0].shape[1:3]
    up, left = largest[0] - 1, largest[1] - 1
    framed = jax.tree.map(
        lambda x: jnp.pad(x, ((0, 0), (0, up), (0, left), (0, 0))), cells
    )

    def width(w, state):
        total, wide, tall_parts, wide_parts = state
        wide = _grown(wide, framed, w, 2)

        def height(h, state):
            total, sums, parts = state
            sums = _grown(sums, wide, h, 1)
            total, result = visit((h + 1, w + 1), sums, total)
            return total, sums, _put(parts, result, h, (0, up, 0, 0))

        state = total, jax.tree.map(zeros_like, cells), tall_parts
        total, _, tall_parts = jax.lax.fori_loop(
            0, largest[0], height, state, unroll=unroll
        )
        strip = _covered(tall_parts, 1, rows)
        wide_parts = _put(wide_parts, strip, w, (0, 0, left, 0))
        return total, wide, tall_parts, wide_parts

    tall_parts = _room(cells[0], largest[0], up, 1)
    wide_parts = _room(cells[0], largest[1], left, 2)
    wide = jax.tree.map(lambda x: zeros_like(x[:, :, :columns]), framed)
    state = total, wide, tall_parts, wide_parts
    total, *_, wide_parts = jax.lax.fori_loop(0, largest[1], width, state)
    return total, _covered(wide_parts, 2, columns)


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
