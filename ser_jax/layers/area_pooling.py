"""Statistics of every area of a grid: sums, means, deviations, maxima and back.

An area is a rectangle of adjacent cells (Li et al., ICML 2019). The areas of one
size (h, w) form a smaller grid [B, H-h+1, W-w+1, ...], whose cell (i, j) stands for
the rectangle with that top-left corner; a list holds one such grid per size, heights
outer and widths inner, as in Li et al. Window sums are built from the size before,
(a, b) from (a-1, b), so one size costs one addition per area.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

Size = tuple[int, int]


def area_sizes(max_area: Size, grid: Size) -> tuple[Size, ...]:
    """All (h, w) up to `max_area` that fit in the grid; larger ones are skipped.

    Raises:
        ValueError: if `max_area` is not two positive integers.
    """
    if len(max_area) != 2 or min(max_area) < 1:
        raise ValueError(
            f"max_area: expected (height, width), both at least 1, got {max_area}; "
            "use (1, 1) for plain attention"
        )
    heights, widths = (min(a, g) for a, g in zip(max_area, grid, strict=True))
    return tuple((h, w) for h in range(1, heights + 1) for w in range(1, widths + 1))


def _windows(x: Array, sizes: Sequence[Size], combine: Callable) -> list[Array]:
    """Combines every window of every size of x [B, H, W, ...]; sizes as area_sizes."""
    heights, widths = sizes[-1]
    wide = {1: x}  # windows of one row, by width
    for w in range(2, widths + 1):
        wide[w] = combine(wide[w - 1][:, :, :-1], x[:, :, w - 1 :])
    windows = {(1, w): wide[w] for w in wide}
    for h in range(2, heights + 1):
        for w in range(1, widths + 1):
            windows[h, w] = combine(windows[h - 1, w][:, :-1], wide[w][:, h - 1 :])
    return [windows[size] for size in sizes]


def area_sums(x: Float[Array, "B H W *D"], sizes: Sequence[Size]) -> list[Array]:
    """Sum of the cells of every area, one [B, H-h+1, W-w+1, ...] per size."""
    return _windows(x, sizes, jnp.add)


def area_maxima(
    x: Float[Array, "B H W D"], sizes: Sequence[Size], mask: Bool[Array, "B H W"]
) -> list[Array]:
    """Maximum over the valid cells of every area; 0 where an area has none."""
    lowest = jnp.finfo(x.dtype).min
    maxima = _windows(jnp.where(mask[..., None], x, lowest), sizes, jnp.maximum)
    counts = area_counts(mask, sizes)
    return [
        jnp.where(n[..., None] > 0, m, 0) for m, n in zip(maxima, counts, strict=True)
    ]


def area_counts(mask: Bool[Array, "B H W"], sizes: Sequence[Size]) -> list[Array]:
    """Number of valid cells of every area, float32."""
    return area_sums(mask.astype(jnp.float32), sizes)


def area_valid(mask: Bool[Array, "B H W"], sizes: Sequence[Size]) -> list[Array]:
    """Whether all cells of an area are valid."""
    counts = area_counts(mask, sizes)
    return [n == h * w for n, (h, w) in zip(counts, sizes, strict=True)]


def area_means(
    x: Float[Array, "B H W D"], sizes: Sequence[Size], mask: Bool[Array, "B H W"]
) -> list[Array]:
    """Mean over the valid cells of every area; 0 where an area has none."""
    sums = area_sums(jnp.where(mask[..., None], x, 0), sizes)
    counts = area_counts(mask, sizes)
    return [
        s / jnp.maximum(n, 1)[..., None].astype(s.dtype)
        for s, n in zip(sums, counts, strict=True)
    ]


def area_stds(
    x: Float[Array, "B H W D"], sizes: Sequence[Size], mask: Bool[Array, "B H W"]
) -> list[Array]:
    """sqrt(|E[x^2] - E[x]^2| + 1e-6) over the valid cells, Li et al.'s deviation."""
    means = area_means(x, sizes, mask)
    squares = area_means(jnp.square(x), sizes, mask)
    return [
        jnp.sqrt(jnp.abs(s - jnp.square(m)) + 1e-6)
        for m, s in zip(means, squares, strict=True)
    ]


