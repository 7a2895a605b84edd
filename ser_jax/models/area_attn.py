"""AACNN: a convolutional network with multiscale area attention.

Xu, Zhang, Cui, Zhang: Speech Emotion Recognition with Multiscale Area Attention and
Data Augmentation, ICASSP 2021 (arXiv 2102.01813).
"""

import functools
from collections.abc import Mapping

import jax.numpy as jnp
from flax import nnx

from ser_jax.layers import attention_grid
from ser_jax.layers.area_module import AreaAttention, AreaSpec
from ser_jax.layers.conv_blocks import ConvBlock, ConvSpec, pool
from ser_jax.layers.dense import check_mode, scale_width
from ser_jax.models.model import (
    AttentionMaps,
    Batch,
    DenseOutput,
    Embedding,
    Shapes,
    feature_map,
    pooled_shape,
)

MERGES = ("freq", "channel")
HEADS = ("flatten", "mean", "time_mean")


class AreaAttn(DenseOutput, nnx.Module):
    """Two parallel convolutions, four more, area attention, one dense layer.

    The map is mel x time, as in the paper: conv1a 10x2 and conv1b 2x8 (16 channels
    each) are joined on the frequency axis; 3x3 convolutions to 32, 48, 64 and 80
    channels follow, each with batch norm and ReLU, pooled 2x2 after the first two.

    Differs from the paper: weights are dropped in training only, batch norm works
    (the released code runs it on its initial statistics), and padded frames touch
    neither statistics nor attention. The released code's network is `layout="rows",
    scale="none", projection="none"`.
    """

    def __init__(
        self, config, *, input_shapes: Shapes, num_classes: int, rngs: nnx.Rngs
    ):
        """See `Model`; with `head="flatten"` later inputs must have the same size."""
        check_mode("merge", config.merge, MERGES)
        check_mode("head", config.head, HEADS)
        frames, bands, channels = input_shapes["frames"]
        self.dtype = jnp.dtype(config.dtype)
        widths = [scale_width(c, config.width) for c in (16, 32, 48, 64, 80)]
        common = {"dtype": self.dtype, "rngs": rngs}
        spec = functools.partial(ConvSpec, bn_momentum=config.bn_momentum)
        self.conv1a = ConvBlock(channels, widths[0], spec((10, 2)), **common)
        self.conv1b = ConvBlock(channels, widths[0], spec((2, 8)), **common)
        self.merge_axis = 1 if config.merge == "freq" else 3
        joined = (1, 2) if config.merge == "freq" else (2, 1)  # channels, bands
        ins = [widths[0] * joined[0], *widths[1:-1]]
        pools = [_pool(p) for p in config.pools]
        if len(pools) != 5:
            raise ValueError(
                "pools: expected 5 entries (after the merge, conv2 ... conv5), got "
                f"{config.pools}"
            )
        self.convs = nnx.List(
            [
                ConvBlock(i, o, spec((3, 3), p), **common)
                for i, o, p in zip(ins, widths[1:], pools[1:], strict=True)
            ]
        )
        self.map_shape = pooled_shape((bands * joined[1], frames), pools)
        self.attention = AreaAttention(widths[-1], _area_spec(config), **common)
        self.dropout = nnx.Dropout(config.head_dropout)
        self.first_pool, self.strides = pools[0], attention_grid.strides(pools)
        self.head = config.head
        rows, columns = self.map_shape
        cells = {"flatten": rows * columns, "time_mean": rows, "mean": 1}[config.head]
        self.dense = nnx.Linear(cells * widths[-1], num_classes, rngs=rngs)

    def embed(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Embedding:
        """The attended map as one vector."""
        x, mask = feature_map(batch, self.dtype)
        tall, long = self.conv1a(x, mask)[0], self.conv1b(x, mask)[0]
        x = jnp.concatenate([tall, long], axis=self.merge_axis)
        x, mask = pool(x, mask, self.first_pool)
        for conv in self.convs:
            x, mask = conv(x, mask)
        cells = jnp.broadcast_to(mask[:, None, :], x.shape[:3])
        x = self.attention(x, mask=cells, rngs=rngs).astype(jnp.float32)
        if self.head != "flatten":
            # The attention leaves 0 in padded columns: sums are over real ones.
            count = jnp.maximum(mask.sum(axis=1), 1)[:, None, None]
            x = x.sum(axis=2) / count
        if self.head == "mean":
            x = x.mean(axis=1)
        return self.dropout(x.reshape(x.shape[0], -1), rngs=rngs)

    def attention_maps(self, state: Mapping, batch: Batch) -> AttentionMaps:
        """One map per area size: `area 2x3`, bands x frames.

        An area's weight is shared evenly among its cells, so a map adds up to the
        weight of its size.
        """
        (mass,) = attention_grid.read_sown(state, "attention", "mass")
        _, frames, bands, _ = batch["frames"].shape
        sizes = self.attention.sizes(mass.shape[2:])
        # With merge="freq" both halves of the rows cover all bands.
        mass, rows = attention_grid.fold_rows(mass, bands, self.strides[0])
        columns = attention_grid.edges(mass.shape[3], self.strides[1], frames)
        return {
            f"area {h}x{w}": attention_grid.AttentionMap(
                mass[:, i] / (h * w), rows, columns
            )
            for i, (h, w) in enumerate(sizes)
        }


def _area_spec(config) -> AreaSpec:
    return AreaSpec(
        max_area=tuple(config.max_area),
        key_mode=config.key,
        value_mode=config.value,
        scale=config.scale,
        layout=config.layout,
        projection=config.projection,
        dropout_rate=config.attention_dropout,
        top_k_areas=config.top_k_areas,
        implementation=config.attention_implementation,
    )


def _pool(entry: bool | tuple[int, int]) -> tuple[int, int]:
    """True = 2x2, False = none, a pair = (bands, frames)."""
    if isinstance(entry, bool):
        return (2, 2) if entry else (1, 1)
    return tuple(entry)
