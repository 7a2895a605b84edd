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
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers import area_pooling as pooling
from ser_jax.layers import area_streaming as streaming
from ser_jax.layers import area_sweep
from ser_jax.layers.dense import check_mode

VALUE_MODES = ("sum", "mean", "max")
LAYOUTS = ("grid2d", "rows", "flat")
PROJECTIONS = ("none", "dense")


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
        query, key, value: the queries, the grid they match and the grid they read.
        max_area: largest height (rows) and width (columns) of an area, each >= 1.
        key_mode: `mean`; `max`; `sample` (mean + std * noise if `sample_key` is given,
            else the mean); `features` (what `area_key_fn` makes of mean, std, size).
        value_mode: `sum` (Li et al.'s default), `mean` or `max` of the area's values.
        scale: `sqrt_d` divides the logits by sqrt(D); `none` leaves them.
        mask: True where a cell is valid; None = everywhere.
        dropout_rate: share of area weights set to 0, in [0, 1).
        dropout_key: JAX key; None = no dropout.
        sample_key: JAX key for `key_mode="sample"`; None = no noise.
        area_key_fn: for `key_mode="features"`: a function of (means [B, A, D],
            deviations [B, A, D], heights - 1 int32 [A], widths - 1 int32 [A]) that
            returns keys [B, A, D], e.g. `area_pooling.AreaFeatures`.
        top_k_areas: keep the k largest weights of a query and renormalise; 0 = all.
        implementation: `xla`; `pallas`: mean keys with sum or mean values in one kernel
            for NVIDIA GPUs, interpreted and slow on CPU. Without effect on other modes.

    Returns:
        One value per query, in the value's dtype. The softmax is in float32.

    Raises:
        ValueError: for an unknown mode, a rate outside [0, 1), a bad `max_area`, or
            grids that do not fit each other.

    Differs from the paper: nothing; `top_k_areas`, `sample` and dropout on the area
    weights are those of the authors' tensor2tensor code.
    """
    check_mode("value_mode", value_mode, VALUE_MODES)
    check_mode("implementation", implementation, streaming.IMPLEMENTATIONS)
    if not 0 <= dropout_rate < 1:
        raise ValueError(f"dropout_rate: expected [0, 1), got {dropout_rate}")
    pooling.check_shapes(query, key, value)
    areas = pooling.FormedAreas(
        key, max_area, key_mode, scale, mask, area_key_fn, top_k_areas, sample_key
    )
    query = areas.scaled(query)
    rate = dropout_rate if dropout_key is not None else 0.0
    # Formed areas cost the number of sizes in memory; only where nothing else will do.
    if areas.can_stream and value_mode != "max":
        seeds = area_sweep.area_seeds(dropout_key, areas.sizes) if rate > 0 else None
        options = area_sweep.Areas(
            areas.grid, tuple(max_area), value_mode, rate, implementation
        )
        return streaming.attend(query, key, value, mask, seeds, options)
    weights = areas.weights(query, areas.keys())
    if rate > 0:
        weights = weights * area_sweep.dropout_factors(
            dropout_key, areas.sizes, (*key.shape[:3], weights.shape[2]), rate
        )
    values = areas.values(value, value_mode)
    return jnp.einsum("ban,bav->bnv", weights.astype(values.dtype), values)


def attention_map(
    query: Float[Array, "B N D"], key: Float[Array, "B H W D"], **options
) -> Float[Array, "B H W N"]:
    """For every query the weights of all areas that cover a cell, added up.

    Areas overlap, so the cells of a query sum to the mean number of cells of an area,
    not to 1. Options as in `area_attention`: `max_area`, `key_mode`, `scale`, `mask`,
    `area_key_fn`, `top_k_areas`.
    """
    pooling.check_shapes(query, key, key)
    areas = pooling.FormedAreas(key, **options)
    query = areas.scaled(query)
    if areas.can_stream:
        options = area_sweep.Areas(areas.grid, tuple(areas.max_area))
        return streaming.cell_weights(query, key, areas.mask, options)
    weights = areas.weights(query, areas.keys())
    weights = pooling.unflatten_areas(weights, areas.sizes, areas.grid)
    cells = pooling.spread_to_cells(weights, areas.sizes, areas.grid)
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

    Added up over the sizes it is the mean of `attention_map`. A size's map divided by
    the cells of that size adds up to the weight that the size has; those add up to 1.

    Args:
        query, key, options: as in `attention_map`.
        query_mask: True where a query counts; without any the map is 0.
        block_queries: queries processed at once; memory grows with it, not with N.

    Returns:
        float32; sizes in the order of `area_pooling.area_sizes`.
    """
    pooling.check_shapes(query, key, key)
    areas = pooling.FormedAreas(key, **options)
    keys = areas.keys()

    def block(pair) -> Float[Array, "B A"]:
        queries, counts = pair
        return jnp.einsum("ban,bn->ba", areas.weights(queries, keys), counts)

    def cut(x: Array) -> Array:
        """[B, N, ...] -> [blocks, B, block_queries, ...], zeros at the end."""
        x = pooling.pad_axis(x, 1, 0, -x.shape[1] % block_queries)
        x = x.reshape(x.shape[0], -1, block_queries, *x.shape[2:])
        return jnp.moveaxis(x, 1, 0)

    # Queries of the filling have the count 0: their weights are not added.
    blocks = cut(areas.scaled(query)), cut(query_mask.astype(jnp.float32))
    total = jax.lax.map(block, blocks).sum(axis=0)
    total = total / jnp.maximum(query_mask.sum(axis=1), 1)[:, None]
    maps = [
        pooling.spread_size(x, areas.grid)
        for x in pooling.unflatten_areas(total, areas.sizes, areas.grid)
    ]
    return jnp.stack(maps, axis=1) * areas.valid_cells[:, None]


@dataclasses.dataclass(frozen=True)
class AreaSpec:
    """What an area is and how it is matched and read; see `area_attention`.

    Attributes:
        layout: `grid2d`: every cell queries the whole map; `rows`: every row attends
            over its own columns only (areas 1 x w; the height has no effect);
            `flat`: the map is one sequence, row by row.
        projection: `dense`: query, key and value by weight matrices; `none`: the map.
    """

    max_area: tuple[int, int] = (3, 3)
    key_mode: str = "mean"
    value_mode: str = "sum"
    scale: str = "sqrt_d"
    layout: str = "grid2d"
    projection: str = "dense"
    dropout_rate: float = 0.0
    top_k_areas: int = 0
    implementation: str = "xla"

    def __post_init__(self):
        check_mode("layout", self.layout, LAYOUTS)
        check_mode("projection", self.projection, PROJECTIONS)


class AreaAttention(nnx.Module):
    """Every cell of a map attends over the areas of the map.

    With `sow_maps` set it sows `attention`: [B, H, W, N], for query n the weights of
    all areas covering a cell, summed (rows: [B, H, 1, W, W]); and `mass`: [B, S, H, W],
    the same for each of the S area sizes (`sizes`) alone, the mean over the queries of
    valid cells. Both are means over heads.
    """

    def __init__(
        self,
        features: int,
        spec: AreaSpec,
        *,
        num_heads: int = 1,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Makes the projections; those of several heads end with an output projection.

        Raises:
            ValueError: if num_heads does not divide the features D.
        """
        if features % num_heads:
            raise ValueError(
                f"num_heads: expected a divisor of {features}, got {num_heads}"
            )
        self.spec, self.num_heads = spec, num_heads
        self.deterministic = self.sow_maps = False
        common = {"dtype": dtype, "rngs": rngs}

        def linear(use: bool):
            if not use:
                return nnx.data(None)
            return nnx.Linear(features, features, use_bias=False, **common)

        dense = spec.projection == "dense"
        self.query, self.key, self.value = linear(dense), linear(dense), linear(dense)
        self.out = linear(dense and num_heads > 1)
        self.features = nnx.data(None)
        if spec.key_mode == "features":
            size = features // num_heads
            self.features = pooling.AreaFeatures(size, spec.max_area, **common)

    def __call__(
        self,
        x: Float[Array, "B H W D"],
        *,
        mask: Bool[Array, "B H W"] | None = None,
        rngs: nnx.Rngs | None = None,
        deterministic: bool | None = None,
    ) -> Float[Array, "B H W D"]:
        """Attends; masked cells are not read, and their output is 0.

        Args:
            x: the map.
            mask: True where a cell is valid; None = everywhere.
            rngs: stream `dropout`, for dropout and sampled keys; a ValueError is raised
                in training without it where it is needed.
            deterministic: True = no dropout and no noise; None = as `train()` or
                `eval()` set it.
        """
        parts = [x if f is None else f(x) for f in (self.query, self.key, self.value)]
        query, key, value = (self._split(p, self.num_heads) for p in parts)
        query = query.reshape(query.shape[0], -1, query.shape[-1])
        # Without a mask `area_attention` gets None: it then skips the masking.
        cells = jnp.ones(x.shape[:3], bool) if mask is None else mask
        heads = jnp.repeat(self._split(cells[..., None], 1)[..., 0], self.num_heads, 0)
        spec = self.spec
        options = {
            "max_area": spec.max_area,
            "key_mode": spec.key_mode,
            "scale": spec.scale,
            "mask": None if mask is None else heads,
            "area_key_fn": self.features,
            "top_k_areas": spec.top_k_areas,
        }
        if self.sow_maps:
            weights = attention_map(query, key, **options)
            mass = area_mass(query, key, heads.reshape(query.shape[:2]), **options)
            self._sow(weights, mass, cells)
        out = area_attention(
            query,
            key,
            value,
            value_mode=spec.value_mode,
            implementation=spec.implementation,
            **options,
            **self._randomness(rngs, deterministic),
        )
        if self.num_heads > 1:
            out = jnp.moveaxis(out.reshape(-1, self.num_heads, *out.shape[1:]), 1, 2)
        out = out.reshape(x.shape)
        out = out if self.out is None else self.out(out)
        return out if mask is None else jnp.where(mask[..., None], out, 0)

    def sizes(self, grid: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Heights and widths of the areas on a map of so many rows and columns."""
        layouts = {"rows": (1, grid[1]), "flat": (1, grid[0] * grid[1])}
        grid = layouts.get(self.spec.layout, grid)
        return pooling.area_sizes(self.spec.max_area, grid)

    def _randomness(self, rngs: nnx.Rngs | None, deterministic: bool | None) -> dict:
        """Keys for dropout and sampling; none in evaluation."""
        if deterministic is None:
            deterministic = self.deterministic
        drop, sample = self.spec.dropout_rate > 0, self.spec.key_mode == "sample"
        if deterministic or not (drop or sample):
            return {}
        if rngs is None:
            raise ValueError(
                "AreaAttention in training: expected rngs with a `dropout` stream, got "
                "None; pass rngs=nnx.Rngs(dropout=key), or deterministic=True, or call "
                "model.eval()"
            )
        return {
            "dropout_rate": self.spec.dropout_rate,
            "dropout_key": rngs.dropout() if drop else None,
            "sample_key": rngs.dropout() if sample else None,
        }

    def _split(self, x: Array, heads: int) -> Array:
        """[B, H, W, D] -> [B', H', W', D / heads], heads (and rows) on the batch axis."""
        # There, so that one call of `area_attention` serves all layouts and heads.
        batch, rows, columns, depth = x.shape
        if self.spec.layout == "rows":
            x = x.reshape(batch * rows, 1, columns, depth)
        elif self.spec.layout == "flat":
            x = x.reshape(batch, 1, rows * columns, depth)
        x = x.reshape(*x.shape[:3], heads, depth // heads)
        return jnp.moveaxis(x, 3, 1).reshape(-1, *x.shape[1:3], x.shape[-1])

    def _sow(self, weights: Array, mass: Array, cells: Bool[Array, "B H W"]) -> None:
        """Means over heads, rows split off the batch axis."""
        weights, mass = (
            x.reshape(-1, self.num_heads, *x.shape[1:]).mean(axis=1)
            for x in (weights, mass)
        )
        batch, rows, columns = cells.shape
        if self.spec.layout == "rows":
            weights = weights.reshape(batch, rows, *weights.shape[1:])
            # A row's mass is the mean over its own queries: weigh it by their number.
            queries = cells.sum(axis=2)
            share = queries / jnp.maximum(queries.sum(axis=1, keepdims=True), 1)
            mass = mass.reshape(batch, rows, -1, columns) * share[..., None, None]
            mass = jnp.moveaxis(mass, 1, 2)
        self.sow(nnx.Intermediate, "attention", weights)
        self.sow(nnx.Intermediate, "mass", mass.reshape(batch, -1, rows, columns))
