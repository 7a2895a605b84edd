"""Means of an encoder's states over stretches of steps: the frames that heads read."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def means(
    states: Float[Array, "F B S C"],
    steps: Int[Array, " B"],
    steps_at_speed_1: Int[Array, " B"],
    pool_steps: int,
    num: int,
) -> Float[Array, "B T F C"]:
    """Means over stretches of `pool_steps` steps at speed 1, the last one shorter.

    Of the `steps` there are, a frame takes in as large a part as its stretch is of
    `steps_at_speed_1`; steps on an edge count in part. Frames behind the last are 0.
    """
    edges = jnp.minimum(pool_steps * jnp.arange(num + 1), steps_at_speed_1[:, None])
    edges = edges * (steps / steps_at_speed_1)[:, None]
    first, last = edges[:, :-1, None], edges[:, 1:, None]
    step = jnp.arange(states.shape[2])
    overlap = jnp.clip(jnp.minimum(last, step + 1) - jnp.maximum(first, step), 0, 1)
    share = overlap / jnp.maximum(last - first, 1e-6)
    return jnp.einsum("bts,fbsc->btfc", share, states)
