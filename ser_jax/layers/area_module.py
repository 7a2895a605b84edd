"""Area self-attention over a feature map, as a Flax NNX module."""

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers.area_attention import area_attention, area_mass, attention_map
from ser_jax.layers.area_pooling import area_sizes

LAYOUTS = ("grid2d", "rows", "flat")
PROJECTIONS = ("none", "dense")


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
        return area_sizes(self.spec.max_area, layouts.get(self.spec.layout, grid))

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
