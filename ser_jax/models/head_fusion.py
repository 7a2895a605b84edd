"""Head fusion: a small convolutional network under fused attention heads.

Xu, Zhang, Khan: Improve Accuracy of Speech Emotion Recognition with Attention Head
Fusion, CCWC 2020; Xu, Zhang, Zhang: Head Fusion, IEEE Access 9, 2021. Sizes and the
names ACNN and MACNN are those of the released code.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers import attention_grid
from ser_jax.layers.dense import scale_width
from ser_jax.layers.options import check_mode
from ser_jax.layers.pooling import masked_softmax
from ser_jax.models.area_attn import ParallelConvs
from ser_jax.models.model import AttentionMaps, Batch, Embedding

HEADS = ("macnn", "acnn")
SOFTMAXES = ("channels", "positions")


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
        query, key, value: of L cells and N heads.
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


class HeadFusion(ParallelConvs, nnx.Module):
    """`ParallelConvs`, joined on channels, attention over the map, global pooling.

    On the map X, with W.. of kernel 1x1:

    `macnn`: four heads of 64 channels, `fuse_heads(W_q X, W_k X, W_v X)`, one dense
    layer. `acnn`: weights s = W_s X, logits mean(s (W_c X)) over the cells.

    With `sow_maps` a call sows `weights`: P [B, H, W, N, D], or s [B, H, W] of `acnn`,
    and of `macnn` as well `answers`: ReLU(P_n o V_n), shaped like P.

    Differs from the paper: means are over valid cells, so that padding does not count.
    Differs from its code: an utterance's score is the mean of its segments' posteriors,
    not logits.
    """

    CHANNELS = (8, 32, 48, 64, 80)

    def __init__(self, config, *, input_shapes, num_classes, rngs: nnx.Rngs):
        check_mode("head", config.head, HEADS)
        check_mode("softmax", config.softmax, SOFTMAXES)
        features = self.make_convs(
            config, input_shapes["frames"], merge="channel", padding="floor", rngs=rngs
        )
        common = {"dtype": self.dtype, "rngs": rngs}
        self.head, self.softmax, self.sow_maps = config.head, config.softmax, False
        if self.head == "acnn":
            self.attention = nnx.Linear(features, 1, **common)
            # The last row is the bias of W_c.
            self.dense = nnx.Linear(
                features + 1, num_classes, use_bias=False, rngs=rngs
            )
        else:
            hidden = scale_width(config.hidden, config.width)
            triple = (3, config.heads, hidden)  # query, key and value of every head
            self.attention = nnx.LinearGeneral(features, triple, **common)
            self.dense = nnx.Linear(hidden, num_classes, rngs=rngs)

    def embed(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Embedding:
        """The map pooled into one vector."""
        x, mask = self.conv_map(batch)
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

    def attention_maps(self, state: nnx.State, batch: Batch) -> AttentionMaps:
        """`head 1` ...: P, or of `softmax="channels"` ReLU(P o V); of `acnn` `map`: |s|."""
        if self.head == "acnn":
            (weights,) = attention_grid.read_sown(state, "weights")
            mass, names = jnp.abs(weights)[..., None], ["map"]
        else:
            # P adds up to 1 over the channels of every cell, so it prefers none.
            sown = "answers" if self.softmax == "channels" else "weights"
            (weights,) = attention_grid.read_sown(state, sown)
            mass = weights.mean(axis=-1)
            names = [f"head {n + 1}" for n in range(mass.shape[3])]
        mass = attention_grid.normalize_mass(mass)
        strides = attention_grid.strides(self.pools)
        tiles = attention_grid.tiles(mass, batch["frames"], strides)
        return {
            name: attention_grid.AttentionMap(mass[..., n], *tiles)
            for n, name in enumerate(names)
        }
