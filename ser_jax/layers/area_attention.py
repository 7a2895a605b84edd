"""Area attention: every query looks at rectangles of cells, not only at cells.

Li, Kaiser, Bengio, Si: Area Attention, ICML 2019 (arXiv 1810.10126). For every area A
up to max_area of a key/value grid there is one key k_A and one value v_A, and

    a = softmax_A(q . k_A / sqrt(d)),   out = sum_A a_A v_A.

With `max_area=(1, 1)` this is ordinary attention.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ser_jax.layers import area_pooling as pooling
from ser_jax.layers.area_streaming import (
    IMPLEMENTATIONS,
    Areas,
    attend,
    cell_weights,
)

KEY_MODES = ("mean", "max", "sample", "features")
VALUE_MODES = ("sum", "mean", "max")
SCALES = ("sqrt_d", "none")


def area_attention(
    query: Float[Array, "B N D"],
    key: Float[Array, "B H W D"],
    value: Float[Array, "B H W V"],
    *,
    max_area: tuple[int, int] = (3, 3),
    key_mode: str = "mean",
    value_mode: str = "sum",
    scale: str = "sqrt_d",
    mask: Bool[Array, "B H W"] | None = None,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
    sample_key: jax.Array | None = None,
    area_key_fn: Callable | None = None,
    top_k_areas: int = 0,
    implementation: str = "xla",
) -> Float[Array, "B N V"]:
    """Attends from every query over all areas of a grid.

    An area takes part if all its cells are valid, so a padded grid gives what the
    grid without its padding gives; an example without a valid cell gives zeros. Areas
    larger than the grid are skipped.

    Args:
        query: what is looked for.
        key: the grid that is matched.
        value: the grid that is read.
        max_area: largest height (rows) and width (columns) of an area, each >= 1.
        key_mode: `mean`; `max`; `sample` (mean + std * noise if `sample_key` is given,
            else the mean); `features` (what `area_key_fn` makes of mean, std, size).
        value_mode: `sum` (Li et al.'s default), `mean` or `max` of the area's values.
        scale: `sqrt_d` divides the logits by sqrt(D); `none` leaves them.
        mask: True where a cell is valid; None = everywhere.
        dropout_rate: share of area weights set to 0, in [0, 1); needs `dropout_key`.
        dropout_key: JAX key; None = no dropout.
        sample_key: JAX key for `key_mode="sample"`; None = no noise.
        area_key_fn: for `key_mode="features"`: a function of (means [B, A, D],
            deviations [B, A, D], heights - 1 int32 [A], widths - 1 int32 [A]) that
            returns keys [B, A, D], e.g. `AreaFeatures`.
        top_k_areas: keep the k largest weights of a query and renormalise; 0 = all.
        implementation: `xla`; `pallas`: mean keys with sum or mean values in one kernel
            for NVIDIA GPUs, interpreted and slow on CPU (compiled for the H100 and tested
            on CPU, never yet run on a GPU). Without effect on other modes.

    Returns:
        One value per query, in the value's dtype. The softmax is in float32.

    Raises:
        ValueError: for an unknown mode, a rate outside [0, 1), a bad `max_area`, or
            grids that do not fit each other.

    Differs from the paper: nothing; `top_k_areas`, `sample` and dropout on the area
    weights are those of the authors' tensor2tensor code.
    """
    _check(query, key, value, key_mode, value_mode, scale, dropout_rate)
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"implementation: expected one of {IMPLEMENTATIONS}, got {implementation!r}"
        )
    if key_mode == "features" and area_key_fn is None:
        raise ValueError("key_mode='features' needs area_key_fn, e.g. AreaFeatures")
    grid = key.shape[1:3]
    sizes = pooling.area_sizes(max_area, grid)
    if scale == "sqrt_d":
        query = query * jnp.asarray(query.shape[-1] ** -0.5, query.dtype)
    rate = dropout_rate if dropout_key is not None else 0.0
    if _streams(key_mode, value_mode, sample_key, top_k_areas):
        seeds = pooling.area_seeds(dropout_key, sizes) if rate > 0 else None
        areas = Areas(grid, tuple(max_area), value_mode, rate, implementation)
        return attend(query, key, value, mask, seeds, areas)
    if mask is None:
        mask = jnp.ones(key.shape[:3], bool)
    keys = _area_keys(key, sizes, mask, key_mode, sample_key, area_key_fn)
    weights = _area_weights(query, keys, sizes, mask, top_k_areas)
    if rate > 0:
        weights = weights * _keep(dropout_key, sizes, mask.shape, weights, rate)
    values = _area_values(value, sizes, mask, value_mode)
    return jnp.einsum("ban,bav->bnv", weights.astype(values.dtype), values)


def _check(query, key, value, key_mode, value_mode, scale, dropout_rate) -> None:
    """Refuses what cannot be computed."""
    for name, given, allowed in (
        ("key_mode", key_mode, KEY_MODES),
        ("value_mode", value_mode, VALUE_MODES),
        ("scale", scale, SCALES),
    ):
        if given not in allowed:
            raise ValueError(f"{name}: expected one of {allowed}, got {given!r}")
    if not 0 <= dropout_rate < 1:
        raise ValueError(f"dropout_rate: expected [0, 1), got {dropout_rate}")
    if key.shape[:3] != value.shape[:3] or query.shape[::2] != key.shape[::3]:
        raise ValueError(
            "expected query [B, N, D], key [B, H, W, D], value [B, H, W, V], got "
            f"{query.shape}, {key.shape}, {value.shape}"
        )


def _streams(key_mode, value_mode, sample_key, top_k_areas) -> bool:
    """Whether cell weights are all that is needed, so no area has to be formed."""
    means = key_mode == "mean" or (key_mode == "sample" and sample_key is None)
    return means and value_mode in ("sum", "mean") and not top_k_areas


def _area_keys(key, sizes, mask, mode, sample_key, area_key_fn) -> Array:
    """Keys of all areas, [B, A, D]."""
    if mode == "max":
        return pooling.flatten_areas(pooling.area_maxima(key, sizes, mask))
    means = pooling.flatten_areas(pooling.area_means(key, sizes, mask))
    if mode == "mean" or (mode == "sample" and sample_key is None):
        return means
    stds = pooling.flatten_areas(pooling.area_stds(key, sizes, mask))
    if mode == "sample":
        return means + stds * jax.random.normal(sample_key, stds.shape, stds.dtype)
    return area_key_fn(means, stds, *pooling.area_shape_ids(sizes, key.shape[1:3]))


def _area_values(value, sizes, mask, mode) -> Array:
    """Values of all areas, [B, A, V]."""
    if mode == "max":
        return pooling.flatten_areas(pooling.area_maxima(value, sizes, mask))
    if mode == "mean":
        return pooling.flatten_areas(pooling.area_means(value, sizes, mask))
    return pooling.flatten_areas(
        pooling.area_sums(jnp.where(mask[..., None], value, 0), sizes)
    )


def _area_weights(query, keys, sizes, mask, top_k) -> Float[Array, "B A N"]:
    """Softmax over the areas, float32; 0 for areas with a masked cell."""
    logits = jnp.einsum(
        "bad,bnd->ban", keys, query, preferred_element_type=jnp.float32
    ).astype(jnp.float32)
    valid = pooling.flatten_areas(pooling.area_valid(mask, sizes))[..., None]
    if 0 < top_k < logits.shape[1]:
        ranked = jnp.where(valid, logits, jnp.finfo(jnp.float32).min)
        kth = jax.lax.top_k(jnp.moveaxis(ranked, 1, -1), top_k)[0][..., -1]
        valid = valid & (logits >= jax.lax.stop_gradient(kth)[:, None])
    logits = jnp.where(valid, logits, jnp.finfo(jnp.float32).min)
    highest = jax.lax.stop_gradient(logits.max(axis=1, keepdims=True))
    terms = jnp.where(valid, jnp.exp(logits - highest), 0)
    total = terms.sum(axis=1, keepdims=True)
    return terms / jnp.where(total > 0, total, 1)


def _keep(dropout_key, sizes: Sequence, grid_shape, weights, rate) -> Array:
    """Dropout factors of all areas, [B, A, N]; the streaming path draws the same."""
    axes = [jnp.arange(size) for size in (*grid_shape, weights.shape[-1])]
    ids = pooling.area_ids(*axes, tuple(len(axis) for axis in axes))
    rows, columns = grid_shape[1:]
    factors = [
        pooling.kept(seed, ids[:, : rows - h + 1, : columns - w + 1], rate)
        for seed, (h, w) in zip(
            pooling.area_seeds(dropout_key, sizes), sizes, strict=True
        )
    ]
    return pooling.flatten_areas(factors) / (1 - rate)


def attention_map(
    query: Float[Array, "B N D"],
    key: Float[Array, "B H W D"],
    *,
    max_area: tuple[int, int] = (3, 3),
    key_mode: str = "mean",
    scale: str = "sqrt_d",
    mask: Bool[Array, "B H W"] | None = None,
    area_key_fn: Callable | None = None,
    top_k_areas: int = 0,
) -> Float[Array, "B H W N"]:
    """For every query the weights of all areas that cover a cell, added up.

    Arguments as in `area_attention`, without dropout and noise. Areas overlap, so the
    cells of a query sum to the mean number of cells of an area, not to 1.
    """
    _check(query, key, key, key_mode, "sum", scale, 0.0)
    grid = key.shape[1:3]
    sizes = pooling.area_sizes(max_area, grid)
    if scale == "sqrt_d":
        query = query * jnp.asarray(query.shape[-1] ** -0.5, query.dtype)
    if _streams(key_mode, "sum", None, top_k_areas):
        return cell_weights(query, key, mask, Areas(grid, tuple(max_area), "sum"))
    if mask is None:
        mask = jnp.ones(key.shape[:3], bool)
    keys = _area_keys(key, sizes, mask, key_mode, None, area_key_fn)
    weights = _area_weights(query, keys, sizes, mask, top_k_areas)
    areas = pooling.unflatten_areas(weights, sizes, grid)
    return pooling.spread_to_cells(areas, sizes, grid) * mask[..., None]


def area_mass(
    query: Float[Array, "B N D"],
    key: Float[Array, "B H W D"],
    query_mask: Bool[Array, "B N"],
    *,
    max_area: tuple[int, int] = (3, 3),
    key_mode: str = "mean",
    scale: str = "sqrt_d",
    mask: Bool[Array, "B H W"] | None = None,
    area_key_fn: Callable | None = None,
    top_k_areas: int = 0,
    block_queries: int = 64,
) -> Float[Array, "B S H W"]:
    """`attention_map` for each area size alone, averaged over the valid queries.

    Added up over the sizes it is the mean of `attention_map`. A size's map divided by
    the cells of that size adds up to the weight that the size has; those add up to 1.

    Args:
        query: as in `area_attention`.
        key: likewise.
        query_mask: True where a query counts; without any the map is 0.
        max_area: as in `area_attention`, and so are the others.
        key_mode: without noise.
        scale: `sqrt_d` or `none`.
        mask: True where a cell is valid.
        area_key_fn: for `key_mode="features"`.
        top_k_areas: 0 = all.
        block_queries: queries taken at once; memory grows with it, not with N.

    Returns:
        float32; sizes in the order of `area_pooling.area_sizes`.
    """
    _check(query, key, key, key_mode, "sum", scale, 0.0)
    grid = key.shape[1:3]
    sizes = pooling.area_sizes(max_area, grid)
    if scale == "sqrt_d":
        query = query * jnp.asarray(query.shape[-1] ** -0.5, query.dtype)
    mask = jnp.ones(key.shape[:3], bool) if mask is None else mask
    keys = _area_keys(key, sizes, mask, key_mode, None, area_key_fn)

    def block(pair) -> Float[Array, "B A"]:
        queries, counts = pair
        weights = _area_weights(queries, keys, sizes, mask, top_k_areas)
        return jnp.einsum("ban,bn->ba", weights, counts)

    def cut(x: Array) -> Array:
        """[B, N, ...] -> [blocks, B, block_queries, ...], zeros at the end."""
        padding = [(0, 0), (0, -x.shape[1] % block_queries)] + [(0, 0)] * (x.ndim - 2)
        x = jnp.pad(x, padding).reshape(x.shape[0], -1, block_queries, *x.shape[2:])
        return jnp.moveaxis(x, 1, 0)

    counts = query_mask.astype(jnp.float32)
    total = jax.lax.map(block, (cut(query), cut(counts))).sum(axis=0)
    total = total / jnp.maximum(query_mask.sum(axis=1), 1)[:, None]
    areas = pooling.unflatten_areas(total, sizes, grid)
    maps = [_covered(a, size, grid) for a, size in zip(areas, sizes, strict=True)]
    return jnp.stack(maps, axis=1) * mask[:, None]


def _covered(areas: Array, size: tuple[int, int], grid: tuple[int, int]) -> Array:
    """Every cell gets the sum of the areas of one size that cover it, [B, H, W]."""
    zeros = [
        jnp.zeros((areas.shape[0], grid[0] - h + 1, grid[1] - w + 1), areas.dtype)
        for h, w in pooling.area_sizes(size, grid)[:-1]
    ]
    sizes = pooling.area_sizes(size, grid)
    return pooling.spread_to_cells([*zeros, areas], sizes, grid)
