"""Dense layers and batch normalization on rows some of which are padding."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers.options import check_mode

NORMS = ("batch", "plain", "none")
ACTIVATIONS = ("relu", "leaky_relu", "none")


def activate(x: Array, name: str) -> Array:
    """Applies `relu`, `leaky_relu` (slope 0.01) or `none`."""
    if name == "relu":
        return nnx.relu(x)
    return nnx.leaky_relu(x, 0.01) if name == "leaky_relu" else x


def batch_norm(kind: str, features: int, momentum: float, rngs: nnx.Rngs):
    """Makes the layer for `normalize`: `batch`, `plain` (no scale, no bias) or `none`."""
    if kind == "none":
        return nnx.data(None)
    affine = kind == "batch"
    return nnx.BatchNorm(
        features,
        momentum=momentum,
        use_scale=affine,
        use_bias=affine,
        # Running statistics in bfloat16 lose the small differences they are made of.
        dtype=jnp.float32,
        rngs=rngs,
    )


def normalize(norm: nnx.BatchNorm | None, x: Array, mask: Array | None) -> Array:
    """Batch norm whose statistics count the rows (or cells) where mask is True.

    The mask broadcasts against x without its last axis, the features; results outside
    it mean nothing. `norm` is what `batch_norm` made.
    """
    if norm is None:
        return x
    if mask is not None:
        # Without a valid row all count: the statistics of nothing would be 0/0.
        mask = (mask | ~mask.any())[..., None]
    return norm(x, mask=mask).astype(x.dtype)


class DenseBlock(nnx.Module):
    """A linear layer (with bias) with batch norm and activation, in either order."""

    def __init__(
        self,
        features_in: int,
        features_out: int,
        *,
        norm: str = "none",
        activation: str = "leaky_relu",
        order: str = "norm_first",
        bn_momentum: float = 0.9,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Makes the layers; `norm` and `activation` as in `batch_norm` and `activate`.

        `order` is `norm_first` or `act_first`; `bn_momentum` in [0, 1) is the share of
        the old running statistics kept at a step.
        """
        check_mode("norm", norm, NORMS)
        check_mode("activation", activation, ACTIVATIONS)
        check_mode("order", order, ("norm_first", "act_first"))
        self.linear = nnx.Linear(features_in, features_out, dtype=dtype, rngs=rngs)
        self.norm = batch_norm(norm, features_out, bn_momentum, rngs)
        self.activation, self.order = activation, order

    def __call__(
        self, x: Float[Array, "*B C"], mask: Bool[Array, "*B"] | None = None
    ) -> Float[Array, "*B D"]:
        """Returns the new features; `mask=None`: all rows are valid."""
        x = self.linear(x)
        if self.order == "norm_first":
            x = activate(normalize(self.norm, x, mask), self.activation)
        else:
            x = normalize(self.norm, activate(x, self.activation), mask)
        return x if mask is None else jnp.where(mask[..., None], x, 0)


def scale_width(count: int, width: float) -> int:
    """Channels of a layer when a system is shrunk evenly (`model.width`); at least 1."""
    return max(1, round(count * width))