def _shifted_total(parts: Sequence[Array], axis: int, length: int) -> Array:
    """Adjoint of windows along one axis: parts[k] holds the windows of k+1 cells.

    A cell d steps into a window is reached by every window longer than d, so the
    parts are added from the longest down once, and each running total is shifted once.
    """

    def placed(x: Array, before: int) -> Array:
        padding = [(0, 0)] * x.ndim
        padding[axis] = (before, length - before - x.shape[axis])
        return jnp.pad(x, padding)

    total, longer = None, None
    for d in reversed(range(len(parts))):
        part = parts[d]
        if longer is not None:
            padding = [(0, 0)] * part.ndim
            padding[axis] = (0, part.shape[axis] - longer.shape[axis])
            part = part + jnp.pad(longer, padding)
        longer = part
        total = placed(part, d) if total is None else total + placed(part, d)
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


def flatten_areas(areas: Sequence[Array]) -> Shaped[Array, "B A *D"]:
    """Lists all areas on one axis, size by size, each grid row by row."""
    flat = [a.reshape(a.shape[0], a.shape[1] * a.shape[2], *a.shape[3:]) for a in areas]
    return jnp.concatenate(flat, axis=1)


def unflatten_areas(
    flat: Float[Array, "B A *D"], sizes: Sequence[Size], grid: Size
) -> list[Array]:
    """Undoes flatten_areas."""
    shapes = [(grid[0] - h + 1, grid[1] - w + 1) for h, w in sizes]
    ends, end = [], 0
    for rows, columns in shapes:
        end += rows * columns
        ends.append(end)
    pieces = jnp.split(flat, ends[:-1], axis=1)
    return [
        p.reshape(p.shape[0], *shape, *p.shape[2:])
        for p, shape in zip(pieces, shapes, strict=True)
    ]


def area_shape_ids(sizes: Sequence[Size], grid: Size) -> tuple[Array, Array]:
    """Height - 1 and width - 1 of every area in flatten_areas' order, int32 [A]."""
    repeats = [(grid[0] - h + 1) * (grid[1] - w + 1) for h, w in sizes]
    ids = jnp.asarray(sizes, jnp.int32) - 1
    total = sum(repeats)
    both = jnp.repeat(ids, jnp.asarray(repeats), axis=0, total_repeat_length=total)
    return both[:, 0], both[:, 1]


def area_seeds(dropout_key: jax.Array, sizes: Sequence[Size]) -> Array:
    """One uint32 per area size, drawn from a JAX key."""
    return jax.random.bits(dropout_key, (len(sizes),), jnp.uint32)


def area_ids(
    batch: Array, rows: Array, columns: Array, queries: Array, shape: tuple[int, ...]
) -> Array:
    """A uint32 for every (example, top-left cell, query), [b, h, w, n].

    It depends on the position in the whole array, not in a block of it.

    Args:
        batch: indices of the examples, [b].
        rows: rows of the top-left cells, [h].
        columns: columns of the top-left cells, [w].
        queries: indices of the queries, [n].
        shape: the whole (B, H, W, N).
    """
    ids = jnp.uint32(0)
    for axis, index in enumerate((batch, rows, columns, queries)):
        stride = jnp.uint32(math.prod(shape[axis + 1 :]) % 2**32)
        part = index.astype(jnp.uint32) * stride
        ids = ids + part.reshape([-1 if a == axis else 1 for a in range(4)])
    return ids


def kept(seed: Array, ids: Array, rate: float) -> Bool[Array, "..."]:
    """Which area weights survive dropout.

    The bits are an avalanche hash of id and seed (two multiply-xorshift rounds), a
    counter-based generator: it keeps no state, fuses with the arithmetic around it,
    and the backward pass draws the same bits again. jax.random would cost more than
    all the rest of the attention.

    Args:
        seed: uint32 of this area size (area_seeds).
        ids: uint32 (area_ids).
        rate: probability of False, in [0, 1).
    """
    x = ids ^ seed
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return (x ^ (x >> 16)) >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))
