"""Visits every area of a map, size by size, in plain JAX; which areas are dropped."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ser_jax.layers import area_pooling as pooling


class Areas(NamedTuple):
    """Which areas there are and what becomes of their weights; static under jit.

    Attributes:
        grid: H and W of the map.
        max_area: largest height and width.
        value_mode: `sum`; or `mean`: an area's weight is shared among its cells.
        dropout_rate: share of area weights set to 0.
        implementation: `xla`; or `pallas`: area_kernel, on a GPU.
    """

    grid: tuple[int, int]
    max_area: tuple[int, int]
    value_mode: str = "sum"
    dropout_rate: float = 0.0
    implementation: str = "xla"

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Heights and widths, the largest one last."""
        return pooling.area_sizes(self.max_area, self.grid)

    def index(self, size):
        """Place of a size among `sizes`; the size may be traced."""
        return (size[0] - 1) * self.sizes[-1][1] + size[1] - 1

    def factor(self, share):
        """What an area's weight is multiplied by before it reaches its cells."""
        scale = np.float32(1 / (1 - self.dropout_rate))
        return scale * share if self.value_mode == "mean" else scale


class Block(NamedTuple):
    """Some queries of some examples, all their cells on one axis, M = H W.

    Attributes:
        first: the first example and the first query, as indices into the batch.
        shape: B and N of the batch.
        mask: None = all valid.
        seeds: uint32 per area size (`area_seeds`); None = no dropout.
    """

    first: tuple
    shape: tuple[int, int]
    query: Float[Array, "b n D"]
    key: Float[Array, "b M D"]
    value: Float[Array, "b M V"]
    mask: Bool[Array, "b M"] | None
    seeds: Array | None


def area_seeds(dropout_key: jax.Array, sizes: Sequence[tuple[int, int]]) -> Array:
    """One uint32 per area size, drawn from a JAX key."""
    return jax.random.bits(dropout_key, (len(sizes),), jnp.uint32)


def area_ids(
    batch: Array, rows: Array, columns: Array, queries: Array, shape: tuple[int, ...]
) -> Array:
    """A uint32 for every (example, top-left cell, query), [b, h, w, n].

    It numbers the entries of the whole [B, H, W, N] = `shape`, so that an area is
    dropped or not whatever blocks the batch is processed in. The other arguments are
    indices along one axis each.
    """
    ids = jnp.uint32(0)
    for axis, index in enumerate((batch, rows, columns, queries)):
        stride = jnp.uint32(math.prod(shape[axis + 1 :]) % 2**32)
        part = index.astype(jnp.uint32) * stride
        ids = ids + part.reshape([-1 if a == axis else 1 for a in range(4)])
    return ids


def keep_mask(seed: Array, ids: Array, rate: float) -> Bool[Array, "..."]:
    """Which area weights survive dropout.

    Args:
        seed: uint32 of this area size (area_seeds).
        ids: uint32 (area_ids).
        rate: probability of False, in [0, 1).
    """
    # A counter-based generator: an avalanche hash of id and seed (two rounds of
    # multiply and xorshift). It keeps no state, fuses with the arithmetic around it,
    # and the backward pass draws the same bits again instead of storing them.
    # jax.random would cost more than all the rest of the attention.
    x = ids ^ seed
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return (x ^ (x >> 16)) >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))


def dropout_factors(
    dropout_key: jax.Array,
    sizes: Sequence[tuple[int, int]],
    shape: tuple[int, ...],
    rate: float,
) -> Float[Array, "B A N"]:
    """What dropout multiplies all area weights by; `shape`: [B, H, W, N]."""
    ids = area_ids(*map(jnp.arange, shape), shape)
    seeds = area_seeds(dropout_key, sizes)
    masks = [
        keep_mask(seed, ids[:, : shape[1] - h + 1, : shape[2] - w + 1], rate)
        for seed, (h, w) in zip(seeds, sizes, strict=True)
    ]
    return pooling.flatten_areas(masks) / (1 - rate)


def zeros_like(x: Array) -> Array:
    """float32 zeros that vary over the mesh axes of x: shard_map wants it of a loop."""
    return jnp.where(False, x, 0).astype(jnp.float32)


def use_loops() -> bool:
    """Whether loops walk over the sizes.

    On CPU what a loop carries is stored once, where XLA computes an unrolled chain of
    shifted slices again for every shift. On accelerators a loop moves six to nine
    times as many bytes as the sizes written out (docs/performance.md).
    """
    return jax.default_backend() == "cpu"


