"""ADSRNN: dilated convolutions and an attention-based sliding BiLSTM.

donghyun1234: Speech emotion recognition using dilated CNN and attention based sliding
LSTM with 3D log mel-spectrogram (public code and figures of a thesis).
"""

import jax.numpy as jnp
from flax import nnx

from ser_jax.layers import attention_grid
from ser_jax.layers.conv_blocks import (
    ConvBlock,
    ConvSpec,
    DilatedResidualBlock,
    columns,
    pool,
)
from ser_jax.layers.dense import scale_width
from ser_jax.layers.dropout import Dropout
from ser_jax.layers.options import check_mode
from ser_jax.layers.recurrent import SlidingBiLSTM
from ser_jax.layers.window_attention import (
    WindowAttention,
    WindowHeads,
    combination_weights,
    combine_logits,
)
from ser_jax.models.model import (
    AttentionMaps,
    Batch,
    DenseOutput,
    Embedding,
    Logits,
    Steps,
    frame_map,
)

TRAIN_LOGITS = ("log", "probability")


class Adsrnn(DenseOutput, nnx.Module):
    """Dilated convolutions, sliding BiLSTM with carried state, attention per window.

    At 40 x 300 x 3 (bands, frames, channels): 3x3 to 128 twice, max-pool 2x1; three
    dilated 3x3 of 128 beside one, added; per time step 20 * 128 = 2560; ten windows of
    30 steps through one BiLSTM of 256, whose state at a window's end starts the next
    one (each direction its own, so that neither depends on a later window); the mean
    over a window's steps O_m; `WindowAttention`; per window 512 -> K and a softmax;
    their sum. 9,153,704 parameters for K = 4.

    Differs from the source's figures: the sum is divided by the number of windows, so
    that it is a distribution; padded frames and windows of padding are left out; one
    bias per LSTM (PyTorch: two). Differs from its code: the recurrence runs over time
    (there over the batch), frames stay in order when bands and channels are joined,
    windows 8 and 9 have their own W, dropout is off in evaluation. The code's other
    choices are `block_features`, `combination="cascade"`, `conv_dropout` and
    `train_logits="probability"`.
    """

    def __init__(self, config, *, input_shapes, num_classes, rngs: nnx.Rngs):
        """See `Model`; another number of frames later on is a ValueError."""
        check_mode("train_logits", config.train_logits, TRAIN_LOGITS)
        self.frames, _, channels = input_shapes["frames"]
        windows, rows = _windows(config, input_shapes["frames"])
        first, cells = (scale_width(c, config.width) for c in (128, 256))
        block = tuple(scale_width(c, config.width) for c in config.block_features)
        common = {"dtype": jnp.dtype(config.dtype), "rngs": rngs}
        spec = ConvSpec((3, 3), norm="none", activation="leaky_relu")
        self.conv1 = ConvBlock(channels, first, spec, **common)
        self.conv2 = ConvBlock(first, first, spec, **common)
        self.pools = tuple(tuple(p) for p in config.pools)
        self.dropout = Dropout(config.conv_dropout, "conv_dropout")
        self.block = DilatedResidualBlock(
            first,
            block,
            skip_activation="leaky_relu",
            bn_momentum=config.bn_momentum,
            **common,
        )
        size = config.window_steps
        self.sliding = SlidingBiLSTM(
            rows * block[-1], cells, size=size, step=size, carry=True, **common
        )
        self.attention = WindowAttention(
            2 * cells, windows, sharing=config.attention, **common
        )
        self.heads = WindowHeads(
            2 * cells, num_classes, windows, sharing=config.heads, rngs=rngs
        )
        self.shares = combination_weights(windows, config.combination)
        self.train_logits = config.train_logits
        self.deterministic = False  # train() and eval() set it, as in nnx.Dropout

    def windows(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Steps:
        """O_1 ... O_M, and which windows hold a valid step."""
        x, mask = frame_map(batch)
        if mask.shape[1] != self.frames:
            raise ValueError(
                f"frames: expected {self.frames}, the number the windows were built "
                f"for, got {mask.shape[1]}"
            )
        x, mask = pool(*self.conv1(x, mask), self.pools[0])
        x, mask = self.conv2(x, mask)
        x, mask = pool(self.dropout(x, rngs=rngs), mask, self.pools[1])
        x, mask = self.block(x, mask)
        x, _, steps = self.sliding(columns(x), mask)
        # `sliding` returns 0 in the padding, so the sum is over valid steps.
        count = jnp.maximum(steps.sum(axis=2), 1)[..., None].astype(x.dtype)
        return x.sum(axis=2) / count, steps.any(axis=2)

    def embed(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Embedding:
        """Out_1 ... Out_M (0 for a window of padding alone), then the mask as 0 and 1."""
        x, mask = self.windows(batch, rngs=rngs)
        x = self.attention(x, mask).astype(jnp.float32)
        flat = x.reshape(x.shape[0], -1)
        return jnp.concatenate([flat, mask.astype(jnp.float32)], axis=1)

    def classify(self, embedding: Embedding) -> Logits:
        """Logarithms of the combined posteriors.

        In training with `train_logits="probability"` the posteriors themselves.
        """
        count = self.heads.windows
        # The last columns are the mask.
        x = embedding[:, :-count].reshape(embedding.shape[0], count, -1)
        logits = combine_logits(self.heads(x), embedding[:, -count:] > 0.5, self.shares)
        if self.train_logits == "probability" and not self.deterministic:
            return jnp.exp(logits)
        return logits

    def attention_maps(self, state: nnx.State, batch: Batch) -> AttentionMaps:
        """`time`: one weight per window."""
        (weights,) = attention_grid.read_sown(state, "attention", "attention")
        valid = weights.sum(axis=2)  # 1, or 0 for a window of padding
        # Output m attends over windows 1 to m: averaged by its share in the combination.
        shares = attention_grid.normalize_mass(valid * jnp.array(self.shares))
        mass = jnp.einsum("bm,bmn->bn", shares, weights)
        stride = self.sliding.size * attention_grid.strides(self.pools)[1]
        return attention_grid.over_time(mass, batch["frames"], stride)


def _windows(config, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Number of windows, and rows (bands) of the pooled map."""
    frames, bands, _ = shape
    if len(config.pools) != 2:
        raise ValueError(
            f"pools: expected 2 entries (after conv1 and conv2), got {config.pools}"
        )
    rows, _ = attention_grid.pooled_shape((bands, frames), config.pools)
    size = config.window_steps * attention_grid.strides(config.pools)[1]
    if frames < size or frames % size:
        raise ValueError(
            f"window_steps: expected frames in whole windows of {size} (window_steps x "
            f"pooled frames), got {frames}; segment.window_s=3.015 gives 300 frames of "
            "25/10 ms"
        )
    return frames // size, rows
