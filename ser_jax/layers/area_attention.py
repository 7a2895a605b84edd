"""Area attention: every query looks at rectangles of cells, not only at cells.

Li, Kaiser, Bengio, Si: Area Attention, ICML 2019 (arXiv 1810.10126). For every area A
up to max_area of a key/value grid there is one key k_A and one value v_A, and

    a = softmax_A(q . k_A / sqrt(d)),   out = sum_A a_A v_A.

With `max_area=(1, 1)` this is ordinary attention.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
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


@dataclasses.dataclass(frozen=True)
class AreaSpec:
    """What an area is and how it is matched and read; see `area_attention`.

    Attributes:
        max_area: largest height and width of an area in cells.
        key_mode: mean | max | sample | features.
        value_mode: sum | mean | max.
        scale: sqrt_d | none.
        layout: `grid2d`: every cell queries the whole map; `rows`: every row attends
            over its own columns only (areas 1 x w; the height has no effect);
            `flat`: the map is one sequence, row by row.
        projection: `dense`: query, key and value by weight matrices; `none`: the map.
        dropout_rate: on the area weights, in training.
        top_k_areas: keep the k largest weights; 0 = all.
        implementation: xla | pallas (a GPU kernel); see `area_attention`.
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
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout: expected one of {LAYOUTS}, got {self.layout!r}")
        if self.projection not in PROJECTIONS:
            raise ValueError(
                f"projection: expected one of {PROJECTIONS}, got {self.projection!r}"
            )


class AreaFeatures(nnx.Module):
    """Learned area keys of Li et al. section 3.2: dense(ReLU(dense[mean, std, size])).

    The size is an embedding of the height beside one of the width, D/2 each.
    """

    def __init__(self, features, max_area, *, dtype=jnp.float32, rngs: nnx.Rngs):
        """Makes the embeddings and the two dense layers.

        Args:
            features: D, size of a key.
            max_area: largest height and width.
            dtype: of the computation.
            rngs: stream `params`.
        """
        half = (features + 1) // 2
        self.height = nnx.Embed(max_area[0], half, dtype=dtype, rngs=rngs)
        self.width = nnx.Embed(max_area[1], half, dtype=dtype, rngs=rngs)
        self.hidden = nnx.Linear(
            2 * features + 2 * half, features, dtype=dtype, rngs=rngs
        )
        self.out = nnx.Linear(features, features, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        means: Float[Array, "B A D"],
        stds: Float[Array, "B A D"],
        heights: Array,
        widths: Array,
    ) -> Float[Array, "B A D"]:
        """Combines the statistics and the size of every area into its key."""
        size = jnp.concatenate([self.height(heights), self.width(widths)], axis=-1)
        size = jnp.broadcast_to(size, (*means.shape[:2], size.shape[-1]))
        combined = jnp.concatenate([means, stds, size.astype(means.dtype)], axis=-1)
        return self.out(nnx.relu(self.hidden(combined)))


