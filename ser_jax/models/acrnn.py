"""ACRNN: 3-D convolutions, a bidirectional LSTM and attention over time.

Chen, He, Yang, Zhang: 3-D Convolutional Recurrent Neural Networks with Attention Model
for Speech Emotion Recognition, IEEE Signal Processing Letters 25(10), 2018.
"""

import jax.numpy as jnp
from flax import nnx

from ser_jax.layers import attention_grid
from ser_jax.layers.conv_blocks import ConvBlock, ConvSpec, columns
from ser_jax.layers.dense import DenseBlock, scale_width
from ser_jax.layers.dropout import Dropout
from ser_jax.layers.options import check_mode
from ser_jax.layers.pooling import AttentionPool
from ser_jax.layers.recurrent import BiLSTM
from ser_jax.models.model import Batch, Embedding, Steps, TimeAttention, frame_map

KERNEL = (3, 5)  # bands x frames; the paper writes 5x3, time first
ATTENTIONS = {  # of `AttentionPool`
    "linear": {"hidden": 0, "activation": "none"},
    "sigmoid": {"hidden": 1, "activation": "sigmoid"},
}


class ConvSteps(nnx.Module):
    """One vector of 768 features per time step, for inputs of shape (T, F, C).

    5x3 convolutions (time x frequency), 128 and then 256 channels, pooled after the
    first only; frequency x channels of a step go through one linear layer.
    """

    def __init__(self, config, shape: tuple[int, int, int], *, rngs: nnx.Rngs):
        frames, bands, channels = shape
        rows, _ = attention_grid.pooled_shape((bands, frames), [config.pool], "pool")
        if config.convs < 1:
            raise ValueError(f"convs: expected 1 or more, got {config.convs}")
        common = {"dtype": jnp.dtype(config.dtype), "rngs": rngs}
        first, rest, self.size = (scale_width(c, config.width) for c in (128, 256, 768))
        widths = [channels, first, *[rest] * (config.convs - 1)]
        self.convs = nnx.List([])
        for i in range(config.convs):
            spec = ConvSpec(
                kernel=KERNEL,
                pool=(1, 1) if i else tuple(config.pool),
                norm=config.conv_norm,
                activation=config.conv_activation,
                bn_momentum=config.bn_momentum,
            )
            self.convs.append(ConvBlock(widths[i], widths[i + 1], spec, **common))
        self.linear = DenseBlock(
            rows * widths[-1],
            self.size,
            norm=config.linear_norm,
            activation=config.linear_activation,
            bn_momentum=config.bn_momentum,
            **common,
        )

    def __call__(self, batch: Batch) -> Steps:
        """The steps (T over the pooling), and which of them are valid."""
        x, mask = frame_map(batch)
        for conv in self.convs:
            x, mask = conv(x, mask)
        return self.linear(columns(x), mask), mask


class Acrnn(TimeAttention, nnx.Module):
    """`ConvSteps`, a BLSTM of 128 per direction, attention, a dense layer of 64.

    Where the paper is silent the authors' code decides: LeakyReLU (0.01) after the
    convolutions and the layer of 64. The paper names batch norm for that layer only,
    and calls the layer of 768 linear. The preset `code` is the released network:
    pooling 2 (time) x 4 (frequency), batch norm and LeakyReLU after the layer of 768,
    no norm in that of 64, and scores u * sigmoid(w . h + b) with one hidden unit
    instead of w . h.

    Differs from the paper: padded frames touch neither statistics, LSTM nor attention
    (the paper pads with zeros that count; `data.pad="before_norm"`). Differs from the
    code: evaluation uses running statistics, not those of the test batch.
    """

    def __init__(self, config, *, input_shapes, num_classes, rngs: nnx.Rngs):
        check_mode("attention", config.attention, tuple(ATTENTIONS))
        common = {"dtype": jnp.dtype(config.dtype), "rngs": rngs}
        cells, hidden = (scale_width(c, config.width) for c in (128, 64))
        self.steps = ConvSteps(config, input_shapes["frames"], rngs=rngs)
        self.lstm = BiLSTM(self.steps.size, cells, **common)
        scores = ATTENTIONS[config.attention]
        self.attention = AttentionPool(2 * cells, **scores, **common)
        self.hidden = DenseBlock(
            2 * cells,
            hidden,
            norm=config.hidden_norm,
            activation="leaky_relu",
            bn_momentum=config.bn_momentum,
            **common,
        )
        self.dropout = Dropout(config.dropout)
        self.stride = config.pool[1]
        self.dense = nnx.Linear(hidden, num_classes, rngs=rngs)

    def embed(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Embedding:
        """The output of the layer of 64."""
        steps, mask = self.steps(batch)
        outputs, _ = self.lstm(steps, mask)
        x = self.attention(outputs, mask)
        # The mask keeps examples of padding alone out of the layer's batch norm.
        x = self.hidden(x, mask.any(axis=1)).astype(jnp.float32)
        return self.dropout(x, rngs=rngs)
