"""Area attention: every query looks at rectangles of cells, not only at cells.

Li, Kaiser, Bengio, Si: Area Attention, ICML 2019 (arXiv 1810.10126). For every area A
up to max_area of a key/value grid there is one key k_A and one value v_A, and

    a = softmax_A(q . k_A / sqrt(d)),   out = sum_A a_A v_A.

With `max_area=(1, 1)` this is ordinary attention.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ser_jax.layers import area_choice
from ser_jax.layers import area_pooling as pooling
from ser_jax.layers import area_streaming as streaming
from ser_jax.layers.area_pooling import Areas, flatten_areas
from ser_jax.layers.options import check_mode


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
    implementation: str = "auto",
) -> Float[Array, "B N V"]:
    """Attends from every query over all areas of a grid.

    An area takes part if all its cells are valid and it fits in the grid; an example
    without a valid cell gives zeros. `top_k_areas`, `sample` and dropout on area weights
    are not in the paper but in the authors' tensor2tensor code.

    A GPU's tensor cores add up the products in float32. Their factors have the bits of
    the arrays, at JAX's default precision float32 ten of its 23 (TF32): output and
    gradients are then exact to 1e-3 of their largest entry, in bfloat16 to 1e-2, for
    logits up to about 5.

    Args:
        query, key, value: the queries, the grid they match and the grid they read.
        max_area: largest height (rows) and width (columns) of an area, each >= 1.
        key_mode: `mean`; `max`; `sample` (mean + std * noise if `sample_key` is given,
            else the mean); `features` (what `area_key_fn` makes of mean, std, size).
        value_mode: `sum` (Li et al.'s default), `mean` or `max` of the area's values.
        scale: `sqrt_d` divides the logits by sqrt(D); `none` leaves them.
        mask: True where a cell is valid; None = everywhere.
        dropout_rate, dropout_key: share of area weights set to 0, in [0, 1), and a JAX
            key; None = no dropout.
        sample_key: JAX key for `key_mode="sample"`; None = no noise.
        area_key_fn: for `key_mode="features"`: (means [B, A, D], deviations [B, A, D],
            heights - 1 int32 [A], widths - 1 int32 [A]) -> keys [B, A, D], e.g.
            `area_module.AreaFeatures`.
        top_k_areas: keep the k largest weights of a query and renormalise; 0 = all.
        implementation: `xla`; `pallas`: mean keys with sum or mean values in one kernel
            for NVIDIA GPUs, interpreted and slow on CPU; `auto`: `pallas` where it is
            faster (`area_choice`). Without effect on other modes.

    Returns:
        One value per query, in the value's dtype.

    Raises:
        ValueError: for an unknown mode, a rate outside [0, 1), a bad `max_area`, or
            grids that do not fit each other.
    """
    check_mode("value_mode", value_mode, ("sum", "mean", "max"))
    check_mode("implementation", implementation, ("auto", "xla", "pallas"))
    if not 0 <= dropout_rate < 1:
        raise ValueError(f"dropout_rate: expected [0, 1), got {dropout_rate}")
    check_shapes(query, key, value)
    areas = FormedAreas(
        key, max_area, key_mode, scale, mask, area_key_fn, top_k_areas, sample_key
    )
    query = areas.scale_query(query)
    rate = dropout_rate if dropout_key is not None else 0.0
    # Formed areas cost the number of sizes in memory; only where nothing else will do.
    if areas.can_stream and value_mode != "max":
        seeds = pooling.area_seeds(dropout_key, areas.sizes) if rate > 0 else None
        if implementation == "auto":
            implementation = area_choice.choose(areas.sizes[-1])
        options = Areas(areas.grid, tuple(max_area), value_mode, rate, implementation)
        return streaming.attend(query, key, value, mask, seeds, options)
    weights = areas.weights(query, areas.keys())
    if rate > 0:
        weights = weights * pooling.dropout_factors(
            dropout_key, areas.sizes, (*key.shape[:3], weights.shape[2]), rate
        )
    values = areas.values(value, value_mode)
    return jnp.einsum("ban,bav->bnv", weights.astype(values.dtype), values)


def check_shapes(query, key, value) -> None:
    """Raises a ValueError unless queries and grids fit each other."""
    if key.shape[:3] != value.shape[:3] or query.shape[::2] != key.shape[::3]:
        raise ValueError(
            "expected query [B, N, D], key [B, H, W, D], value [B, H, W, V], got "
            f"{query.shape}, {key.shape}, {value.shape}"
        )


def attention_map(
    query: Float[Array, "B N D"], key: Float[Array, "B H W D"], **options
) -> Float[Array, "B H W N"]:
    """For every query the weights of all areas that cover a cell, added up.

    They sum to the mean number of cells of an area, not to 1. Options as in
    `area_attention`: `max_area`, `key_mode`, `scale`, `mask`, `area_key_fn`,
    `top_k_areas`.
    """
    check_shapes(query, key, key)
    areas = FormedAreas(key, **options)
    query = areas.scale_query(query)
    if areas.can_stream:
        options = Areas(areas.grid, tuple(areas.max_area))
        return streaming.cell_weights(query, key, areas.mask, options)
    weights = areas.weights(query, areas.keys())
    parts = pooling.unflatten_areas(weights, areas.sizes, areas.grid)
    cells = pooling.spread_to_cells(parts, areas.sizes, areas.grid)
    return cells * areas.valid_cells[..., None]


def area_mass(
    query: Float[Array, "B N D"],
    key: Float[Array, "B H W D"],
    query_mask: Bool[Array, "B N"],
    *,
    block_queries: int = 64,
    **options,
) -> Float[Array, "B S H W"]:
    """`attention_map` for each area size alone, averaged over the valid queries.

    Sizes S are in the order of `area_pooling.area_sizes`. A size's map divided by its
    number of cells adds up to the weight of the size; these add up to 1, or to 0 where
    no query is valid. `block_queries` are processed at once: memory grows with it, not N.
    """
    check_shapes(query, key, key)
    areas = FormedAreas(key, **options)
    keys = areas.keys()

    def block(pair) -> Float[Array, "B A"]:
        queries, counts = pair
        return jnp.einsum("ban,bn->ba", areas.weights(queries, keys), counts)

    def cut(x: Array) -> Array:
        # [B, N, ...] -> [blocks, B, block_queries, ...], zeros at the end.
        x = pooling.pad_axis(x, 1, 0, -x.shape[1] % block_queries)
        x = x.reshape(x.shape[0], -1, block_queries, *x.shape[2:])
        return jnp.moveaxis(x, 1, 0)

    # Queries of the filling have the count 0: their weights are not added.
    blocks = cut(areas.scale_query(query)), cut(query_mask.astype(jnp.float32))
    total = jax.lax.map(block, blocks).sum(axis=0)
    total = total / jnp.maximum(query_mask.sum(axis=1), 1)[:, None]
    parts = pooling.unflatten_areas(total, areas.sizes, areas.grid)
    maps = [pooling.spread_size(x, areas.grid) for x in parts]
    return jnp.stack(maps, axis=1) * areas.valid_cells[:, None]


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
        check_mode("key_mode", self.key_mode, ("mean", "max", "sample", "features"))
        check_mode("scale", self.scale, ("sqrt_d", "none"))
        if self.key_mode == "features" and self.area_key_fn is None:
            raise ValueError("key_mode='features' needs area_key_fn, e.g. AreaFeatures")
        if self.key_mode == "sample" and self.sample_key is None:
            self.key_mode = "mean"
        self.grid = self.key.shape[1:3]
        self.sizes = pooling.area_sizes(self.max_area, self.grid)
        # Cell weights are all that is needed then (see area_streaming).
        self.can_stream = self.key_mode == "mean" and not self.top_k_areas

    @property
    def valid_cells(self) -> Bool[Array, "B H W"]:
        """The mask, all True if none was given."""
        return jnp.ones(self.key.shape[:3], bool) if self.mask is None else self.mask

    def scale_query(self, query: Array) -> Array:
        """Queries whose product with a key is the logit."""
        if self.scale == "none":
            return query
        return query * jnp.asarray(query.shape[-1] ** -0.5, query.dtype)

    def keys(self) -> Float[Array, "B A D"]:
        statistics = self.key, self.sizes, self.valid_cells
        if self.key_mode == "max":
            return flatten_areas(pooling.area_maxima(*statistics))
        means = flatten_areas(pooling.area_means(*statistics))
        if self.key_mode == "mean":
            return means
        stds = flatten_areas(pooling.area_stds(*statistics))
        if self.key_mode == "sample":
            noise = jax.random.normal(self.sample_key, stds.shape, stds.dtype)
            return means + stds * noise
        shapes = pooling.area_shape_ids(self.sizes, self.grid)
        return self.area_key_fn(means, stds, *shapes)

    def values(self, value: Array, mode: str) -> Float[Array, "B A V"]:
        if mode == "sum":
            cells = jnp.where(self.valid_cells[..., None], value, 0)
            return flatten_areas(pooling.area_sums(cells, self.sizes))
        pool = {"max": pooling.area_maxima, "mean": pooling.area_means}[mode]
        return flatten_areas(pool(value, self.sizes, self.valid_cells))

    def weights(self, query: Array, keys: Array) -> Float[Array, "B A N"]:
        """Softmax over the areas, float32; 0 for areas with a masked cell."""
        logits = jnp.einsum(
            "bad,bnd->ban", keys, query, preferred_element_type=jnp.float32
        ).astype(jnp.float32)
        valid = flatten_areas(pooling.area_valid(self.valid_cells, self.sizes))
        if 0 < self.top_k_areas < logits.shape[1]:
            ranked = jnp.moveaxis(jnp.where(valid, logits, pooling.LOWEST), 1, -1)
            # A threshold, not indices: no gather, and ties at the k-th all stay.
            kth = jax.lax.top_k(ranked, self.top_k_areas)[0][..., -1]
            valid = valid & (logits >= jax.lax.stop_gradient(kth)[:, None])
        logits = jnp.where(valid, logits, pooling.LOWEST)
        highest = jax.lax.stop_gradient(logits.max(axis=1, keepdims=True))
        terms = jnp.where(valid, jnp.exp(logits - highest), 0)
        total = terms.sum(axis=1, keepdims=True)
        return terms / jnp.where(total > 0, total, 1)
