"""ADRNN: dilated convolutions with a residual block, BiLSTM, attention, center loss.

Meng, Yan, Yuan, Wei: Speech Emotion Recognition From 3D Log-Mel Spectrograms With Deep
Learning Network, IEEE Access 7, 2019, as re-run by the public code beside ADSRNN.
"""

import jax.numpy as jnp
from flax import nnx

from ser_jax.layers import attention_grid
from ser_jax.layers.conv_blocks import (
    ConvBlock,
    ConvSpec,
    DilatedResidualBlock,
    columns,
)
from ser_jax.layers.dense import DenseBlock, scale_width
from ser_jax.layers.dropout import Dropout
from ser_jax.layers.pooling import AttentionPool
from ser_jax.layers.recurrent import BiLSTM
from ser_jax.models.model import Batch, Embedding, TimeAttention, frame_map


class Adrnn(TimeAttention, nnx.Module):
    """One convolution, a dilated residual block, BiLSTM, attention over time, 64, K.

    At 40 x 300 x 3 (bands, frames, channels): 3x3 to 128, max-pool 2x4 -> 20 x 75;
    dilated 3x3 to 128, 128, 256 beside one dilated 3x3 to 256, added; per time step
    20 * 256 = 5120 -> 768; BiLSTM of 256; attention softmax_t(u . relu(W h_t + b));
    64 (the feature of center loss), K. 6,958,022 parameters for K = 4.

    Differs from the paper: its settings are not public, so these are the re-run's: the
    figure's BiLSTM (the code's has 128), and attention of one hidden unit whose sum is
    divided by the number of steps. Differs from the code: center loss in place of a
    squared error, padded frames count nowhere, one bias per LSTM (PyTorch: two).
    """

    def __init__(self, config, *, input_shapes, num_classes, rngs: nnx.Rngs):
        frames, bands, channels = input_shapes["frames"]
        rows, _ = attention_grid.pooled_shape((bands, frames), [config.pool], "pool")
        common = {"dtype": jnp.dtype(config.dtype), "rngs": rngs}
        first, *block, step, hidden = (
            scale_width(c, config.width) for c in (128, 128, 128, 256, 768, 64)
        )
        lstm = scale_width(config.lstm_features, config.width)
        spec = ConvSpec(
            (3, 3), tuple(config.pool), norm="none", activation="leaky_relu"
        )
        self.conv = ConvBlock(channels, first, spec, **common)
        norm = {"bn_momentum": config.bn_momentum, **common}
        self.block = DilatedResidualBlock(
            first, tuple(block), dilation=2, skip_activation="none", **norm
        )
        dense = {"norm": "batch", "order": "act_first", **norm}
        self.step = DenseBlock(rows * block[-1], step, **dense)
        self.lstm = BiLSTM(step, lstm, **common)
        self.attention = AttentionPool(
            2 * lstm,
            hidden=scale_width(config.attention_hidden, config.width),
            activation="relu",
            combine=config.attention_combine,
            **common,
        )
        self.hidden = DenseBlock(2 * lstm, hidden, **dense)
        self.dropout = Dropout(config.dropout)
        self.stride = config.pool[1]
        self.dense = nnx.Linear(hidden, num_classes, rngs=rngs)

    def embed(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Embedding:
        """The 64 features that center loss and the output layer read."""
        x, mask = self.block(*self.conv(*frame_map(batch)))
        x, _ = self.lstm(self.step(columns(x), mask), mask)
        # Dropout comes before the layer of 64: center loss needs whole features.
        x = self.dropout(self.attention(x, mask), rngs=rngs)
        return self.hidden(x, mask.any(axis=1)).astype(jnp.float32)
