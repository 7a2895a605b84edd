"""Areas of a grid: sizes, sums, means, deviations, maxima and back, and dropout.

An area is a rectangle of adjacent cells (Li et al., ICML 2019). The areas of one
size (h, w) form a smaller grid [B, H-h+1, W-w+1, ...], whose cell (i, j) stands for
the rectangle with that top-left corner; lists of areas hold one such grid per size.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

# Stands for the logit of an area that does not take part: finite, because -inf minus
# -inf would be NaN in the softmax's gradient.
LOWEST = np.finfo(np.float32).min

Size = tuple[int, int]


def area_sizes(max_area: Size, grid: Size) -> tuple[Size, ...]:
    """All (h, w) up to `max_area` that fit in the grid, heights outer, widths inner.

    Raises a ValueError if `max_area` is not two positive integers.
    """
    if len(max_area) != 2 or min(max_area) < 1:
        raise ValueError(
            f"max_area: expected (height, width), both at least 1, got {max_area}; "
            "use (1, 1) for plain attention"
        )
    heights, widths = (min(a, g) for a, g in zip(max_area, grid, strict=True))
    return tuple((h, w) for h in range(1, heights + 1) for w in range(1, widths + 1))


def _windows(x: Array, sizes: Sequence[Size], combine: Callable) -> list[Array]:
    # (h, w) comes from (h - 1, w): a size costs one operation per area, not h * w.
    heights, widths = sizes[-1]
    rows = {1: x}  # windows of one row, by width
    for w in range(2, widths + 1):
        rows[w] = combine(rows[w - 1][:, :, :-1], x[:, :, w - 1 :])
    windows = {(1, w): rows[w] for w in rows}
    for h in range(2, heights + 1):
        for w in range(1, widths + 1):
            windows[h, w] = combine(windows[h - 1, w][:, :-1], rows[w][:, h - 1 :])
    return [windows[size] for size in sizes]


def area_sums(x: Float[Array, "B H W *D"], sizes: Sequence[Size]) -> list[Array]:
    """Sum of the cells of every area."""
    return _windows(x, sizes, jnp.add)


def _counts(mask: Bool[Array, "B H W"], sizes: Sequence[Size]) -> list[Array]:
    return area_sums(mask[..., None].astype(jnp.float32), sizes)


def area_maxima(
    x: Float[Array, "B H W D"], sizes: Sequence[Size], mask: Bool[Array, "B H W"]
) -> list[Array]:
    """Maximum over the valid cells of every area; 0 where an area has none."""
    lowest = jnp.finfo(x.dtype).min
    maxima = _windows(jnp.where(mask[..., None], x, lowest), sizes, jnp.maximum)
    pairs = zip(maxima, _counts(mask, sizes), strict=True)
    return [jnp.where(count > 0, most, 0) for most, count in pairs]


def area_valid(mask: Bool[Array, "B H W"], sizes: Sequence[Size]) -> list[Array]:
    """Whether all cells of an area are valid, [B, H-h+1, W-w+1, 1] per size."""
    pairs = zip(_counts(mask, sizes), sizes, strict=True)
    return [count == h * w for count, (h, w) in pairs]


def area_means(
    x: Float[Array, "B H W D"], sizes: Sequence[Size], mask: Bool[Array, "B H W"]
) -> list[Array]:
    """Mean over the valid cells of every area; 0 where an area has none."""
    sums = area_sums(jnp.where(mask[..., None], x, 0), sizes)
    pairs = zip(sums, _counts(mask, sizes), strict=True)
    return [total / jnp.maximum(n, 1).astype(total.dtype) for total, n in pairs]


def area_stds(
    x: Float[Array, "B H W D"], sizes: Sequence[Size], mask: Bool[Array, "B H W"]
) -> list[Array]:
    """sqrt(|E[x^2] - E[x]^2| + 1e-6) over the valid cells, Li et al.'s deviation."""
    # In one pass over the windows; cancellation can make the difference negative.
    means = area_means(x, sizes, mask)
    squares = area_means(jnp.square(x), sizes, mask)
    pairs = zip(means, squares, strict=True)
    return [jnp.sqrt(jnp.abs(s - jnp.square(m)) + 1e-6) for m, s in pairs]


def pad_axis(x: Array, axis: int, before: int, after: int) -> Array:
    padding = [(0, 0)] * x.ndim
    padding[axis] = (before, after)
    return jnp.pad(x, padding)


def _shifted_total(parts: Sequence[Array], axis: int, length: int) -> Array:
    """Adjoint of windows along one axis: parts[k] holds the windows of k+1 cells."""
    # A cell d steps into a window is reached by every window longer than d: adding
    # the parts from the longest down once, each running total is shifted only once.
    total, longer = None, None
    for d in reversed(range(len(parts))):
        part = parts[d]
        if longer is not None:
            missing = part.shape[axis] - longer.shape[axis]
            part = part + pad_axis(longer, axis, 0, missing)
        longer = part
        shifted = pad_axis(part, axis, d, length - d - part.shape[axis])
        total = shifted if total is None else total + shifted
    return total


def spread_to_cells(
    areas: Sequence[Array], sizes: Sequence[Size], grid: Size
) -> Float[Array, "B H W *N"]:
    """Gives every cell the sum of the areas that cover it, the adjoint of area_sums."""
    by_size = dict(zip(sizes, areas, strict=True))
    heights, widths = sizes[-1]
    columns = [
        _shifted_total([by_size[h, w] for h in range(1, heights + 1)], 1, grid[0])
        for w in range(1, widths + 1)
    ]
    return _shifted_total(columns, 2, grid[1])


