"""Sizes of a Whisper's encoder; needs no JAX."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ser_jax.encoders.hub_folder import ACTIVATIONS, config_choice, config_value
from ser_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class WhisperConfig:
    """The sizes of an encoder.

    Attributes:
        num_layers: Transformer layers.
        width: Of the residual stream.
        num_heads: Of the attention; divides the width.
        ffn_width: Hidden units of a layer's feed-forward block.
        num_mels: Mel filters of the spectrogram, 80 or 128.
        num_positions: Steps of 20 ms at most.
        activation: Of feed-forward blocks: `gelu` (exact), `gelu_new` (by tanh),
            `relu`.
    """

    num_layers: int
    width: int
    num_heads: int
    ffn_width: int
    num_mels: int
    num_positions: int
    activation: str = "gelu"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "WhisperConfig":
        """Reads a hub folder's `config.json`.

        Raises:
            InputError: A size is missing, or something is not supported; it is named.
        """
        config_choice(config, "scale_embedding", (False,))
        width = config_value(config, "d_model")
        heads = config_value(config, "encoder_attention_heads")
        if width % heads:
            raise InputError(
                "Expected encoder_attention_heads in config.json to be a divisor of "
                f"d_model {width}; got {heads}; take another model."
            )
        return cls(
            num_layers=config_value(config, "encoder_layers"),
            width=width,
            num_heads=heads,
            ffn_width=config_value(config, "encoder_ffn_dim"),
            num_mels=config_value(config, "num_mel_bins"),
            num_positions=config_value(config, "max_source_positions"),
            activation=config_choice(config, "activation_function", ACTIVATIONS),
        )
