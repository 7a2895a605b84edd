"""Dropout whose rate may be an argument of the compiled step."""

import jax
import jax.numpy as jnp
from flax import nnx


class Dropout(nnx.Dropout):
    """`nnx.Dropout` that knows which config key its rate is.

    By `set_kept` a step that trains runs of several rates puts each run's own in its
    place; the bits are those of `nnx.Dropout` at that rate.
    """

    def __init__(self, rate: float, key: str = "dropout"):
        """`key` is the rate's name in `config.model`."""
        super().__init__(rate)
        self.key = key
        self.kept = None

    def __call__(self, inputs, *, rngs: nnx.Rngs | None = None):
        """Zeroes inputs at random and scales up the others; in evaluation nothing."""
        if self.kept is None or self.deterministic:
            return super().__call__(inputs, rngs=rngs)
        # XLA divides by a constant by multiplying; so it is the same bits (float32).
        kept = self.kept.share
        mask = jax.random.bernoulli(rngs.dropout(), kept, inputs.shape)
        return jnp.where(mask, inputs * (1 / kept).astype(inputs.dtype), 0)


class _Kept:
    """Opaque, or NNX would take the array for a part of the model's state."""

    def __init__(self, share: jax.Array):
        self.share = share


def set_kept(model: nnx.Module, kept: dict[str, jax.Array]) -> None:
    """Gives the `Dropout`s of these keys another share that is kept, in (0, 1).

    It is 1 - rate in double precision, rounded, as `nnx.Dropout` computes it.
    """
    for _, module in nnx.iter_modules(model):
        if isinstance(module, Dropout) and module.key in kept:
            module.kept = _Kept(kept[module.key])
