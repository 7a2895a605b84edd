"""What of a config goes with a pretrained encoder, and what does not."""

from collections.abc import Callable

from ser_jax.encoders.spec import RATE_HZ, STEP_SAMPLES, read_spec
from ser_jax.features.recipe import (
    ENCODER,
    FASTEST,
    PIECE_SAMPLES,
    SLOWEST,
    SPEED,
    WAVEFORM,
)


def check(config, refuse: Callable[[str, str], None]) -> None:
    """Calls `refuse(key, expected)` where keys do not go together."""
    data, encoder = config.data, config.encoder
    if (data.recipe == ENCODER) != (data.vtlp_mode == SPEED) and data.vtlp_copies:
        other = f"{SPEED} with data.recipe={ENCODER}, and with no other"
        refuse("data.vtlp_mode", f"{other} (or 0 copies)")
    if data.recipe not in (ENCODER, WAVEFORM):
        if not data.channels:
            refuse("data.channels", f"1, 2 or 3 with data.recipe={data.recipe}")
        if encoder.weights:
            refuse("data.recipe", f"{ENCODER} or {WAVEFORM} with encoder.weights")
        if encoder.tuning != "frozen":
            refuse("encoder.tuning", f"frozen with data.recipe={data.recipe}")
        return
    with_states = f"with data.recipe={data.recipe}"
    if not encoder.weights:
        refuse("encoder.weights", f"a name or a folder {with_states}")
    if not all(isinstance(x, int) and not isinstance(x, bool) for x in encoder.layers):
        refuse("encoder.layers", "whole numbers")
    steps = encoder.pool_s * RATE_HZ / STEP_SAMPLES
    if not steps < 1e6 or abs(steps - round(steps)) > 1e-6:
        refuse("encoder.pool_s", "a multiple of 0.02, the steps of all encoders")
    if data.recipe == WAVEFORM:
        _check_waveform(config, refuse)
    else:
        _check_frozen(encoder, refuse)
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


def _check_frozen(encoder, refuse) -> None:
    with_it = f"with data.recipe={ENCODER}"
    if encoder.tuning != "frozen":
        refuse("encoder.tuning", f"frozen {with_it} (data.recipe={WAVEFORM} learns)")
    unused = {"dtype": "float32", "mask_share": 0.0, "train_front": False}
    unused |= {"mask_channel_share": 0.0}
    unused |= {"learning_rate_factor": 1.0, "layer_decay": 1.0, "remat": False}
    for key, only in unused.items():
        if encoder[key] != only:
            refuse(f"encoder.{key}", f"{only} {with_it}, which trains no encoder")
    if read_spec(encoder.weights).longest_s * RATE_HZ < PIECE_SAMPLES / SLOWEST:
        longest = f"{PIECE_SAMPLES / SLOWEST / RATE_HZ:g} s"
        refuse("encoder.weights", f"an encoder that reads {longest} {with_it}")


def _check_waveform(config, refuse) -> None:
    data, encoder, with_it = config.data, config.encoder, "with data.recipe=waveform"
    if encoder.tuning == "frozen":
        refuse("encoder.tuning", f"lora or full {with_it}")
    if config.model.name != "encoder":
        refuse("model.name", f"encoder {with_it}")
    for key, only in (("vtlp_copies", 0), ("normalize", "none"), ("pad", "after_norm")):
        if data[key] != only:
            refuse(f"data.{key}", f"{only} {with_it}")
    spec = read_spec(encoder.weights)
    if not config.segment.window_s <= spec.longest_s:
        reads = f"which {encoder.weights} reads"
        refuse("segment.window_s", f"at most {spec.longest_s:g}, {reads}")
    if encoder.tuning == "lora" and spec.wanted(encoder.layers)[-1] < 1:
        refuse("encoder.layers", "a layer of 1 or more with encoder.tuning=lora")
