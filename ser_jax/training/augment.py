"""Changes made to training windows on the device: mixup and SpecAugment masks."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray


def mixup(
    frames: Float[Array, "B T F C"],
    mask: Bool[Array, "B T"],
    targets: Float[Array, "B K"],
    *,
    alpha: float,
    key: PRNGKeyArray,
) -> tuple[Float[Array, "B T F C"], Bool[Array, "B T"], Float[Array, "B K"]]:
    """Mixes each example with another of the batch (Zhang et al. 2018, eq. 1).

    The share is Beta(alpha, alpha), one draw per example, folded to [0.5, 1] so that the
    example itself always dominates. A frame is real if it is real in either example.
    """
    share_key, order_key = jax.random.split(key)
    share = jax.random.beta(share_key, alpha, alpha, (len(frames),), jnp.float32)
    share = jnp.maximum(share, 1.0 - share)
    partner = jax.random.permutation(order_key, len(frames))
    s = share[:, None, None, None]
    mixed = s * frames + (1.0 - s) * frames[partner]
    targets = share[:, None] * targets + (1.0 - share[:, None]) * targets[partner]
    return mixed, mask | mask[partner], targets


def mask_stretch(
    frames: Float[Array, "B T F C"], *, axis: int, widest: int, key: PRNGKeyArray
) -> Float[Array, "B T F C"]:
    """Zeroes one random stretch of bands or frames per example (SpecAugment).

    Park et al. 2019, section 2: width uniform in 0 ... `widest`, place uniform. Zero is
    the mean of z-scored features.

    Args:
      frames: Normalised features.
      axis: 1 masks frames, 2 masks bands.
      widest: Largest width.
      key: Random key.
    """
    size = frames.shape[axis]
    width_key, place_key = jax.random.split(key)
    width = jax.random.randint(width_key, (len(frames), 1), 0, widest + 1)
    first = jax.random.uniform(place_key, (len(frames), 1)) * (size - width + 1)
    place = jnp.arange(size)
    hidden = (place >= first.astype(int)) & (place < first.astype(int) + width)
    shape = [len(frames), 1, 1, 1]
    shape[axis] = size
    return jnp.where(hidden.reshape(shape), 0.0, frames)
