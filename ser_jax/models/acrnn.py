"""ACRNN: 3-D convolutions, a bidirectional LSTM and attention over time.

Chen, He, Yang, Zhang: 3-D Convolutional Recurrent Neural Networks with Attention Model
for Speech Emotion Recognition, IEEE Signal Processing Letters 25(10), 2018.
"""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers import attention_grid
from ser_jax.layers.conv_blocks import ConvBlock, ConvSpec, columns
from ser_jax.layers.dense import DenseBlock, scale_width
from ser_jax.layers.pooling import AttentionPool
from ser_jax.layers.recurrent import BiLSTM

KERNEL = (3, 5)  # bands x frames; the paper writes 5x3, time first
ATTENTIONS = ("linear", "sigmoid")


class ConvSteps(nnx.Module):
    """The six convolutions and the linear layer: one vector per time step.

    5x3 convolutions (time x frequency), 128 and then 256 channels, pooled after the
    first only; frequency x channels of a step go through one linear layer to 768.
    """

    def __init__(
        self, config, shape: tuple[int, int, int], *, dtype=jnp.float32, rngs: nnx.Rngs
    ):
        """Builds the layers.

        Args:
            config: `convs, pool, conv_norm, conv_activation, linear_norm,
                linear_activation, bn_momentum, width`; see configs/acrnn.py.
            shape: T, F, C of the input.
            dtype: of the computation; parameters are float32.
            rngs: stream `params`.

        Raises:
            ValueError: no convolution, no band left after pooling, an unknown mode.
        """
        bands, channels = shape[1:]
        rows = bands // config.pool[0]
        if config.convs < 1:
            raise ValueError(f"convs: expected 1 or more, got {config.convs}")
        if rows < 1 or shape[0] < config.pool[1]:
            raise ValueError(
                f"pool: expected at most {bands} bands and {shape[0]} frames, got "
                f"{tuple(config.pool)}; pool less or use longer windows"
            )
        first, rest, self.size = (scale_width(c, config.width) for c in (128, 256, 768))
        widths = [channels, first, *[rest] * (config.convs - 1)]
        specs = [
            ConvSpec(
                kernel=KERNEL,
                pool=(1, 1) if i else tuple(config.pool),
                norm=config.conv_norm,
                activation=config.conv_activation,
                bn_momentum=config.bn_momentum,
            )
            for i in range(config.convs)
        ]
        self.convs = nnx.List(
            [
                ConvBlock(i, o, spec, dtype=dtype, rngs=rngs)
                for i, o, spec in zip(widths[:-1], widths[1:], specs, strict=True)
            ]
        )
        self.linear = DenseBlock(
            rows * widths[-1],
            self.size,
            norm=config.linear_norm,
            activation=config.linear_activation,
            bn_momentum=config.bn_momentum,
            dtype=dtype,
            rngs=rngs,
        )
        self.stride = config.pool[1]  # frames under a step
        self.dtype = dtype

    def __call__(
        self, frames: Float[Array, "B T F C"], mask: Bool[Array, "B T"]
    ) -> tuple[Float[Array, "B S D"], Bool[Array, "B S"]]:
        """Returns the steps (T over the pooling) and which of them are valid.

        Args:
            frames: features; padded frames may hold anything.
            mask: True where a frame is valid.
        """
        x = jnp.where(mask[:, :, None, None], frames, 0)
        x = jnp.swapaxes(x, 1, 2).astype(self.dtype)
        for conv in self.convs:
            x, mask = conv(x, mask)
        return self.linear(columns(x), mask), mask


class Acrnn(nnx.Module):
    """`ConvSteps`, a BLSTM of 128 per direction, attention, a dense layer of 64.

    Where the paper is silent the authors' code decides: LeakyReLU (0.01) after the
    convolutions and the dense layer of 64, no batch norm between convolutions. The
    paper names batch norm for the layer of 64 only and calls the layer of 768 linear,
    so that has neither norm nor activation here (`code`: both).

    The preset `code` is the released network: pooling 2 (time) x 4 (frequency), batch
    norm and LeakyReLU after the linear layer, none in the layer of 64, and scores
    u * sigmoid(w . h + b) with one hidden unit instead of w . h.

    Differs from the paper: padded frames touch neither statistics, LSTM nor attention
    (the paper pads with zeros that count; `data.pad="before_norm"`). Differs from the
    code: batch norm has running statistics in evaluation, where the code always takes
    the batch's own, so that an answer does not depend on its company.
    """

    INPUTS = ("frames", "frame_mask")

    def __init__(
        self,
        config,
        *,
        input_shapes: Mapping[str, tuple[int, ...]],
        num_classes: int,
        rngs: nnx.Rngs,
    ):
        """Builds the network for one number of bands; any number of frames will do.

        Args:
            config: the `model` group; keys in configs/acrnn.py.
            input_shapes: `frames`: T, F, C.
            num_classes: K.
            rngs: stream `params`.

        Raises:
            ValueError: for an unknown mode or an input that pooling shrinks to nothing.
        """
        if config.attention not in ATTENTIONS:
            raise ValueError(
                f"attention: expected one of {ATTENTIONS}, got {config.attention!r}"
            )
        dtype = jnp.dtype(config.dtype)
        common = {"dtype": dtype, "rngs": rngs}
        cells, hidden = (scale_width(c, config.width) for c in (128, 64))
        self.steps = ConvSteps(config, input_shapes["frames"], **common)
        self.lstm = BiLSTM(self.steps.size, cells, **common)
        linear = config.attention == "linear"
        self.attention = AttentionPool(
            2 * cells,
            hidden=0 if linear else 1,
            activation="none" if linear else "sigmoid",
            **common,
        )
        self.hidden = DenseBlock(
            2 * cells,
            hidden,
            norm=config.hidden_norm,
            activation="leaky_relu",
            bn_momentum=config.bn_momentum,
            **common,
        )
        self.dropout = nnx.Dropout(config.dropout)
        self.dense = nnx.Linear(hidden, num_classes, rngs=rngs)

    def embed(
        self, batch: Mapping[str, Array], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "B D"]:
        """What the layer of 64 says, which the output layer reads; float32.

        Args:
            batch: `frames` float32 [B, T, F, C], `frame_mask` bool [B, T].
            rngs: stream `dropout`, needed in training with dropout.
        """
        steps, mask = self.steps(batch["frames"], batch["frame_mask"])
        outputs, _ = self.lstm(steps, mask)
        x = self.attention(outputs, mask)
        x = self.hidden(x, mask.any(axis=1)).astype(jnp.float32)
        return self.dropout(x, rngs=rngs)

    def classify(self, embedding: Float[Array, "B D"]) -> Float[Array, "B K"]:
        """Class logits, float32."""
        return self.dense(embedding)

    def attention_maps(
        self, state: Mapping, batch: Mapping[str, Array]
    ) -> attention_grid.AttentionMaps:
        """What was attended to, as `time`: one weight per pooled time step.

        Args:
            state: what `nnx.capture(nnx.Intermediate)` received with `sow_maps` set.
            batch: the inputs it was received from.
        """
        (weights,) = attention_grid.read_sown(state, "attention", "weights")
        shape = batch["frames"].shape
        return {"time": attention_grid.over_time(weights, shape, self.steps.stride)}

    def __call__(
        self, batch: Mapping[str, Array], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "B K"]:
        """Class logits of a batch (see `embed`)."""
        return self.classify(self.embed(batch, rngs=rngs))
