"""What all encoders share: stacks of transformer layers on padded utterances."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int


def gelu(x: Array) -> Array:
    """x times the normal distribution's function, in float32, in x's dtype.

    Half the time of `jax.nn.gelu` on a CPU, which takes care of the digits of numbers
    below 1e-6.
    """
    wide = x.astype(jnp.float32)
    return (0.5 * wide * (1 + jax.lax.erf(wide * np.float32(0.5**0.5)))).astype(x.dtype)


# By the names of the hub's `config.json`.
ACTIVATIONS = {
    "gelu": gelu,
    "gelu_new": jax.nn.gelu,
    "relu": jax.nn.relu,
}


class Hidden(NamedTuple):
    """What of the first layer's input is hidden in training; None: nothing."""

    steps: Bool[Array, "B T"] | None
    vector: Float[Array, " D"] | None  # takes their place
    channels: Bool[Array, "B D"] | None  # are 0


def hide(
    x: Float[Array, "B T D"], steps: Int[Array, " B"], hidden: Hidden | None
) -> Float[Array, "B T D"]:
    """x without what is hidden of an utterance's own `steps`, as SpecAugment does it."""
    if hidden is None:
        return x
    if hidden.steps is not None:
        chosen = hidden.steps[..., None] & valid(x.shape[1], steps)
        x = jnp.where(chosen, hidden.vector.astype(x.dtype), x)
    if hidden.channels is not None:
        x = jnp.where(hidden.channels[:, None], 0, x)
    return x


def valid(length: int, counts: Int[Array, " B"]) -> Bool[Array, "B L 1"]:
    """Which of `length` positions are an utterance's own."""
    return (jnp.arange(length) < counts[:, None])[..., None]


class Linear(nnx.Linear):
    """`nnx.Linear` on the rows of a matrix.

    Over two axes of steps, XLA's sum for the kernel's gradient takes up to thrice as
    long on a CPU: a Whisper base trains at two thirds of the speed.
    """

    def __call__(self, x: Float[Array, "*B I"]) -> Float[Array, "*B O"]:
        """Any axes before the features."""
        y = super().__call__(x.reshape(-1, x.shape[-1]))
        return y.reshape(*x.shape[:-1], self.out_features)


def layer_norm(width: int, epsilon: float, *, dtype, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """A layer norm over features some of which are far from 0."""
    # The fast variance, E[x^2] - E[x]^2, would lose their digits.
    return nnx.LayerNorm(
        width, epsilon=epsilon, use_fast_variance=False, dtype=dtype, rngs=rngs
    )


def call(module: nnx.Module, *inputs: Array | None, remat: bool) -> Array:
    """Calls a module; `remat`: the backward pass computes its insides again."""
    if not remat:
        return module(*inputs)
    graphdef, state = nnx.split(module)

    # Unlike nnx.remat, this takes modules from outside of a transformation as well.
    @jax.checkpoint
    def again(state, *inputs):
        return nnx.merge(graphdef, state)(*inputs)

    return again(state, *inputs)


def states(
    layers: Sequence[nnx.Module],
    x: Float[Array, "B T D"],
    steps: Int[Array, " B"],
    *inputs: Array | None,
    wanted: Sequence[int] | None,
    norm: nnx.Module | None = None,
    remat: bool = False,
) -> Float[Array, "n B T D"]:
    """Runs the layers up to the highest wanted one, and keeps those states.

    Args:
        layers: Each is called with (x, steps, *inputs).
        x: What enters the first one.
        steps: Of each utterance; states behind them are 0.
        inputs: What all layers read besides.
        wanted: 0 = x, i = the output of layer i. None = all.
        norm: What the last layer's output goes through.
        remat: Whether the backward pass computes a layer's insides again.

    Raises:
        ValueError: A layer that does not exist.
    """
    last = len(layers)
    wanted = tuple(range(last + 1)) if wanted is None else tuple(wanted)
    if not wanted or not all(0 <= i <= last for i in wanted):
        raise ValueError(f"layers: expected some of 0 to {last}, got {wanted}")
    found = {0: x}
    for i in range(1, max(wanted) + 1):
        x = call(layers[i - 1], x, steps, *inputs, remat=remat)
        if i in wanted:
            found[i] = norm(x) if norm is not None and i == last else x
    kept = jnp.stack([found[i] for i in wanted])
    return jnp.where(valid(x.shape[1], steps), kept, 0)
