"""What of a config goes with a pretrained encoder, and what does not."""

from collections.abc import Callable

from ser_jax.features.recipe import ENCODER, FASTEST, SLOWEST, SPEED


def check(config, refuse: Callable[[str, str], None]) -> None:
    """Calls `refuse(key, expected)` where keys do not go together."""
    data, encoder = config.data, config.encoder
    if (data.recipe == ENCODER) != (data.vtlp_mode == SPEED) and data.vtlp_copies:
        other = f"{SPEED} with data.recipe={ENCODER}, and with no other"
        refuse("data.vtlp_mode", f"{other} (or 0 copies)")
    if data.recipe != ENCODER:
        if encoder.weights:
            refuse("data.recipe", f"{ENCODER} with encoder.weights")
        return
    if not encoder.weights:
        refuse("encoder.weights", f"a name or a folder with data.recipe={ENCODER}")
    if not all(isinstance(x, int) and not isinstance(x, bool) for x in encoder.layers):
        refuse("encoder.layers", "whole numbers")
    with_states = f"with data.recipe={ENCODER}"
    if data.vtlp_copies and not SLOWEST <= data.vtlp_low:
        refuse("data.vtlp_low", f"{SLOWEST} or more {with_states}")
    if data.vtlp_copies and not data.vtlp_high <= FASTEST:
        refuse("data.vtlp_high", f"{FASTEST} or less {with_states}")
    if config.augment.vtlp == "online":
        refuse("augment.vtlp", f"all, one or none {with_states}")
    if data.level != "as_is":
        refuse("data.level", f"as_is {with_states}, which has a level of its own")
    if data.channels:
        refuse("data.channels", f"0 {with_states}; see encoder.layers")
