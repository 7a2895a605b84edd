"""AFCN: a fully convolutional network on spectrograms, with attention and transfer.

Zhang, Du, Wang, Zhang, Tu: Attention Based Fully Convolutional Network for Speech
Emotion Recognition, APSIPA 2018 (arXiv 1806.01506).
"""

import jax.numpy as jnp
from flax import nnx

from ser_jax.layers import attention_grid, strided
from ser_jax.layers.alexnet import AlexNet
from ser_jax.layers.dense import DenseBlock, scale_width
from ser_jax.layers.dropout import Dropout
from ser_jax.layers.options import check_mode
from ser_jax.layers.pooling import AttentionPool
from ser_jax.layers.squeezenet import SqueezeNet
from ser_jax.models import pretrained
from ser_jax.models.model import AttentionMaps, Batch, DenseOutput, Embedding

TRUNKS = ("alexnet_original", "alexnet_torchvision", "squeezenet")
TRANSFERS = ("finetune", "frozen")


class Afcn(DenseOutput, nnx.Module):
    """A trunk made for pictures, attention over its last map, one dense layer.

    Every cell a_i of the last map (time and frequency) gets a score; the attended
    vector is the sum of the cells under it:

        e_i = u . tanh(W a_i + b),   alpha = softmax(0.3 e),   c = sum_i alpha_i a_i

    The map grows with the utterance; one too short for the trunk's strides (63 frames
    for torchvision's AlexNet) counts as padded with zeros up to that.

    With ImageNet weights the spectrogram is a grey picture, as `pretrained` says.

    Differs from the paper: its AlexNet, weights, spectrogram and W's size (here that of
    a_i, as in public versions) are not known; SqueezeNet 1.1, as accurate on ImageNet,
    is there because its weights can be installed. `hidden`, a dense layer before the
    output, and `dropout` are one public version's.
    """

    def __init__(self, config, *, input_shapes, num_classes, rngs: nnx.Rngs):
        check_mode("trunk", config.trunk, TRUNKS)
        check_mode("transfer", config.transfer, TRANSFERS)
        _, bands, channels = input_shapes["frames"]
        common = {"dtype": jnp.dtype(config.dtype), "rngs": rngs}
        self.trunk = _trunk(config, channels, **common)
        if bands < self.trunk.shortest:
            raise ValueError(
                f"trunk: expected at least {self.trunk.shortest} bands for "
                f"{config.trunk}, got {bands}; use another recipe"
            )
        if config.transfer == "frozen":
            pretrained.freeze(self.trunk)
        features = self.trunk.features
        self.attention = AttentionPool(
            features,
            hidden=scale_width(config.attention_hidden, config.width),
            activation="tanh",
            scale=config.attention_scale,
            **common,
        )
        self.hidden = nnx.data(None)
        if config.hidden:
            hidden = scale_width(config.hidden, config.width)
            self.hidden = DenseBlock(features, hidden, activation="relu", **common)
            features = hidden
        self.dropout = Dropout(config.dropout)
        self.dense = nnx.Linear(features, num_classes, rngs=rngs)

    def embed(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Embedding:
        """The attended vector c, or the hidden layer that reads it."""
        # The trunk zeroes the padding itself, up to its own shortest length.
        frames = jnp.swapaxes(batch["frames"], 1, 2)
        x, mask = self.trunk(frames, batch["frame_mask"])
        cells = jnp.broadcast_to(mask[:, None, :], x.shape[:3])
        cells = cells.reshape(x.shape[0], -1)
        x = self.attention(x.reshape(*cells.shape, -1), cells)
        x = x if self.hidden is None else self.hidden(x)
        return self.dropout(x.astype(jnp.float32), rngs=rngs)

    def attention_maps(self, state: nnx.State, batch: Batch) -> AttentionMaps:
        """`map`: a weight per cell of the trunk's last map; none with a scale of 0."""
        if self.attention.scale == 0:  # a mean prefers no cell
            return {}
        (weights,) = attention_grid.read_sown(state, "attention", "weights")
        rows = batch["frames"].shape[2]
        for layer in self.trunk.geometries:
            rows = layer.count(rows)
        mass = weights.reshape(weights.shape[0], rows, -1)
        first, stride = strided.placement(self.trunk.geometries)
        tiles = attention_grid.tiles(mass, batch["frames"], (stride, stride), first)
        return {"map": attention_grid.AttentionMap(mass, *tiles)}


def _trunk(config, channels: int, **common) -> pretrained.Trunk:
    """The trunk, with its ImageNet weights if the config names any."""
    if config.weights and config.width != 1:
        raise ValueError(f"width: expected 1 with weights, got {config.width}")
    if config.trunk == "squeezenet":
        trunk = SqueezeNet(channels, width=config.width, **common)
    else:
        size = config.trunk.removeprefix("alexnet_")
        trunk = AlexNet(channels, size=size, width=config.width, **common)
    if config.weights:
        pretrained.load(trunk, config.weights)
    return trunk
