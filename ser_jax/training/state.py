"""What one run carries from step to step, and what it keeps fixed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from ser_jax.models import Pretrained


class Constants(NamedTuple):
    """What a run keeps fixed; stacked on a leading axis R when there are many."""

    mean: jax.Array  # float32 [F, C], of the fold's training part; 0 if not normalised
    std: jax.Array  # float32 [F, C], likewise; 1 if not normalised
    class_weight: jax.Array  # float32 [K]
    steps_per_epoch: jax.Array  # int32
    seed: jax.Array  # uint32, the run's own
    swept: dict | None = None  # by key, float32: numbers of the run's point, if swept


class TrainState(NamedTuple):
    """State of one run; stacked on a leading axis R when there are many."""

    params: nnx.State  # `nnx.Param`
    stats: nnx.State  # everything else the model keeps, e.g. running statistics
    opt_state: optax.OptState
    step: jax.Array  # int32, updates so far; all randomness of a step derives from it
    centers: jax.Array | None = None  # float32 [K, D] of the center loss, else None
    average: dict | None = None  # of `params` and `stats` over the updates, or None

    @property
    def weights(self) -> dict:
        """What predictions depend on: the average where one is kept."""
        return self.average or {"params": self.params, "stats": self.stats}


class Totals(NamedTuple):
    """Sums over a run's updates since its last validation: no mean of means is taken."""

    loss: jax.Array  # float32, sum of the examples' losses
    correct: jax.Array  # float32, examples whose true class scored highest
    count: jax.Array  # float32, examples
    bad_step: jax.Array  # int32, first update with a loss or gradient not finite, or -1
    step: jax.Array  # int32, updates so far

    @classmethod
    def zero(cls) -> "Totals":
        """Totals before the first step."""
        zero = jnp.zeros((), jnp.float32)
        return cls(zero, zero, zero, jnp.int32(-1), jnp.int32(0))


def create(
    model: nnx.Module,
    optimizer: optax.GradientTransformation,
    centers: jax.Array | None = None,
    *,
    averaged: bool = False,
) -> tuple[nnx.GraphDef, TrainState]:
    """Splits a new model into its definition and a state at step 0.

    What it holds of a pretrained encoder, and does not train, is in neither.
    """
    graphdef, params, _, stats = nnx.split(model, nnx.Param, Pretrained, ...)
    step = jnp.zeros((), jnp.int32)
    state = TrainState(params, stats, optimizer.init(params), step, centers)
    return graphdef, state._replace(average=state.weights if averaged else None)
