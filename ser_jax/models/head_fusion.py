"""Head fusion: a small convolutional network under fused attention heads.

Xu, Zhang, Khan: Improve Accuracy of Speech Emotion Recognition with Attention Head
Fusion, CCWC 2020; Xu, Zhang, Zhang: Head Fusion, IEEE Access 9, 2021. Sizes and the
names ACNN and MACNN are those of the released code.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers import attention_grid
from ser_jax.layers.conv_blocks import ConvBlock, ConvSpec, pool
from ser_jax.layers.dense import check_mode, scale_width
from ser_jax.layers.pooling import masked_softmax
from ser_jax.models.model import (
    AttentionMaps,
    Batch,
    DenseOutput,
    Embedding,
    Shapes,
    feature_map,
    pooled_shape,
)

HEADS = ("macnn", "acnn")
SOFTMAXES = ("channels", "positions")
CHANNELS = (8, 32, 48, 64, 80)  # each of the two parallel convolutions, conv2 ... conv5


def fuse_heads(
    query: Float[Array, "B L N D"],
    key: Float[Array, "B L N D"],
    value: Float[Array, "B L N D"],
    mask: Bool[Array, "B L"],
    *,
    softmax: str,
) -> tuple[Float[Array, "B D"], Float[Array, "B L N D"]]:
    """Attention by elementwise products, all heads pooled into one vector.

    With P = softmax(Q o K), o the elementwise product, head n answers ReLU(P_n o V_n).

    Args:
        query: of L cells and N heads, as are key and value.
        key: see query.
        value: see query.
        mask: True where a cell is valid.
        softmax: axis over which P sums to 1: `channels` of a cell (the released code),
            answers averaged over cells and heads; or valid `positions`, answers added
            over cells and averaged over heads.

    Returns:
        (the vector, zeros where no cell is valid; P). Both float32.
    """
    product = (query * key).astype(jnp.float32)
    cells = mask[..., None, None]
    if softmax == "channels":
        weights = jnp.where(cells, jax.nn.softmax(product, axis=-1), 0)
        count = jnp.maximum(mask.sum(axis=1), 1)[:, None]
    else:
        last = masked_softmax(jnp.moveaxis(product, 1, -1), mask[:, None, None])
        weights, count = jnp.moveaxis(last, -1, 1), 1
    answers = nnx.relu(weights * value.astype(jnp.float32))
    return answers.mean(axis=2).sum(axis=1) / count, weights


class HeadFusion(DenseOutput, nnx.Module):
    """Two parallel convolutions, four more, attention over the map, global pooling.

    conv1a 10x2 and conv1b 2x8 (bands x frames, 8 channels each, one row and one column
    fewer than their input) are joined on channels; 3x3 convolutions to 32, 48, 64 and
    80 follow, each with batch norm and ReLU, pooled 2x2 after the first two. On this
    map X, with W.. of kernel 1x1:

    `macnn`: four heads of 64 channels, `fuse_heads(W_q X, W_k X, W_v X)`, one dense
    layer. `acnn`: weights s = W_s X, logits mean(s (W_c X)) over the cells.

    With `sow_maps` a call sows `weights`: P [B, H, W, N, D], or s [B, H, W] of `acnn`,
    and of `macnn` as well `answers`: ReLU(P_n o V_n), shaped like P.

    Differs from the paper: means are over valid cells, so that padding does not count.
    Differs from its code: an utterance's score is the mean of its segments' posteriors,
    not logits.
    """

    def __init__(
        self, config, *, input_shapes: Shapes, num_classes: int, rngs: nnx.Rngs
    ):
        check_mode("head", config.head, HEADS)
        check_mode("softmax", config.softmax, SOFTMAXES)
        self.pools = tuple(tuple(p) for p in config.pools)
        if len(self.pools) != len(CHANNELS):
            raise ValueError(
                f"pools: expected {len(CHANNELS)} pairs (after the merge, conv2 ... "
                f"conv5), got {self.pools}"
            )
        frames, bands, channels = input_shapes["frames"]
        # Kernels of even size leave one row and one column less.
        pooled_shape((bands - 1, frames - 1), self.pools)
        self.dtype = jnp.dtype(config.dtype)
        common = {"dtype": self.dtype, "rngs": rngs}
        spec = functools.partial(ConvSpec, bn_momentum=config.bn_momentum)
        first, *widths = (scale_width(c, config.width) for c in CHANNELS)
        self.conv1a, self.conv1b = (
            ConvBlock(channels, first, spec(k, padding="floor"), **common)
            for k in ((10, 2), (2, 8))
        )
        ins = [2 * first, *widths[:-1]]
        self.convs = nnx.List(
            [
                ConvBlock(i, o, spec((3, 3), pool=p), **common)
                for i, o, p in zip(ins, widths, self.pools[1:], strict=True)
            ]
        )
        self.head, self.softmax, self.sow_maps = config.head, config.softmax, False
        if self.head == "acnn":
            self.attention = nnx.Linear(widths[-1], 1, **common)
            # The last row is the bias of W_c.
            self.dense = nnx.Linear(
                widths[-1] + 1, num_classes, use_bias=False, rngs=rngs
            )
        else:
            hidden = scale_width(config.hidden, config.width)
            triple = (3, config.heads, hidden)  # query, key and value of every head
            self.attention = nnx.LinearGeneral(widths[-1], triple, **common)
            self.dense = nnx.Linear(hidden, num_classes, rngs=rngs)

    def embed(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Embedding:
        """The map pooled into one vector."""
        x, mask = feature_map(batch, self.dtype)
        (tall, narrowed), (long, _) = self.conv1a(x, mask), self.conv1b(x, mask)
        x = jnp.concatenate([tall, long], axis=-1)
        x, mask = pool(x, narrowed, self.pools[0])
        for conv in self.convs:
            x, mask = conv(x, mask)
        shape = x.shape[:3]
        mask = jnp.broadcast_to(mask[:, None], shape).reshape(shape[0], -1)
        x = x.reshape(*mask.shape, -1)
        if self.head == "acnn":
            pooled, weights = self._weighted(x, mask)
        else:
            triple = jnp.moveaxis(self.attention(x), 2, 0)
            pooled, weights = fuse_heads(*triple, mask, softmax=self.softmax)
        if self.sow_maps:
            # Back to rows and columns, which `attention_maps` lays on the input.
            weights = weights.reshape(*shape, *weights.shape[2:])
            self.sow(nnx.Intermediate, "weights", weights)
            if self.head == "macnn":
                value = triple[2].reshape(weights.shape).astype(jnp.float32)
                self.sow(nnx.Intermediate, "answers", nnx.relu(weights * value))
        return pooled

    def _weighted(
        self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"]
    ) -> tuple[Float[Array, "B E"], Float[Array, "B L"]]:
        """ACNN: mean over valid cells of s x and of s (E = D + 1), and s; float32."""
        # W_c mean(s x) is mean(s (W_c x)), with K times fewer products.
        weights = self.attention(x)[..., 0].astype(jnp.float32)
        weights = jnp.where(mask, weights, 0)
        share = weights / jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
        mean = jnp.einsum("bl,bld->bd", share, x.astype(jnp.float32))
        return jnp.concatenate([mean, share.sum(axis=1, keepdims=True)], -1), weights

    def attention_maps(self, state: Mapping, batch: Batch) -> AttentionMaps:
        """`head 1` ...: P, or of `softmax="channels"` ReLU(P o V); of `acnn` `map`: |s|."""
        # P adds up to 1 over the channels of every cell, so it prefers none.
        name = "answers" if self.softmax == "channels" else "weights"
        if self.head == "acnn":
            (weights,) = attention_grid.read_sown(state, "weights")
            mass = jnp.abs(weights)[..., None]
        else:
            (weights,) = attention_grid.read_sown(state, name)
            mass = weights.mean(axis=-1)
        mass = attention_grid.normalize_mass(mass)
        strides = attention_grid.strides(self.pools)
        tiles = attention_grid.tiles(mass, batch["frames"], strides)
        names = [f"head {n + 1}" for n in range(mass.shape[3])]
        names = ["map"] if self.head == "acnn" else names
        return {
            name: attention_grid.AttentionMap(mass[..., n], *tiles)
            for n, name in enumerate(names)
        }
