"""Center loss: features of a class are drawn to the class's moving center.

Wen, Zhang, Li, Qiao: A Discriminative Feature Learning Approach for Deep Face
Recognition, ECCV 2016. Beside the cross-entropy stands lambda * sum_i `center_loss`_i;
after every step the centers move by `update_centers`, which no gradient reaches.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def center_loss(
    features: Float[Array, "B D"], label: Int[Array, " B"], centers: Float[Array, "K D"]
) -> Float[Array, " B"]:
    """Half the squared distance to the own class's center: 0.5 ||f_i - c_(y_i)||^2.

    One float32 loss per example, whose gradient reaches the features f only.
    """
    own = jax.lax.stop_gradient(centers)[label].astype(jnp.float32)
    return 0.5 * jnp.square(features.astype(jnp.float32) - own).sum(axis=-1)


def update_centers(
    centers: Float[Array, "K D"],
    features: Float[Array, "B D"],
    label: Int[Array, " B"],
    weight: Float[Array, " B"],
    rate: float | Float[Array, ""],
) -> Float[Array, "K D"]:
    """Moves every center towards its members: c <- c - rate * mean(c - f).

    `weight` is an example's share in the mean, 0 for padding; `rate` is alpha, in
    [0, 1]. A class without members of positive weight keeps its center.

    Differs from the paper: the mean is over the n members of the class; the paper
    divides their sum by 1 + n.
    """
    features = jax.lax.stop_gradient(features).astype(centers.dtype)
    one_hot = jax.nn.one_hot(label, centers.shape[0], dtype=centers.dtype)
    share = one_hot * weight[:, None].astype(centers.dtype)
    members = share.sum(axis=0)[:, None]
    # Otherwise a GPU rounds features to TF32, which a slow average would keep.
    sums = jnp.einsum("bk,bd->kd", share, features, precision="highest")
    mean = sums / jnp.where(members > 0, members, 1)
    return jnp.where(members > 0, centers - rate * (centers - mean), centers)
