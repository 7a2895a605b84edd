"""AACNN: a convolutional network with multiscale area attention.

Xu, Zhang, Cui, Zhang: Speech Emotion Recognition with Multiscale Area Attention and
Data Augmentation, ICASSP 2021 (arXiv 2102.01813).
"""

import functools
from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers import attention_grid
from ser_jax.layers.area_module import AreaAttention, AreaSpec
from ser_jax.layers.conv_blocks import ConvBlock, ConvSpec, pool
from ser_jax.layers.dense import scale_width
from ser_jax.layers.dropout import Dropout
from ser_jax.layers.options import check_mode
from ser_jax.models.model import AttentionMaps, Batch, DenseOutput, Embedding, frame_map

MERGES = ("freq", "channel")
HEADS = ("flatten", "mean", "time_mean")


class ParallelConvs(DenseOutput):
    """The convolutions of Xu et al.: two in parallel, joined, and four in a row.

    conv1a 10x2 and conv1b 2x8 (bands x frames) are joined on the axis `freq` or
    `channel`; 3x3 convolutions follow. All have batch norm and ReLU.
    """

    CHANNELS: tuple[int, ...]  # of each of the two, conv2 ... conv5

    def make_convs(self, config, shape, *, merge, padding="same", rngs):
        """Makes the layers for inputs of `shape` (T, F, C); returns their last width."""
        frames, bands, channels = shape
        self.dtype = jnp.dtype(config.dtype)
        self.pools = tuple(_pool(p) for p in config.pools)
        if len(self.pools) != len(self.CHANNELS):
            raise ValueError(
                f"pools: expected {len(self.CHANNELS)} entries (after the merge, conv2 "
                f"... conv5), got {config.pools}"
            )
        # Unpadded kernels of even size leave one row and one column less.
        less = int(padding == "floor")
        rows_joined, channels_joined = (2, 1) if merge == "freq" else (1, 2)
        self.merge_axis = 1 if merge == "freq" else 3
        rows = (bands - less) * rows_joined
        self.map_shape = attention_grid.pooled_shape((rows, frames - less), self.pools)
        first, *widths = (scale_width(c, config.width) for c in self.CHANNELS)
        spec = functools.partial(ConvSpec, bn_momentum=config.bn_momentum)
        common = {"dtype": self.dtype, "rngs": rngs}
        self.conv1a, self.conv1b = (
            ConvBlock(channels, first, spec(kernel, padding=padding), **common)
            for kernel in ((10, 2), (2, 8))
        )
        self.convs = nnx.List([])
        features = first * channels_joined
        for width, size in zip(widths, self.pools[1:], strict=True):
            self.convs.append(
                ConvBlock(features, width, spec((3, 3), pool=size), **common)
            )
            features = width
        return features

    def conv_map(
        self, batch: Batch
    ) -> tuple[Float[Array, "B H W D"], Bool[Array, "B W"]]:
        """The map that the attention reads, and its valid columns."""
        x, mask = frame_map(batch)
        (tall, columns), (long, _) = self.conv1a(x, mask), self.conv1b(x, mask)
        x = jnp.concatenate([tall, long], axis=self.merge_axis)
        x, mask = pool(x, columns, self.pools[0])
        for conv in self.convs:
            x, mask = conv(x, mask)
        return x, mask


class AreaAttn(ParallelConvs, nnx.Module):
    """`ParallelConvs` on a map of mel x time, area attention, one dense layer.

    Differs from the paper: weights are dropped in training only, batch norm works
    (the released code runs it on its initial statistics), and padded frames touch
    neither statistics nor attention. The released code's network is `layout="rows",
    scale="none", projection="none"`.
    """

    CHANNELS = (16, 32, 48, 64, 80)

    def __init__(self, config, *, input_shapes, num_classes, rngs: nnx.Rngs):
        """See `Model`; with `head="flatten"` later inputs must have the same size."""
        check_mode("merge", config.merge, MERGES)
        check_mode("head", config.head, HEADS)
        shape = input_shapes["frames"]
        features = self.make_convs(config, shape, merge=config.merge, rngs=rngs)
        spec = AreaSpec(
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
        self.attention = AreaAttention(features, spec, dtype=self.dtype, rngs=rngs)
        self.dropout = Dropout(config.head_dropout, "head_dropout")
        self.head = config.head
        rows, columns = self.map_shape
        cells = {"flatten": rows * columns, "time_mean": rows, "mean": 1}[config.head]
        self.dense = nnx.Linear(cells * features, num_classes, rngs=rngs)

    def embed(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Embedding:
        """The attended map as one vector."""
        x, mask = self.conv_map(batch)
        cells = jnp.broadcast_to(mask[:, None, :], x.shape[:3])
        x = self.attention(x, mask=cells, rngs=rngs).astype(jnp.float32)
        if self.head != "flatten":
            # The attention leaves 0 in padded columns: sums are over real ones.
            count = jnp.maximum(mask.sum(axis=1), 1)[:, None, None]
            x = x.sum(axis=2) / count
        if self.head == "mean":
            x = x.mean(axis=1)
        return self.dropout(x.reshape(x.shape[0], -1), rngs=rngs)

    def attention_maps(self, state: nnx.State, batch: Batch) -> AttentionMaps:
        """One map per area size: `area 2x3`, bands x frames.

        An area's weight is shared evenly among its cells, so a map adds up to the
        weight of its size.
        """
        (mass,) = attention_grid.read_sown(state, "attention", "mass")
        _, frames, bands, _ = batch["frames"].shape
        sizes = self.attention.sizes(mass.shape[2:])
        row_stride, column_stride = attention_grid.strides(self.pools)
        # With merge="freq" both halves of the rows cover all bands.
        mass, rows = attention_grid.fold_rows(mass, bands, row_stride)
        columns = attention_grid.edges(mass.shape[3], column_stride, frames)
        return {
            f"area {h}x{w}": attention_grid.AttentionMap(
                mass[:, i] / (h * w), rows, columns
            )
            for i, (h, w) in enumerate(sizes)
        }


def _pool(entry: bool | Sequence[int]) -> tuple[int, int]:
    """True = 2x2, False = none, a pair = (bands, frames)."""
    if isinstance(entry, bool):
        return (2, 2) if entry else (1, 1)
    return tuple(entry)