def sweep(
    area: Callable,
    maps: tuple[Float[Array, "b M n"], ...],
    per_query: tuple[Float[Array, "b n"], ...],
    block: Block,
    areas: Areas,
    *,
    unroll: bool = False,
) -> tuple[Float[Array, "b M n"], Float[Array, "b n"]]:
    """Gives every cell the sum of what its areas give, and the total of all areas.

    Args:
        area: (1 / its cells, keep, sums of the maps over it, `per_query`) -> (what it
            gives each of its cells, what it adds to the total). `keep` tells what
            survives dropout, None without. The first sum of an area with a masked
            cell is LOWEST: there both results must be 0, as an exponential of it is.
        maps: what is summed over areas.
        per_query: numbers that `area` needs besides.
        block, areas: whose mask, place, seeds, grid and sizes are read.
        unroll: on CPU, whether the sizes of one width are one stretch of code. Faster
            if a result is stored before it is spread, as an exponential that a sum
            reads as well is; slower if XLA computes it again at every cell.
    """
    grid, sizes = areas.grid, areas.sizes
    per_query = [x[:, None, None] for x in per_query]
    maps = [x.reshape(len(x), *grid, -1) for x in maps]
    valid = jnp.ones((1, *grid, 1), bool)
    if block.mask is not None:
        valid = block.mask.reshape(-1, *grid, 1)
        maps = [jnp.where(valid, x, 0) for x in maps]

    def visit(size, sums, total):
        *sums, count = sums
        number = jnp.asarray(size[0] * size[1], jnp.float32)
        keep = _keep(block, areas, size, sums[0].shape)
        sums[0] = jnp.where(count == number, sums[0], pooling.LOWEST)
        result, term = area(1 / number, keep, sums, per_query)
        return total + term.sum(axis=(1, 2)), result

    summed = *maps, valid.astype(jnp.float32)
    start = zeros_like(maps[0][:, 0, 0])
    if use_loops():
        total, results = _sweep_in_loops(visit, summed, start, sizes[-1], unroll)
    else:
        total, results = _sweep_unrolled(visit, summed, start, sizes)
    return results.reshape(len(results), -1, results.shape[-1]), total


def _keep(block: Block, areas: Areas, size, shape):
    """Which of the areas of a size survive dropout; None = all."""
    if block.seeds is None:
        return None
    examples, rows, columns, queries = shape
    ids = area_ids(
        block.first[0] + jnp.arange(examples),
        jnp.arange(rows),
        jnp.arange(columns),
        block.first[1] + jnp.arange(queries),
        (block.shape[0], *areas.grid, block.shape[1]),
    )
    return keep_mask(block.seeds[areas.index(size)], ids, areas.dropout_rate)


def _sweep_unrolled(visit, summed, total, sizes):
    """All sizes, one after the other."""
    sums = [pooling.area_sums(x, sizes) for x in summed]
    results = []
    for size, *of_size in zip(sizes, *sums, strict=True):
        total, result = visit(size, of_size, total)
        results.append(result)
    return total, pooling.spread_to_cells(results, sizes, summed[0].shape[1:3])


def _sweep_in_loops(visit, summed, total, largest, unroll):
    """Widths, and in them heights."""
    # Every size has a whole grid [H, W]: its entry at (i, j) is the area with that
    # first cell, and those that stick out of the map hold too few valid cells. So all
    # sizes have one shape, as a loop needs it.
    rows, columns = summed[0].shape[1:3]
    up, left = largest[0] - 1, largest[1] - 1
    framed = jax.tree.map(
        lambda x: jnp.pad(x, ((0, 0), (0, up), (0, left), (0, 0))), summed
    )

    def width(w, state):
        total, wide, tall_parts, wide_parts = state
        wide = _lengthen(wide, framed, w, 2)

        def height(h, state):
            total, sums, parts = state
            sums = _lengthen(sums, wide, h, 1)
            total, result = visit((h + 1, w + 1), sums, total)
            return total, sums, _store(parts, result, h, (0, up, 0, 0))

        state = total, jax.tree.map(zeros_like, summed), tall_parts
        total, _, tall_parts = jax.lax.fori_loop(
            0, largest[0], height, state, unroll=unroll
        )
        strip = _spread_windows(tall_parts, 1, rows)
        return total, wide, tall_parts, _store(wide_parts, strip, w, (0, 0, left, 0))

    def parts(count: int, axis: int) -> Array:
        zeros = pooling.pad_axis(zeros_like(summed[0]), axis, count - 1, 0)
        return jnp.broadcast_to(zeros, (count, *zeros.shape))

    wide = jax.tree.map(lambda x: zeros_like(x[:, :, :columns]), framed)
    state = total, wide, parts(largest[0], 1), parts(largest[1], 2)
    total, *_, wide_parts = jax.lax.fori_loop(0, largest[1], width, state)
    return total, _spread_windows(wide_parts, 2, columns)


def _lengthen(sums, source, step, axis: int):
    """Windows one cell longer along an axis: adds the cell `step` after their start."""

    def add(x, y):
        return x + jax.lax.dynamic_slice_in_dim(y, step, x.shape[axis], axis)

    return jax.tree.map(add, sums, source)


def _store(parts: Array, part: Array, number, start: tuple[int, ...]) -> Array:
    return jax.lax.dynamic_update_slice(parts, part[None], (number, *start))


def _spread_windows(parts: Array, axis: int, length: int) -> Array:
    """Every cell gets the sum of the windows along an axis that cover it.

    `parts` [K, ...] holds windows of 1, 2, ... K cells; those that begin at cell i lie at
    i + K - 1.
    """
    longest = len(parts)
    total = 0
    for back in range(longest):
        start = longest - 1 - back
        for part in parts[back:]:
            total = total + jax.lax.slice_in_dim(part, start, start + length, axis=axis)
    return total
