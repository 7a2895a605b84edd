"""What one run carries from step to step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx


class TrainState(NamedTuple):
    """State of one run; stacked on a leading axis R when there are many.

    Attributes:
      params: `nnx.Param` state.
      stats: Everything else the model keeps, e.g. running statistics.
      opt_state: The optimiser's state.
      step: int32, updates made so far; all randomness of a step derives from it.
      centers: float32 [K, D], class centres of the center loss; None without it.
    """

    params: nnx.State
    stats: nnx.State
    opt_state: optax.OptState
    step: jax.Array
    centers: jax.Array | None = None


class Totals(NamedTuple):
    """Sums over the steps of an epoch, so that no mean of means is ever taken.

    Attributes:
      loss: float32, sum of the examples' losses.
      correct: float32, number of examples whose true class scored highest.
      count: float32, number of examples.
      bad_step: int32, first step of this epoch whose loss or gradient was not finite;
        -1 if there was none.
      step: int32, steps of this epoch so far.
    """

    loss: jax.Array
    correct: jax.Array
    count: jax.Array
    bad_step: jax.Array
    step: jax.Array

    @classmethod
    def zero(cls) -> "Totals":
        """Totals before the first step."""
        zero = jnp.zeros((), jnp.float32)
        return cls(zero, zero, zero, jnp.int32(-1), jnp.int32(0))


def create(
    model: nnx.Module,
    optimizer: optax.GradientTransformation,
    centers: jax.Array | None = None,
) -> tuple[nnx.GraphDef, TrainState]:
    """Splits a new model into its definition and a state at step 0."""
    graphdef, params, stats = nnx.split(model, nnx.Param, ...)
    step = jnp.zeros((), jnp.int32)
    return graphdef, TrainState(params, stats, optimizer.init(params), step, centers)
