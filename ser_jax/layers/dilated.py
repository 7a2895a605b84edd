"""Dilated convolutions with a residual connection."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers.conv_blocks import ConvBlock, ConvSpec


class DilatedResidualBlock(nnx.Module):
    """3x3 dilated convolutions in a row, plus one beside them.

        out = f_n(... f_1(x)) + g(x)

    where every f_i is conv -> batch norm -> LeakyReLU (slope 0.01), and g is one
    convolution of the same kind to the same channels, with or without the activation.
    Source: Meng et al., Speech Emotion Recognition From 3D Log-Mel Spectrograms With
    Deep Learning Network (ADRNN), IEEE Access 7, 2019.

    Differs from the paper: its figures were not available; layers and channels follow
    the public re-implementations of ADRNN and ADSRNN.

    Example:
        block = DilatedResidualBlock(
            128, (128, 128, 256), skip_activation="none", rngs=nnx.Rngs(0)
        )
        x, mask = block(x, mask)  # [B, 20, 75, 128] -> [B, 20, 75, 256]
    """

    def __init__(
        self,
        features_in: int,
        features: tuple[int, ...],
        *,
        dilation: int = 2,
        skip_activation: str,
        bn_momentum: float = 0.9,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Makes the convolutions (with bias) and their batch norms.

        Args:
            features_in: channels that come in.
            features: channels of the convolutions in a row; the last leave.
            dilation, bn_momentum: as in `ConvSpec`.
            skip_activation: of the convolution beside them, as in `ConvSpec`.
            dtype: of the computation.
            rngs: stream `params`.
        """

        def block(ins: int, outs: int, activation: str) -> ConvBlock:
            spec = ConvSpec(
                kernel=(3, 3),
                dilation=dilation,
                activation=activation,
                bn_momentum=bn_momentum,
            )
            return ConvBlock(ins, outs, spec, dtype=dtype, rngs=rngs)

        ins = (features_in, *features[:-1])
        self.convs = nnx.List(
            [block(i, o, "leaky_relu") for i, o in zip(ins, features, strict=True)]
        )
        self.skip = block(features_in, features[-1], skip_activation)

    def __call__(
        self, x: Float[Array, "B H W C"], mask: Bool[Array, "B W"]
    ) -> tuple[Float[Array, "B H W D"], Bool[Array, "B W"]]:
        """Returns the new map and the mask as it was; invalid columns of x must be 0."""
        y = x
        for conv in self.convs:
            y, _ = conv(y, mask)
        return y + self.skip(x, mask)[0], mask