class AreaAttention(nnx.Module):
    """Every cell of a map attends over the areas of the map.

    `sow_maps` is False; set it (`model.set_attributes(sow_maps=True)`) and call under
    `nnx.capture(nnx.Intermediate)` to receive `attention`: [B, H, W, N], for query n
    the weights of all areas covering a cell, summed (rows: [B, H, 1, W, W]); and
    `mass`: [B, S, H, W], the same for each of the S area sizes (`sizes`) alone, the
    mean over the queries of valid cells. Both are means over heads. What is not used
    costs nothing under `jit`.
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
        """Makes the projections the spec asks for.

        Args:
            features: D of the map.
            spec: areas, layout and modes.
            num_heads: the features are split between them; must divide D. More than
                one head with projections adds an output projection.
            dtype: of the computation; parameters are float32.
            rngs: stream `params`.

        Raises:
            ValueError: if num_heads does not divide the features.
        """
        if features % num_heads:
            raise ValueError(
                f"num_heads: expected a divisor of {features}, got {num_heads}"
            )
        self.spec, self.num_heads = spec, num_heads
        self.deterministic = False
        self.sow_maps = False
        dense = spec.projection == "dense"

        def linear(use: bool):
            if not use:
                return nnx.data(None)
            return nnx.Linear(
                features, features, use_bias=False, dtype=dtype, rngs=rngs
            )

        self.query, self.key, self.value = linear(dense), linear(dense), linear(dense)
        self.out = linear(dense and num_heads > 1)
        self.features = nnx.data(None)
        if spec.key_mode == "features":
            self.features = AreaFeatures(
                features // num_heads, spec.max_area, dtype=dtype, rngs=rngs
            )

    def __call__(
        self,
        x: Float[Array, "B H W D"],
        *,
        mask: Bool[Array, "B H W"] | None = None,
        rngs: nnx.Rngs | None = None,
        deterministic: bool | None = None,
    ) -> Float[Array, "B H W D"]:
        """Attends; masked cells are neither read nor (their output) written: zeros.

        Args:
            x: the map.
            mask: True where a cell is valid; None = everywhere.
            rngs: stream `dropout`, needed in training with dropout or sampled keys.
            deterministic: True = no dropout and no noise; None = what `train()` and
                `eval()` last said.

        Returns:
            A map of the same shape and dtype.

        Raises:
            ValueError: in training without rngs where they are needed.
        """
        parts = [x if f is None else f(x) for f in (self.query, self.key, self.value)]
        grids = [self._grid(p) for p in parts]
        area_mask = None if mask is None else self._grid(mask[..., None], heads=False)
        if area_mask is not None:
            area_mask = jnp.repeat(area_mask[..., 0], self.num_heads, axis=0)
        query = grids[0].reshape(grids[0].shape[0], -1, grids[0].shape[-1])
        matching = self._matching(area_mask)
        if self.sow_maps:
            weights = attention_map(query, grids[1], **matching)
            self.sow(nnx.Intermediate, "attention", self._map(weights, x.shape[0]))
            mass = self._mass(query, grids[1], mask, matching, x.shape)
            self.sow(nnx.Intermediate, "mass", mass)
        out = area_attention(
            query,
            *grids[1:],
            value_mode=self.spec.value_mode,
            implementation=self.spec.implementation,
            **matching,
            **self._randomness(rngs, deterministic),
        )
        out = self._ungrid(out, x.shape)
        out = out if self.out is None else self.out(out)
        return out if mask is None else jnp.where(mask[..., None], out, 0)

    def _matching(self, mask) -> dict:
        """Keyword arguments that decide the weights."""
        spec = self.spec
        return {
            "max_area": spec.max_area,
            "key_mode": spec.key_mode,
            "scale": spec.scale,
            "mask": mask,
            "area_key_fn": self.features,
            "top_k_areas": spec.top_k_areas,
        }

    def _randomness(self, rngs: nnx.Rngs | None, deterministic: bool | None) -> dict:
        """Keys for dropout and sampling; none in evaluation."""
        spec = self.spec
        if deterministic is None:
            deterministic = self.deterministic
        drop, sample = spec.dropout_rate > 0, spec.key_mode == "sample"
        if deterministic or not (drop or sample):
            return {}
        if rngs is None:
            raise ValueError(
                "AreaAttention in training: expected rngs with a `dropout` stream, got "
                "None; pass rngs=nnx.Rngs(dropout=key), or deterministic=True, or call "
                "model.eval()"
            )
        return {
            "dropout_rate": spec.dropout_rate,
            "dropout_key": rngs.dropout() if drop else None,
            "sample_key": rngs.dropout() if sample else None,
        }

    def _grid(self, x: Array, *, heads: bool = True) -> Array:
        """[B, H, W, D] -> [B', H', W', D / heads], heads (and rows) on the batch axis."""
        batch, rows, columns, depth = x.shape
        if self.spec.layout == "rows":
            x = x.reshape(batch * rows, 1, columns, depth)
        elif self.spec.layout == "flat":
            x = x.reshape(batch, 1, rows * columns, depth)
        if not heads or self.num_heads == 1:
            return x
        x = x.reshape(*x.shape[:3], self.num_heads, depth // self.num_heads)
        return jnp.moveaxis(x, 3, 1).reshape(-1, *x.shape[1:3], x.shape[-1])

    def _ungrid(self, out: Array, shape: tuple[int, ...]) -> Array:
        """[B', N, D / heads] -> [B, H, W, D]."""
        if self.num_heads > 1:
            out = out.reshape(-1, self.num_heads, *out.shape[1:])
            out = jnp.moveaxis(out, 1, 2)
        return out.reshape(shape)

    def sizes(self, grid: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Heights and widths of the areas on a map of so many rows and columns."""
        layouts = {"rows": (1, grid[1]), "flat": (1, grid[0] * grid[1])}
        return pooling.area_sizes(
            self.spec.max_area, layouts.get(self.spec.layout, grid)
        )

    def _mass(self, query, key, mask, matching, shape) -> Float[Array, "B S H W"]:
        """`area_mass` of the layout, on the map; rows share an example's queries."""
        batch, rows, columns, _ = shape
        mask = jnp.ones(shape[:3], bool) if mask is None else mask
        counts = jnp.repeat(self._grid(mask[..., None], heads=False), self.num_heads, 0)
        mass = area_mass(query, key, counts.reshape(query.shape[:2]), **matching)
        mass = mass.reshape(-1, self.num_heads, *mass.shape[1:]).mean(axis=1)
        if self.spec.layout == "rows":
            queries = mask.sum(axis=2)
            share = queries / jnp.maximum(queries.sum(axis=1, keepdims=True), 1)
            mass = mass.reshape(batch, rows, -1, columns) * share[..., None, None]
            return jnp.moveaxis(mass, 1, 2)
        return mass.reshape(batch, -1, rows, columns)

    def _map(self, weights: Array, batch: int) -> Array:
        """[B', H', W', N] -> mean over heads, rows split off the batch axis."""
        weights = weights.reshape(-1, self.num_heads, *weights.shape[1:]).mean(axis=1)
        if self.spec.layout == "rows":
            return weights.reshape(batch, -1, *weights.shape[1:])
        return weights
