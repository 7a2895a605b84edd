"""AFCN: a fully convolutional network on spectrograms, with attention and transfer.

Zhang, Du, Wang, Zhang, Tu: Attention Based Fully Convolutional Network for Speech
Emotion Recognition, APSIPA 2018 (arXiv 1806.01506).
"""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from ser_jax.layers import attention_grid, strided
from ser_jax.layers.alexnet import AlexNet
from ser_jax.layers.dense import DenseBlock, check_mode, scale_width
from ser_jax.layers.pooling import AttentionPool
from ser_jax.layers.squeezenet import SqueezeNet
from ser_jax.models import pretrained

TRUNKS = ("alexnet_original", "alexnet_torchvision", "squeezenet")
TRANSFERS = ("finetune", "frozen")


class Afcn(nnx.Module):
    """A trunk made for pictures, attention over its last map, one dense layer.

    Every cell a_i of the last map (time and frequency) gets a score; the attended
    vector is the sum of the cells under it:

        e_i = u . tanh(W a_i + b),   alpha = softmax(0.3 e),   c = sum_i alpha_i a_i

    Any number of frames will do: the map grows with the utterance, padding changes
    nothing, and an utterance too short for the trunk's strides (63 frames for
    torchvision's AlexNet) counts as padded with zeros up to that.

    With ImageNet weights the spectrogram is a grey picture: z-scored features
    (`data.normalize=fold`) have the mean 0 and deviation 1 that the weights' pictures
    had, and one channel stands for three equal ones.

    Differs from the paper: which AlexNet it took is not known, nor where its weights
    came from; SqueezeNet 1.1, as accurate as AlexNet on ImageNet, is there because its
    weights can be installed. The paper's spectrogram and W's size (here that of a_i, as
    public versions have it) are not known either. A dense layer before the output and
    dropout are one such version's (`hidden`, `dropout`).
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
            config: the `model` group; keys in configs/afcn.py.
            input_shapes: `frames`: T, F, C, of which T is not used.
            num_classes: K.
            rngs: stream `params`.

        Raises:
            ValueError: for an unknown mode, too few bands, or weights that are missing
                or do not fit.
        """
        check_mode("trunk", config.trunk, TRUNKS)
        check_mode("transfer", config.transfer, TRANSFERS)
        _, bands, channels = input_shapes["frames"]
        dtype = jnp.dtype(config.dtype)
        common = {"dtype": dtype, "rngs": rngs}
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
        self.dropout = nnx.Dropout(config.dropout)
        self.dense = nnx.Linear(features, num_classes, rngs=rngs)

    def embed(
        self, batch: Mapping[str, Array], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "B D"]:
        """The attended vector, which the output layer reads; float32.

        Args:
            batch: `frames` float32 [B, T, F, C], `frame_mask` bool [B, T].
            rngs: stream `dropout`, needed in training with dropout.
        """
        frames = jnp.swapaxes(batch["frames"], 1, 2)
        x, mask = self.trunk(frames, batch["frame_mask"])
        cells = jnp.broadcast_to(mask[:, None, :], x.shape[:3])
        x = self.attention(
            x.reshape(x.shape[0], -1, x.shape[-1]), cells.reshape(x.shape[0], -1)
        )
        x = x if self.hidden is None else self.hidden(x)
        return self.dropout(x.astype(jnp.float32), rngs=rngs)

    def classify(self, embedding: Float[Array, "B D"]) -> Float[Array, "B K"]:
        """Class logits, float32."""
        return self.dense(embedding)

    def attention_maps(
        self, state: Mapping, batch: Mapping[str, Array]
    ) -> attention_grid.AttentionMaps:
        """What was attended to, as `map`: a weight per cell of the trunk's last map.

        None with `attention_scale=0`, which is a mean.

        Args:
            state: what `nnx.capture(nnx.Intermediate)` received with `sow_maps` set.
            batch: the inputs it was received from.
        """
        if self.attention.scale == 0:
            return {}
        (weights,) = attention_grid.read_sown(state, "attention", "weights")
        _, frames, bands, _ = batch["frames"].shape
        rows = bands
        for layer in self.trunk.geometries:
            rows = layer.count(rows)
        mass = weights.reshape(weights.shape[0], rows, -1)
        first, stride = strided.placement(self.trunk.geometries)
        rows = attention_grid.edges(mass.shape[1], stride, bands, first)
        columns = attention_grid.edges(mass.shape[2], stride, frames, first)
        rows, columns = attention_grid.whole(rows, bands), attention_grid.whole(columns)
        return {"map": attention_grid.AttentionMap(mass, rows, columns)}

    def __call__(
        self, batch: Mapping[str, Array], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "B K"]:
        """Class logits of a batch (see `embed`)."""
        return self.classify(self.embed(batch, rngs=rngs))


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
