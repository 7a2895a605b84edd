"""ASRNN: convolutions, a sliding BiLSTM, and a recurrence and attention over windows.

Peng, Li, Zhu, Unoki, Dang, Akagi: Speech Emotion Recognition Using 3D Convolutions and
Attention-Based Sliding Recurrent Networks With Auditory Front-Ends, IEEE Access 8,
2020, in the form that the public code beside ADSRNN gives it for 3-D log-mels.
"""

import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers import attention_grid
from ser_jax.layers.conv_blocks import ConvBlock, ConvSpec, columns, pool_mask
from ser_jax.layers.dense import DenseBlock, batch_norm, normalize, scale_width
from ser_jax.layers.dropout import Dropout
from ser_jax.layers.options import check_mode
from ser_jax.layers.pooling import AttentionPool
from ser_jax.layers.recurrent import LSTM, SlidingBiLSTM
from ser_jax.models.model import AttentionMaps, Batch, DenseOutput, Embedding, frame_map

SUMMARIES = ("final", "last_step")


class Asrnn(DenseOutput, nnx.Module):
    """Three convolutions, BiLSTM per window, LSTM beside attention over windows, 64, K.

    At 40 x 300 x 3 (bands, frames, channels): 3x3 to 64, max-pool 2x2 -> 20 x 150; 3x3
    to 128 twice; batch norm (no scale, no bias) and ReLU end each of the three; per
    time step 20 * 128 = 2560 -> 768; 29 windows of 10 steps every 5; BiLSTM of 128
    -> 29 x 256; the last state of an LSTM of 256 over the windows beside attention
    over them -> 512; 64; K. 3,668,934 parameters for K = 4.

    Differs from the paper: its front end (gammachirp and modulation filter banks, 3-D
    convolutions) is replaced by 3-D log-mels, as in the re-run. Differs from the code:
    window i starts at step 5i (there at i); a window's vector is each direction's final
    state and attention sums (the code: `window_summary="last_step"` and
    `attention_combine="mean"`); padded frames count nowhere; one bias per LSTM.
    """

    def __init__(self, config, *, input_shapes, num_classes, rngs: nnx.Rngs):
        check_mode("window_summary", config.window_summary, SUMMARIES)
        if not 1 <= config.window_step <= config.window_size:
            raise ValueError(
                f"window_step: expected 1 to {config.window_size} (window_size), got "
                f"{config.window_step}"
            )
        frames, bands, channels = input_shapes["frames"]
        rows, _ = attention_grid.pooled_shape((bands, frames), [config.pool], "pool")
        # Steps at a window's start that the window before holds as well.
        self.fresh = config.window_size - config.window_step
        self.summary = config.window_summary
        first, conv, step, lstm, windows, hidden = (
            scale_width(c, config.width) for c in (64, 128, 768, 128, 256, 64)
        )
        common = {"dtype": jnp.dtype(config.dtype), "rngs": rngs}
        norm = {"bn_momentum": config.bn_momentum}
        dense = {"norm": "batch", "order": "act_first", **norm, **common}
        # The first norm follows the pooling, where a ConvBlock has it before.
        pooled = ConvSpec((3, 3), tuple(config.pool), norm="none", activation="none")
        self.conv1 = ConvBlock(channels, first, pooled, **common)
        self.norm1 = batch_norm("plain", first, config.bn_momentum, rngs)
        spec = ConvSpec((3, 3), norm="plain", **norm)
        self.conv2 = ConvBlock(first, conv, spec, **common)
        self.conv3 = ConvBlock(conv, conv, spec, **common)
        self.step = DenseBlock(rows * conv, step, **dense)
        size = {"size": config.window_size, "step": config.window_step}
        self.sliding = SlidingBiLSTM(step, lstm, carry=False, **size, **common)
        self.lstm = LSTM(2 * lstm, windows, **common)
        self.attention = AttentionPool(
            2 * lstm,
            hidden=scale_width(config.attention_hidden, config.width),
            activation="relu",
            combine=config.attention_combine,
            **common,
        )
        self.hidden = DenseBlock(2 * lstm + windows, hidden, **dense)
        self.dropout = Dropout(config.dropout)
        self.dense = nnx.Linear(hidden, num_classes, rngs=rngs)

    def steps(self, batch: Batch) -> tuple[Float[Array, "B W D"], Bool[Array, "B W"]]:
        """One vector per pooled time step, and which of them are valid."""
        x, mask = self.conv1(*frame_map(batch))
        cells = mask[:, None, :]
        x = nnx.relu(normalize(self.norm1, x, cells))
        x = jnp.where(cells[..., None], x, 0)
        x, mask = self.conv3(*self.conv2(x, mask))
        return self.step(columns(x), mask), mask

    def windows(
        self, x: Float[Array, "B W D"], mask: Bool[Array, "B W"]
    ) -> tuple[Float[Array, "B M H"], Bool[Array, "B M"]]:
        """One vector per window of `window_size` steps, and which windows are valid."""
        outputs, last, steps = self.sliding(x, mask)
        # Valid windows hold a valid step that the one before does not, so their number
        # does not depend on the padding; the first has none before it.
        valid = steps[:, :, self.fresh :].any(axis=-1)
        valid = valid.at[:, 0].set(steps[:, 0].any(axis=-1))
        if self.summary == "last_step":
            at = jnp.maximum(steps.sum(axis=-1) - 1, 0)[:, :, None, None]
            last = jnp.take_along_axis(outputs, at, axis=2)[:, :, 0]
        return last, valid

    def embed(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Embedding:
        """The output of the layer of 64."""
        x, mask = self.windows(*self.steps(batch))
        _, state = self.lstm(x, mask)
        attended = self.attention(x, mask)
        x = jnp.concatenate([attended, state.astype(attended.dtype)], axis=-1)
        x = self.hidden(x, mask.any(axis=1))
        return self.dropout(x.astype(jnp.float32), rngs=rngs)

    def attention_maps(self, state: nnx.State, batch: Batch) -> AttentionMaps:
        """`time`: a window's weight is shared among its valid steps."""
        (weights,) = attention_grid.read_sown(state, "attention", "weights")
        pool, sliding = self.conv1.spec.pool[1], self.sliding
        mask = pool_mask(batch["frame_mask"], pool)
        mass = attention_grid.spread(weights, mask, sliding.size, sliding.step)
        # The longest cell of which windows and their distances are whole multiples.
        cell = math.gcd(sliding.size, sliding.step)
        mass = attention_grid.sum_groups(mass, cell)
        return attention_grid.over_time(mass, batch["frames"], pool * cell)
