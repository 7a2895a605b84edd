"""AlexNet's convolutions as a `strided.Trunk`.

Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural
Networks, NeurIPS 2012, and the smaller "one weird trick" version (arXiv 1404.5997) that
torchvision trained.
"""

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers import strided
from ser_jax.layers.dense import check_mode, scale_width
from ser_jax.layers.strided import POOL, Geometry


@dataclasses.dataclass(frozen=True)
class Stage:
    """A convolution, ReLU, then what follows it."""

    features: int
    geometry: Geometry
    response_norm: bool = False
    pool: bool = False  # 3x3, stride 2


SIZES = {
    # Krizhevsky et al. 2012, figure 2.
    "original": (
        Stage(96, Geometry(11, 4), response_norm=True, pool=True),
        Stage(256, Geometry(5, 1, 2), response_norm=True, pool=True),
        Stage(384, Geometry(3, 1, 1)),
        Stage(384, Geometry(3, 1, 1)),
        Stage(256, Geometry(3, 1, 1), pool=True),
    ),
    # arXiv 1404.5997, as torchvision has it: fewer channels, no response norm.
    "torchvision": (
        Stage(64, Geometry(11, 4, 2), pool=True),
        Stage(192, Geometry(5, 1, 2), pool=True),
        Stage(384, Geometry(3, 1, 1)),
        Stage(256, Geometry(3, 1, 1)),
        Stage(256, Geometry(3, 1, 1), pool=True),
    ),
}


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
        self.stages = SIZES[size]
        outs = [scale_width(stage.features, width) for stage in self.stages]
        layers = zip([features_in, *outs[:-1]], outs, self.stages, strict=True)
        self.convs = nnx.List(
            strided.conv(i, o, stage.geometry, dtype=dtype, rngs=rngs)
            for i, o, stage in layers
        )
        self.features = outs[-1]
        self.dtype = dtype

    @property
    def geometries(self) -> list[Geometry]:
        pairs = [(s.geometry, POOL) if s.pool else (s.geometry,) for s in self.stages]
        return [layer for pair in pairs for layer in pair]

    def named_convs(self) -> dict[str, nnx.Conv]:
        """The convolutions: conv1 ... conv5."""
        return {f"conv{i + 1}": conv for i, conv in enumerate(self.convs)}

    def __call__(
        self, x: Float[Array, "B H W C"], mask: Bool[Array, "B W"]
    ) -> tuple[Float[Array, "B h w D"], Bool[Array, "B w"]]:
        """Returns the last map and its valid columns."""
        x, lengths = strided.mask_and_pad(x, mask, self.shortest)
        x = x.astype(self.dtype)
        for conv, stage in zip(self.convs, self.stages, strict=True):
            x, lengths = nnx.relu(conv(x)), stage.geometry.count(lengths)
            x = response_norm(x) if stage.response_norm else x
            if stage.pool:
                x, lengths = strided.overlap_pool(x), POOL.count(lengths)
            # Biases fill the padding; the next layer must find zeros there again.
            columns = strided.columns_within(lengths, x.shape[2])
            x = jnp.where(columns[:, None, :, None], x, 0)
        return x, columns
