"""Hidden states of a pretrained speech encoder, read by a small head.

The weighted sum over layers is that of SUPERB (Yang et al., Interspeech 2021, arXiv
2105.01051); area attention over layers x time is ours.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.encoders.tuned import TunedEncoder
from ser_jax.layers import attention_grid
from ser_jax.layers.area_attention import area_attention, area_mass
from ser_jax.layers.area_pooling import area_sizes
from ser_jax.layers.attention_grid import AttentionMaps
from ser_jax.layers.dense import DenseBlock, batch_norm, normalize
from ser_jax.layers.dropout import Dropout
from ser_jax.layers.options import check_mode
from ser_jax.layers.pooling import AttentionPool, statistics
from ser_jax.models.model import Batch, DenseOutput, Embedding

# Where the variables of a pretrained encoder inside of the model lie.
ENCODER_PATH = ("encoder", "trunk")
POOLINGS = ("mean", "statistics", "attention", "area")


class LayerSum(nnx.Module):
    """Weighted sum over layers with softmax weights, equal at first.

    Differs from SUPERB: weights are the softmax of `speed` times the parameters, so that
    Adam, whose steps have one size, moves them faster than a network's weights.
    """

    def __init__(self, layers: int, speed: float):
        self.scores = nnx.Param(jnp.zeros(layers))
        self.speed = speed

    def weights(self) -> Float[Array, " F"]:
        """The share of each layer; they add up to 1."""
        return jax.nn.softmax(self.speed * self.scores[...])

    def __call__(self, states: Float[Array, "B T F C"]) -> Float[Array, "B T C"]:
        """The sum."""
        return jnp.einsum("btfc,f->btc", states, self.weights().astype(states.dtype))


class AreaReadout(nnx.Module):
    """Learned queries attend over the areas of a map of layers x frames.

    Areas are neighbouring layers and frames, `max_area` at most; keys are means, values
    sums over the number of cells (means), as in multiscale area attention (Li et al.,
    ICML 2019) with the softmax over all areas of all sizes.
    """

    def __init__(
        self,
        features: int,
        layers: int,
        *,
        size: int,
        queries: int,
        max_area: tuple[int, int],
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Makes `queries` queries, keys and values of `size`, and a place for each layer."""
        if min(queries, size) < 1:
            raise ValueError(
                f"queries, attention_size: expected 1 or more, got {queries} and {size}"
            )
        common = {"use_bias": False, "dtype": dtype, "rngs": rngs}
        self.key = nnx.Linear(features, size, **common)
        self.value = nnx.Linear(features, size, **common)
        normal = nnx.initializers.normal(1.0)
        self.query = nnx.Param(normal(rngs.params(), (queries, size)))
        self.layer = nnx.Param(jnp.zeros((layers, size)))  # added to the layer's keys
        self.max_area, self.sow_maps = tuple(max_area), False

    def __call__(
        self, states: Float[Array, "B T F C"], mask: Bool[Array, "B T"]
    ) -> Float[Array, "B Q V"]:
        """What each query reads; zeros where no frame is valid."""
        grid = jnp.swapaxes(states, 1, 2)
        key = self.key(grid) + self.layer[...][:, None].astype(states.dtype)
        query = jnp.broadcast_to(self.query[...], (len(grid), *self.query.shape))
        cells = jnp.broadcast_to(mask[:, None], grid.shape[:3])
        options = {"max_area": self.max_area, "mask": cells}
        query = query.astype(key.dtype)
        if self.sow_maps:
            valid = jnp.broadcast_to(mask.any(1)[:, None], query.shape[:2])
            mass = area_mass(query, key, valid, **options)
            self.sow(nnx.Intermediate, "mass", mass)
        return area_attention(
            query, key, self.value(grid), value_mode="mean", **options
        )


