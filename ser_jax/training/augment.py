"""Changes made to training batches on the device: mixup and SpecAugment masks."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray


def augment(batch: dict, config, key: PRNGKeyArray) -> dict:
    """Hides stretches of bands and frames, then mixes examples, by `config.augment`.

    `frames` (normalised), `frame_mask` and `targets` of the batch change.
    """
    frames = batch["frames"]
    # Split whatever is switched on: each draw stays the same beside the others.
    mixup_key, band_key, time_key = jax.random.split(key, 3)
    if widest := config.freq_mask_bands:
        frames = mask_stretch(frames, axis=2, widest=widest, key=band_key)
    if widest := config.time_mask_frames:
        frames = mask_stretch(frames, axis=1, widest=widest, key=time_key)
    mask, targets = batch["frame_mask"], batch["targets"]
    if alpha := config.mixup_alpha:
        frames, mask, targets = mixup(frames, mask, targets, alpha=alpha, key=mixup_key)
    return batch | {"frames": frames, "frame_mask": mask, "targets": targets}


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

    Park et al. 2019, section 2: width uniform in 0 ... `widest`, position uniform; axis
    1 masks frames, 2 masks bands. Zero is the mean of z-scored features.
    """
    size = frames.shape[axis]
    width_key, first_key = jax.random.split(key)
    width = jax.random.randint(width_key, (len(frames), 1), 0, widest + 1)
    first = jax.random.uniform(first_key, (len(frames), 1)) * (size - width + 1)
    first = first.astype(int)
    # A mask instead of slices: widths differ from example to example.
    position = jnp.arange(size)
    hidden = (position >= first) & (position < first + width)
    shape = [len(frames), 1, 1, 1]
    shape[axis] = size
    return jnp.where(hidden.reshape(shape), 0.0, frames)
