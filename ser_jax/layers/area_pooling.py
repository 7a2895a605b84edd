"""Statistics of every area of a grid: sums, means, deviations, maxima and back.

An area is a rectangle of adjacent cells (Li et al., ICML 2019). The areas of one
size (h, w) form a smaller grid [B, H-h+1, W-w+1, ...], whose cell (i, j) stands for
the rectangle with that top-left corner; a list holds one such grid per size, heights
outer and widths inner, as in Li et al.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from ser_jax.layers.modes import check_mode

# Stands for the logit of an area that does not take part: finite, because -inf minus
# -inf would be NaN in the softmax's gradient.
LOWEST = np.finfo(np.float32).min

Size = tuple[int, int]
KEY_MODES = ("mean", "max", "sample", "features")
SCALES = ("sqrt_d", "none")


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
    """Sum of the cells of every area, one [B, H-h+1, W-w+1, ...] per size."""
    return _windows(x, sizes, jnp.add)


def area_maxima(
    x: Float[Array, "B H W D"], sizes: Sequence[Size], mask: Bool[Array, "B H W"]
) -> list[Array]:
    """Maximum over the valid cells of every area; 0 where an area has none."""
    lowest = jnp.finfo(x.dtype).min
    maxima = _windows(jnp.where(mask[..., None], x, lowest), sizes, jnp.maximum)
    counts = area_sums(mask.astype(jnp.float32), sizes)
    return [
        jnp.where(n[..., None] > 0, m, 0) for m, n in zip(maxima, counts, strict=True)
    ]


def area_valid(mask: Bool[Array, "B H W"], sizes: Sequence[Size]) -> list[Array]:
    """Whether all cells of an area are valid."""
    counts = area_sums(mask.astype(jnp.float32), sizes)
    return [n == h * w for n, (h, w) in zip(counts, sizes, strict=True)]


def area_means(
    x: Float[Array, "B H W D"], sizes: Sequence[Size], mask: Bool[Array, "B H W"]
) -> list[Array]:
    """Mean over the valid cells of every area; 0 where an area has none."""
    sums = area_sums(jnp.where(mask[..., None], x, 0), sizes)
    counts = area_sums(mask.astype(jnp.float32), sizes)
    return [
        s / jnp.maximum(n, 1)[..., None].astype(s.dtype)
        for s, n in zip(sums, counts, strict=True)
    ]


def area_stds(
    x: Float[Array, "B H W D"], sizes: Sequence[Size], mask: Bool[Array, "B H W"]
) -> list[Array]:
    """sqrt(|E[x^2] - E[x]^2| + 1e-6) over the valid cells, Li et al.'s deviation."""
    # In one pass over the windows; cancellation can make the difference negative.
    means = area_means(x, sizes, mask)
    squares = area_means(jnp.square(x), sizes, mask)
    return [
        jnp.sqrt(jnp.abs(s - jnp.square(m)) + 1e-6)
        for m, s in zip(means, squares, strict=True)
    ]


def pad_axis(x: Array, axis: int, before: int, after: int) -> Array:
    """The array with zeros before and after one of its axes."""
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
            part = part + pad_axis(
                longer, axis, 0, part.shape[axis] - longer.shape[axis]
            )
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


def spread_size(areas: Array, grid: tuple[int, int]) -> Array:
    """Every cell gets the sum of the areas of one size that cover it, [B, H, W]."""
    for axis, length in enumerate(grid, start=1):
        last = length - areas.shape[axis]
        areas = sum(
            pad_axis(areas, axis, i, last - i) for i in reversed(range(last + 1))
        )
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
    pieces = jnp.split(flat, ends[:-1], axis=1)
    return [
        p.reshape(p.shape[0], *shape, *p.shape[2:])
        for p, shape in zip(pieces, shapes, strict=True)
    ]


def area_shape_ids(sizes: Sequence[Size], grid: Size) -> tuple[Array, Array]:
    """Height - 1 and width - 1 of every area in flatten_areas' order, int32 [A]."""
    repeats = [(grid[0] - h + 1) * (grid[1] - w + 1) for h, w in sizes]
    ids = np.repeat(np.array(sizes, np.int32) - 1, repeats, axis=0)
    return jnp.asarray(ids[:, 0]), jnp.asarray(ids[:, 1])