class EncoderHead(DenseOutput, nnx.Module):
    """A weighted sum over layers, pooled over time, and a dense layer.

    `pooling` is `mean`, `statistics` (mean and deviation), `attention`, or `area`: what
    `AreaReadout` reads beside the statistics of the sum. A batch norm without scale and
    bias gives every pooled feature one scale before dropout and the dense layers.

    With an `encoder` inside, which learns, the frames of a batch are samples.
    """

    def __init__(
        self,
        config,
        *,
        input_shapes,
        num_classes,
        rngs: nnx.Rngs,
        encoder: TunedEncoder | None = None,
    ):
        check_mode("pooling", config.pooling, POOLINGS)
        common = {"dtype": jnp.dtype(config.dtype), "rngs": rngs}
        shape = input_shapes["frames"]
        self.encoder = nnx.data(encoder)
        if encoder is not None:
            shape = encoder.frames_shape(shape[0])
        _, layers, features = shape
        self.sum = LayerSum(layers, config.layer_speed)
        self.attention = self.areas = nnx.data(None)
        size = features * (1 if config.pooling in ("mean", "attention") else 2)
        if config.pooling == "attention":
            self.attention = AttentionPool(
                features, hidden=config.attention_size, activation="tanh", **common
            )
        if config.pooling == "area":
            self.areas = AreaReadout(
                features,
                layers,
                size=config.attention_size,
                queries=config.queries,
                max_area=config.max_area,
                **common,
            )
            size += config.queries * config.attention_size
        self.norm = batch_norm("plain", size, config.bn_momentum, rngs)
        self.dropout = Dropout(config.dropout)
        self.hidden = nnx.data(None)
        if config.hidden:
            self.hidden = DenseBlock(size, config.hidden, activation="relu", **common)
            size = config.hidden
        self.dense = nnx.Linear(size, num_classes, rngs=rngs)
        self.pooling, self.sow_maps = config.pooling, False

    def embed(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Embedding:
        """The pooled states, or the layer after them if there is one."""
        frames, mask = batch["frames"], batch["frame_mask"]
        frames = jnp.where(mask[:, :, None, None], frames, 0)
        if self.encoder is not None:
            frames, mask = self.encoder(frames, mask, rngs=rngs)
        x = self._pool(self.sum(frames), frames, mask)
        x = normalize(self.norm, x.astype(jnp.float32), mask.any(axis=1))
        x = self.dropout(x, rngs=rngs)
        if self.hidden is not None:
            x = self.dropout(self.hidden(x), rngs=rngs)
        return x.astype(jnp.float32)

    def attention_maps(self, state: nnx.State, batch: Batch) -> AttentionMaps:
        """Over layers x time one map per area size; or `time`; none of a mean.

        An area's weight is shared evenly among its cells. Attention over time has the
        layers' shares in its rows. Over samples there are no rows, but time alone.
        """
        frames, stride = batch["frames"], 1
        if self.areas is not None:
            (mass,) = attention_grid.read_sown(state, "areas", "mass")
            sizes = area_sizes(self.areas.max_area, mass.shape[2:])
            shares = {
                f"area {h}x{w}": mass[:, i] / (h * w) for i, (h, w) in enumerate(sizes)
            }
        elif self.attention is not None:
            (weights,) = attention_grid.read_sown(state, "attention", "weights")
            shares = {"time": weights[:, None] * self.sum.weights()[:, None]}
        else:
            return {}
        if self.encoder is not None:
            stride = self.encoder.pool_steps
            shares = {k: x.sum(axis=1, keepdims=True) for k, x in shares.items()}
        return {
            name: attention_grid.AttentionMap(
                mass, *attention_grid.tiles(mass, frames, (1, stride))
            )
            for name, mass in shares.items()
        }

    def _pool(self, x, frames, mask) -> Float[Array, "B D"]:
        if self.attention is not None:
            return self.attention(x, mask)
        moments = statistics(x, mask)
        if self.pooling == "mean":
            return moments["mean"]
        parts = [moments["mean"], moments["std"]]
        if self.areas is not None:
            parts.append(self.areas(frames, mask).reshape(len(x), -1))
        return jnp.concatenate(parts, axis=1)
