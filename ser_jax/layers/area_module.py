"""Area self-attention over a feature map, as a Flax NNX module.

The function, in `area_attention`, is a file of its own: it needs JAX without Flax.
"""

import dataclasses
import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers.area_attention import area_attention, area_mass, attention_map
from ser_jax.layers.area_pooling import area_sizes
from ser_jax.layers.options import check_mode


@dataclasses.dataclass(frozen=True)
class AreaSpec:
    """What an area is and how it is matched and read; see `area_attention`."""

    max_area: tuple[int, int] = (3, 3)
    key_mode: str = "mean"
    value_mode: str = "sum"
    scale: str = "sqrt_d"
    # "grid2d": every cell queries the whole map; "rows": every row attends over its own
    # columns only (areas 1 x w; the height has no effect); "flat": the map is one
    # sequence, row by row.
    layout: str = "grid2d"
    projection: str = "dense"  # of query, key and value; "none": they are the map
    dropout_rate: float = 0.0
    top_k_areas: int = 0
    implementation: str = "auto"

    def __post_init__(self):
        check_mode("layout", self.layout, ("grid2d", "rows", "flat"))
        check_mode("projection", self.projection, ("none", "dense"))


class AreaFeatures(nnx.Module):
    """Learned area keys of Li et al. section 3.2: dense(ReLU(dense[mean, std, size])).

    The size is an embedding of the height beside one of the width, D/2 each; D =
    `features` is the size of a key.
    """

    def __init__(self, features, max_area, *, dtype=jnp.float32, rngs: nnx.Rngs):
        half = (features + 1) // 2
        common = {"dtype": dtype, "rngs": rngs}
        self.height = nnx.Embed(max_area[0], half, **common)
        self.width = nnx.Embed(max_area[1], half, **common)
        self.hidden = nnx.Linear(2 * features + 2 * half, features, **common)
        self.out = nnx.Linear(features, features, **common)

    def __call__(
        self,
        means: Float[Array, "B A D"],
        stds: Float[Array, "B A D"],
        heights: Array,
        widths: Array,
    ) -> Float[Array, "B A D"]:
        """Returns the key of every area."""
        size = jnp.concatenate([self.height(heights), self.width(widths)], axis=-1)
        size = jnp.broadcast_to(size, (*means.shape[:2], size.shape[-1]))
        combined = jnp.concatenate([means, stds, size.astype(means.dtype)], axis=-1)
        return self.out(nnx.relu(self.hidden(combined)))


class AreaAttention(nnx.Module):
    """Every cell of a map attends over the areas of the map.

    With `sow_maps` set it sows, as means over heads, `attention_map` as `attention`:
    [B, H, W, N] (rows: [B, H, 1, W, W]); and `area_mass`, averaged over the queries of
    valid cells, as `mass`: [B, S, H, W] for the S area `sizes`.
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
        """Makes the projections, one of the output too for several heads.

        Raises a ValueError if num_heads does not divide the features D.
        """
        if features % num_heads:
            raise ValueError(
                f"num_heads: expected a divisor of {features}, got {num_heads}"
            )
        self.spec, self.num_heads = spec, num_heads
        self.deterministic = self.sow_maps = False
        common = {"dtype": dtype, "rngs": rngs}
        linear = functools.partial(nnx.Linear, features, features, use_bias=False)
        self.query = self.key = self.value = self.out = self.features = nnx.data(None)
        if spec.projection == "dense":
            self.query, self.key, self.value = (linear(**common) for _ in range(3))
            self.out = linear(**common) if num_heads > 1 else nnx.data(None)
        if spec.key_mode == "features":
            self.features = AreaFeatures(features // num_heads, spec.max_area, **common)

    def __call__(
        self,
        x: Float[Array, "B H W D"],
        *,
        mask: Bool[Array, "B H W"] | None = None,
        rngs: nnx.Rngs | None = None,
        deterministic: bool | None = None,
    ) -> Float[Array, "B H W D"]:
        """Attends; masked cells are not read, and their output is 0.

        `rngs` needs the stream `dropout` for dropout and sampled keys in training, else
        ValueError. `deterministic=True`: neither; None: as `train()`, `eval()` set it.
        """
        parts = [x if f is None else f(x) for f in (self.query, self.key, self.value)]
        query, key, value = (self._split(p, self.num_heads) for p in parts)
        query = query.reshape(len(query), -1, query.shape[-1])
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
        return area_sizes(self.spec.max_area, grid)

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