def check_shapes(query, key, value) -> None:
    """Raises a ValueError unless queries and grids fit each other."""
    if key.shape[:3] != value.shape[:3] or query.shape[::2] != key.shape[::3]:
        raise ValueError(
            "expected query [B, N, D], key [B, H, W, D], value [B, H, W, V], got "
            f"{query.shape}, {key.shape}, {value.shape}"
        )


@dataclasses.dataclass
class FormedAreas:
    """All areas of a grid of keys; fields as the arguments of `area_attention`."""

    key: Array
    max_area: tuple[int, int] = (3, 3)
    key_mode: str = "mean"
    scale: str = "sqrt_d"
    mask: Array | None = None
    area_key_fn: Callable | None = None
    top_k_areas: int = 0
    sample_key: jax.Array | None = None

    def __post_init__(self):
        check_mode("key_mode", self.key_mode, KEY_MODES)
        check_mode("scale", self.scale, SCALES)
        if self.key_mode == "features" and self.area_key_fn is None:
            raise ValueError("key_mode='features' needs area_key_fn, e.g. AreaFeatures")
        if self.key_mode == "sample" and self.sample_key is None:
            self.key_mode = "mean"
        self.grid = self.key.shape[1:3]
        self.sizes = area_sizes(self.max_area, self.grid)
        # Cell weights are all that is needed then (see area_streaming).
        self.can_stream = self.key_mode == "mean" and not self.top_k_areas

    @property
    def valid_cells(self) -> Bool[Array, "B H W"]:
        """The mask, all True if none was given."""
        return jnp.ones(self.key.shape[:3], bool) if self.mask is None else self.mask

    def scaled(self, query: Array) -> Array:
        """Queries whose product with a key is the logit."""
        if self.scale == "none":
            return query
        return query * jnp.asarray(query.shape[-1] ** -0.5, query.dtype)

    def keys(self) -> Float[Array, "B A D"]:
        """Keys of all areas."""
        statistics = self.key, self.sizes, self.valid_cells
        if self.key_mode == "max":
            return flatten_areas(area_maxima(*statistics))
        means = flatten_areas(area_means(*statistics))
        if self.key_mode == "mean":
            return means
        stds = flatten_areas(area_stds(*statistics))
        if self.key_mode == "sample":
            noise = jax.random.normal(self.sample_key, stds.shape, stds.dtype)
            return means + stds * noise
        shapes = area_shape_ids(self.sizes, self.grid)
        return self.area_key_fn(means, stds, *shapes)

    def values(self, value: Array, mode: str) -> Float[Array, "B A V"]:
        """Values of all areas."""
        if mode == "sum":
            cells = jnp.where(self.valid_cells[..., None], value, 0)
            return flatten_areas(area_sums(cells, self.sizes))
        pool = {"max": area_maxima, "mean": area_means}[mode]
        return flatten_areas(pool(value, self.sizes, self.valid_cells))

    def weights(self, query: Array, keys: Array) -> Float[Array, "B A N"]:
        """Softmax over the areas, float32; 0 for areas with a masked cell."""
        logits = jnp.einsum(
            "bad,bnd->ban", keys, query, preferred_element_type=jnp.float32
        ).astype(jnp.float32)
        valid = area_valid(self.valid_cells, self.sizes)
        valid = flatten_areas(valid)[..., None]
        if 0 < self.top_k_areas < logits.shape[1]:
            ranked = jnp.moveaxis(jnp.where(valid, logits, LOWEST), 1, -1)
            # A threshold, not indices: no gather, and ties at the k-th all stay.
            kth = jax.lax.top_k(ranked, self.top_k_areas)[0][..., -1]
            valid = valid & (logits >= jax.lax.stop_gradient(kth)[:, None])
        logits = jnp.where(valid, logits, LOWEST)
        highest = jax.lax.stop_gradient(logits.max(axis=1, keepdims=True))
        terms = jnp.where(valid, jnp.exp(logits - highest), 0)
        total = terms.sum(axis=1, keepdims=True)
        return terms / jnp.where(total > 0, total, 1)
