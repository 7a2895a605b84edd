"""What a model answers and where it looks, from one pass."""

from collections.abc import Mapping

from flax import nnx
from jaxtyping import Array, Float

from ser_jax.layers.attention_grid import Maps


def answer_and_maps(
    model: nnx.Module, batch: Mapping[str, Array]
) -> tuple[Float[Array, "B K"], Maps]:
    """Logits of a batch, and the attention under them; may be jitted.

    Args:
        model: one of MODELS, in evaluation mode.
        batch: its inputs.

    Returns:
        The logits; the maps by name, whose masses add up to 1 per example over all of
        them (0 without a valid frame or word). {} if the model does not attend.
    """
    capture = nnx.capture(nnx.Intermediate)(lambda model, batch: model(batch))
    model.set_attributes(sow_maps=True, raise_if_not_found=False)
    logits, state = capture(model, batch)
    model.set_attributes(sow_maps=False, raise_if_not_found=False)
    return logits, model.attention_maps(state, batch)