def spread_windows(parts: Array, axis: int, length: int) -> Array:
    """Every cell gets the sum of the windows along an axis that cover it.

    `parts` [K, ...] holds windows of 1 to K cells; that from cell i on is at i + K - 1.
    """
    longest = len(parts)
    total = 0
    for back in range(longest):
        start = longest - 1 - back
        for part in parts[back:]:
            total = total + jax.lax.slice_in_dim(part, start, start + length, axis=axis)
    return total


def spread_size(areas: Array, grid: Size) -> Array:
    """`spread_to_cells` for the areas of one size alone, [B, H, W]."""
    for axis, length in enumerate(grid, start=1):
        last = length - areas.shape[axis]
        areas = sum(pad_axis(areas, axis, last - i, i) for i in range(last + 1))
    return areas


def flatten_areas(areas: Sequence[Array]) -> Shaped[Array, "B A *D"]:
    """Lists all areas on one axis, size by size, each grid row by row."""
    flat = [a.reshape(a.shape[0], a.shape[1] * a.shape[2], *a.shape[3:]) for a in areas]
    return jnp.concatenate(flat, axis=1)


def unflatten_areas(
    flat: Float[Array, "B A *D"], sizes: Sequence[Size], grid: Size
) -> list[Array]:
    """Undoes flatten_areas."""
    shapes = [(grid[0] - h + 1, grid[1] - w + 1) for h, w in sizes]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    pairs = zip(jnp.split(flat, ends[:-1], axis=1), shapes, strict=True)
    return [part.reshape(len(part), *s, *part.shape[2:]) for part, s in pairs]


def area_shape_ids(sizes: Sequence[Size], grid: Size) -> tuple[Array, Array]:
    """Height - 1 and width - 1 of every area in flatten_areas' order, int32 [A]."""
    repeats = [(grid[0] - h + 1) * (grid[1] - w + 1) for h, w in sizes]
    ids = np.repeat(np.array(sizes, np.int32) - 1, repeats, axis=0)
    return jnp.asarray(ids[:, 0]), jnp.asarray(ids[:, 1])


class Areas(NamedTuple):
    """Which areas there are and what becomes of their weights; static under jit."""

    grid: Size
    max_area: Size
    value_mode: str = "sum"  # or "mean": an area's weight is shared among its cells
    dropout_rate: float = 0.0
    implementation: str = "xla"

    @property
    def sizes(self) -> tuple[Size, ...]:
        return area_sizes(self.max_area, self.grid)

    def index(self, size):
        """Place of a size among `sizes`; the size may be traced."""
        return (size[0] - 1) * self.sizes[-1][1] + size[1] - 1

    def factor(self, share):
        """What an area's weight is multiplied by before it reaches its cells."""
        scale = np.float32(1 / (1 - self.dropout_rate))
        return scale * share if self.value_mode == "mean" else scale


class Block(NamedTuple):
    """Some queries of some examples, all their cells on one axis, M = H W."""

    first: tuple  # the first example and the first query, as indices into the batch
    shape: tuple[int, int]  # B and N of the batch
    query: Float[Array, "b n D"]
    key: Float[Array, "b M D"]
    value: Float[Array, "b M V"]
    mask: Bool[Array, "b M"] | None
    seeds: Array | None  # uint32 per area size; None = no dropout


def area_seeds(dropout_key: jax.Array, sizes: Sequence[Size]) -> Array:
    """One uint32 per area size, drawn from a JAX key."""
    return jax.random.bits(dropout_key, (len(sizes),), jnp.uint32)


def area_ids(
    batch: Array, rows: Array, columns: Array, queries: Array, shape: tuple[int, ...]
) -> Array:
    """A uint32 for every (example, top-left cell, query), [b, h, w, n].

    It is its number in the whole [B, H, W, N] = `shape`, the same in whatever block.
    """
    ids = jnp.uint32(0)
    for axis, index in enumerate((batch, rows, columns, queries)):
        stride = jnp.uint32(math.prod(shape[axis + 1 :]) % 2**32)
        part = index.astype(jnp.uint32) * stride
        ids = ids + part.reshape([-1 if a == axis else 1 for a in range(4)])
    return ids


def keep_mask(seed: Array, ids: Array, rate: float) -> Bool[Array, "..."]:
    """Which of the areas `ids` survive dropout, for the seed of their size."""
    # A counter-based generator: an avalanche hash of id and seed (two rounds of
    # multiply and xorshift). It keeps no state, fuses with the arithmetic around it,
    # and the backward pass draws the same bits again instead of storing them.
    # jax.random would cost more than all the rest of the attention.
    x = ids ^ seed
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return (x ^ (x >> 16)) >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))


def dropout_factors(
    dropout_key: jax.Array, sizes: Sequence[Size], shape: tuple[int, ...], rate: float
) -> Float[Array, "B A N"]:
    """What dropout multiplies all area weights by; `shape`: [B, H, W, N]."""
    ids = area_ids(*map(jnp.arange, shape), shape)
    seeds = area_seeds(dropout_key, sizes)
    masks = [
        keep_mask(seed, ids[:, : shape[1] - h + 1, : shape[2] - w + 1], rate)
        for seed, (h, w) in zip(seeds, sizes, strict=True)
    ]
    return flatten_areas(masks) / (1 - rate)
