"""AlexNet's convolutions as a `strided.Trunk`.

Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural
Networks, NeurIPS 2012, and the smaller "one weird trick" version (arXiv 1404.5997) that
torchvision trained.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers import strided
from ser_jax.layers.dense import scale_width
from ser_jax.layers.options import check_mode
from ser_jax.layers.strided import POOL, Geometry

# Channels of the five convolutions.
SIZES = {
    # Krizhevsky et al. 2012, figure 2: response norm after the first two.
    "original": (96, 256, 384, 384, 256),
    # arXiv 1404.5997, as torchvision has it: no response norm, a padded border.
    "torchvision": (64, 192, 384, 256, 256),
}
POOLED = (True, True, False, False, True)  # 3x3, stride 2


def response_norm(x: Float[Array, "B H W D"]) -> Float[Array, "B H W D"]:
    """Local response normalization over five neighboring channels (section 3.3).

    b_i = a_i / (2 + 1e-4 * sum over |j - i| <= 2 of a_j^2)^0.75; the sum is cut at the
    first and last channel.
    """
    reach, channels = 2, x.shape[-1]
    # float32: bfloat16 would lose the sum beside the 2.
    squares = jnp.square(x.astype(jnp.float32))
    squares = jnp.pad(squares, ((0, 0), (0, 0), (0, 0), (reach, reach)))
    total = sum(squares[..., i : i + channels] for i in range(2 * reach + 1))
    return (x * (2.0 + 1e-4 * total) ** -0.75).astype(x.dtype)


class AlexNet(strided.Trunk):
    """Five convolutions; the last map has D = `features` channels.

    With a width of 1 and three input channels `original` has 3,747,200 parameters and
    `torchvision` 2,469,696. A 200 x 300 map leaves as 5 x 8.

    Differs from the paper: kernels of `original` are not split into two groups (that
    was for two GPUs), its border is not padded, and kernels start as He et al. (2015).
    """

    def __init__(
        self,
        features_in: int,
        *,
        size: str = "torchvision",
        width: float = 1.0,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Makes the convolutions, with biases; `width` multiplies all channel counts."""
        check_mode("size", size, tuple(SIZES))
        self.original = size == "original"
        first = Geometry(11, 4, 0 if self.original else 2)
        self.kernels = (first, Geometry(5, 1, 2), *[Geometry(3, 1, 1)] * 3)
        outs = [scale_width(count, width) for count in SIZES[size]]
        layers = zip([features_in, *outs[:-1]], outs, self.kernels, strict=True)
        self.convs = nnx.List(
            strided.conv(*layer, dtype=dtype, rngs=rngs) for layer in layers
        )
        self.features = outs[-1]
        self.dtype = dtype

    @property
    def geometries(self) -> list[Geometry]:
        layers = []
        for kernel, pooled in zip(self.kernels, POOLED, strict=True):
            layers += [kernel, POOL] if pooled else [kernel]
        return layers

    def named_convs(self) -> dict[str, nnx.Conv]:
        """The convolutions: conv1 ... conv5."""
        return {f"conv{i + 1}": conv for i, conv in enumerate(self.convs)}

    def __call__(
        self, x: Float[Array, "B H W C"], mask: Bool[Array, "B W"]
    ) -> tuple[Float[Array, "B h w D"], Bool[Array, "B w"]]:
        x, lengths = strided.mask_and_pad(x, mask, self.shortest)
        x = x.astype(self.dtype)
        for number, conv in enumerate(self.convs):
            x, lengths = nnx.relu(conv(x)), self.kernels[number].count(lengths)
            if self.original and number < 2:
                x = response_norm(x)
            if POOLED[number]:
                x, lengths = strided.overlap_pool(x), POOL.count(lengths)
            # Biases fill the padding; the next layer must find zeros there again.
            columns = jnp.arange(x.shape[2]) < lengths[:, None]
            x = jnp.where(columns[:, None, :, None], x, 0)
        return x, columns
