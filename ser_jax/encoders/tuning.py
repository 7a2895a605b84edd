"""Which weights of a pretrained encoder learn on: adapters, its layers, or none."""

from collections.abc import Callable

from flax import nnx
from jaxtyping import Array, Float

from ser_jax.encoders.load import Encoder
from ser_jax.encoders.weights import ParamPath

# `frozen`: hidden states are computed beforehand; `lora`: adapters; `full`: all layers.
WAYS = ("frozen", "lora", "full")
_PROJECTIONS = ("query", "key", "value", "out")
# Convolutions on samples or on a spectrogram, where paths of theirs begin.
_FRONTS = (("front", "convs"), ("conv1",), ("conv2",))


class Pretrained(nnx.Variable):
    """A weight that no run changes: one copy serves all, and no checkpoint holds it."""


class AdaptedLinear(nnx.LoRALinear):
    """y = W x + b + (alpha / r) B A x with W and b as they are; B is 0 at first.

    Source: Hu et al., LoRA, 2021 (arXiv 2106.09685), eq. 3.
    """

    def __init__(self, linear: nnx.Linear, rank: int, alpha: float, rngs: nnx.Rngs):
        """Adapts `linear`, whose weights it takes over."""
        super().__init__(
            linear.in_features,
            linear.out_features,
            lora_rank=rank,
            lora_dtype=linear.dtype,
            use_bias=linear.use_bias,
            dtype=linear.dtype,
            # What `linear` has takes their place.
            kernel_init=nnx.initializers.zeros,
            rngs=rngs,
        )
        self.kernel, self.bias = linear.kernel, linear.bias
        self.scale = alpha / rank

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B E"]:
        """Of vectors."""
        return nnx.Linear.__call__(self, x) + self.scale * self.lora(x)


def adapt(
    encoder: Encoder, highest: int, *, rank: int, alpha: float, rngs: nnx.Rngs
) -> None:
    """Adapts the attention's four projections up to layer `highest`; all else is held.

    Args:
        encoder: Changed in place.
        highest: The highest layer whose output is read; 1 is the first.
        rank: r, of every adapter.
        alpha: Of their scale alpha / r.
        rngs: Needs the stream `params`.
    """
    for layer in encoder.layers[:highest]:
        attention = getattr(layer, "attention", layer)
        for name in _PROJECTIONS:
            adapted = AdaptedLinear(getattr(attention, name), rank, alpha, rngs)
            setattr(attention, name, adapted)
    _hold(encoder, lambda _, variable: isinstance(variable, nnx.LoRAParam))


def release(encoder: Encoder, highest: int, *, train_front: bool) -> None:
    """Everything learns up to layer `highest`; of the convolutions before, if asked.

    Args:
        encoder: Changed in place.
        highest: As for `adapt`.
        train_front: Whether the convolutions on samples, or spectrograms, learn.
    """
    last = len(encoder.layers)
    # Whisper's norm, and that of a stable layer norm, ends the last layer.
    ends = getattr(encoder.config, "pre_norm", True)

    def learns(path: ParamPath, variable: nnx.Variable) -> bool:
        if not isinstance(variable, nnx.Param):  # running statistics, sinusoids
            return False
        if any(path[: len(front)] == front for front in _FRONTS):
            return train_front
        if path[0] == "norm" and ends:
            return highest == last
        return path[0] != "layers" or path[1] < highest

    _hold(encoder, learns)


def _hold(encoder: Encoder, learns: Callable[[ParamPath, nnx.Variable], bool]) -> None:
    """Makes every variable `Pretrained` that does not learn."""
    for path, module in [*nnx.iter_modules(encoder)]:
        for name, variable in [*vars(module).items()]:
            if isinstance(variable, nnx.Variable) and not learns(
                (*path, name), variable
            ):
                setattr(module, name, Pretrained(variable[...]))
