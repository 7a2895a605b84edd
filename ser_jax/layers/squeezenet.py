"""SqueezeNet 1.1 as a `strided.Trunk`.

Iandola et al.: SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB
model size, arXiv 1602.07360; version 1.1 of the authors' repository.
"""

import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers import strided
from ser_jax.layers.dense import scale_width
from ser_jax.layers.strided import POOL, Geometry

STEM = Geometry(3, 2)
# Name, squeeze channels, channels of each expand convolution, pooled before it.
FIRES = (
    ("fire2", 16, 64, True),
    ("fire3", 16, 64, False),
    ("fire4", 32, 128, True),
    ("fire5", 32, 128, False),
    ("fire6", 48, 192, True),
    ("fire7", 48, 192, False),
    ("fire8", 64, 256, False),
    ("fire9", 64, 256, False),
)


class Fire(nnx.Module):
    """1x1 squeeze, then 1x1 and 3x3 expand side by side, each with ReLU."""

    def __init__(self, features_in: int, squeeze: int, expand: int, **common):
        self.squeeze1x1 = strided.conv(features_in, squeeze, Geometry(1), **common)
        self.expand1x1 = strided.conv(squeeze, expand, Geometry(1), **common)
        self.expand3x3 = strided.conv(squeeze, expand, Geometry(3, 1, 1), **common)

    def __call__(
        self, x: Float[Array, "B H W C"], columns: Bool[Array, "B W"]
    ) -> Float[Array, "B H W D"]:
        """The new map, 0 outside the columns, of 2 * `expand` channels."""
        # Cleared in between as well: the 3x3 kernel reads across the border.
        keep = columns[:, None, :, None]
        x = jnp.where(keep, nnx.relu(self.squeeze1x1(x)), 0)
        parts = [nnx.relu(self.expand1x1(x)), nnx.relu(self.expand3x3(x))]
        return jnp.where(keep, jnp.concatenate(parts, axis=-1), 0)


class SqueezeNet(strided.Trunk):
    """A convolution and eight fire modules; the last map has D = `features` channels.

    With a width of 1 and three input channels 722,496 parameters, and 513,000 in the
    head of 1000 classes. A 200 x 300 map leaves as 11 x 17.

    Differs from the released network: no dropout before the head, and pools drop the
    odd row or column at the end, where Caffe and torchvision pool what is left of it.
    """

    geometries = (STEM, *(POOL for *_, pooled in FIRES if pooled))

    def __init__(
        self,
        features_in: int,
        *,
        width: float = 1.0,
        classes: int = 0,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        """As `AlexNet`; `classes`: size of the head that `logits` reads, 0 for none."""
        wide = functools.partial(scale_width, width=width)
        common = {"dtype": dtype, "rngs": rngs}
        self.conv1 = strided.conv(features_in, wide(64), STEM, **common)
        ins = [wide(64), *(2 * wide(expand) for _, _, expand, _ in FIRES)]
        self.fires = nnx.List(
            Fire(i, wide(squeeze), wide(expand), **common)
            for i, (_, squeeze, expand, _) in zip(ins[:-1], FIRES, strict=True)
        )
        self.features = ins[-1]
        self.head = nnx.data(None)
        if classes:
            self.head = strided.conv(self.features, classes, Geometry(1), **common)
        self.dtype = dtype

    def named_convs(self) -> dict[str, nnx.Conv]:
        """The convolutions: conv1, fire2/squeeze1x1 ... fire9/expand3x3, conv10."""
        named = {"conv1": self.conv1}
        for (name, *_), fire in zip(FIRES, self.fires, strict=True):
            for part in ("squeeze1x1", "expand1x1", "expand3x3"):
                named[f"{name}/{part}"] = getattr(fire, part)
        if self.head is not None:
            named["conv10"] = self.head
        return named

    def __call__(
        self, x: Float[Array, "B H W C"], mask: Bool[Array, "B W"]
    ) -> tuple[Float[Array, "B h w D"], Bool[Array, "B w"]]:
        x, lengths = strided.mask_and_pad(x, mask, self.shortest)
        x = nnx.relu(self.conv1(x.astype(self.dtype)))
        lengths = STEM.count(lengths)
        columns = jnp.arange(x.shape[2]) < lengths[:, None]
        for (*_, pool), fire in zip(FIRES, self.fires, strict=True):
            if pool:
                x, lengths = strided.overlap_pool(x), POOL.count(lengths)
                columns = jnp.arange(x.shape[2]) < lengths[:, None]
            x = fire(x, columns)
        return x, columns

    def logits(
        self, x: Float[Array, "B h w D"], mask: Bool[Array, "B w"]
    ) -> Float[Array, "B K"]:
        """Class scores of a last map: the head with ReLU, averaged over valid cells."""
        if self.head is None:
            raise ValueError("classes: expected at least 1 for logits, got 0")
        x = nnx.relu(self.head(x)).astype(jnp.float32)
        x = jnp.where(mask[:, None, :, None], x, 0)
        count = jnp.maximum(mask.sum(axis=1), 1)[:, None] * x.shape[1]
        return x.sum(axis=(1, 2)) / count
