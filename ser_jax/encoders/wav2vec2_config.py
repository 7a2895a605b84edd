"""Sizes and options of wav2vec 2.0, HuBERT and WavLM; needs no JAX."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ser_jax.encoders.hub_folder import (
    ACTIVATIONS,
    CONFIG,
    PREPROCESSOR,
    config_choice,
    config_value,
)
from ser_jax.errors import InputError

RATE_HZ = 16_000
KINDS = ("wav2vec2", "hubert", "wavlm")


@dataclasses.dataclass(frozen=True)
class Wav2Vec2Config:
    """What tells the encoders of the family apart.

    Attributes:
        num_layers: Transformer layers.
        width: Of the residual stream.
        num_heads: Of the attention; divides the width.
        ffn_width: Hidden units of a layer's feed-forward block.
        conv_widths: Channels after each convolution of the front.
        conv_kernels: Their kernels, in samples or steps of what they read.
        conv_strides: Their strides.
        conv_bias: Whether they have a bias.
        position_kernel: Steps the convolution that encodes positions reads.
        position_groups: Its groups; divides the width.
        front_norm: `group` (after the first convolution, over an utterance's time) or
            `layer` (after every one, over channels).
        front_activation: Of all convolutions.
        project_norm: Whether the front's last features are normalized.
        position_batch_norm: Whether positions are encoded with batch norm in place of
            weight norm.
        pre_norm: Whether a block normalizes what it reads ("stable layer norm") rather
            than the sum of that and its result.
        activation: Of the feed-forward blocks.
        epsilon: Added to variances, but for the convolutions' norms (1e-5).
        num_buckets: Of relative positions, even (WavLM); 0 = there are none.
        max_distance: Steps from which on relative positions share a bucket.
        normalize_wave: Whether every utterance gets mean 0 and variance 1.
    """

    num_layers: int
    width: int
    num_heads: int
    ffn_width: int
    conv_widths: tuple[int, ...]
    conv_kernels: tuple[int, ...]
    conv_strides: tuple[int, ...]
    conv_bias: bool
    position_kernel: int
    position_groups: int
    front_norm: str = "group"
    front_activation: str = "gelu"
    project_norm: bool = True
    position_batch_norm: bool = False
    pre_norm: bool = False
    activation: str = "gelu"
    epsilon: float = 1e-5
    num_buckets: int = 0
    max_distance: int = 0
    normalize_wave: bool = False

    @classmethod
    def of(
        cls, config: Mapping[str, Any], preprocessor: Mapping[str, Any] | None = None
    ) -> "Wav2Vec2Config":
        """Reads a hub folder's files.

        Args:
            config: `config.json`.
            preprocessor: `preprocessor_config.json`; None if the folder has none. Then
                utterances are normalized where `feat_extract_norm` is `layer`, as the
                published encoders were trained. (With `group`, the first norm takes
                out mean and scale anyway; only its epsilon tells very quiet speech.)

        Raises:
            InputError: A size is missing, or something is not supported; it is named.
        """
        # What these would add belongs to a task or a language.
        config_choice(config, "add_adapter", (False,))
        config_choice(config, "adapter_attn_dim", (None,))
        wavlm = config.get("model_type") == "wavlm"
        found = cls(
            num_layers=config_value(config, "num_hidden_layers"),
            width=config_value(config, "hidden_size"),
            num_heads=config_value(config, "num_attention_heads"),
            ffn_width=config_value(config, "intermediate_size"),
            conv_widths=_sizes(config, "conv_dim"),
            conv_kernels=_sizes(config, "conv_kernel"),
            conv_strides=_sizes(config, "conv_stride"),
            conv_bias=_flag(config, "conv_bias"),
            position_kernel=config_value(config, "num_conv_pos_embeddings"),
            position_groups=config_value(config, "num_conv_pos_embedding_groups"),
            front_norm=config_choice(config, "feat_extract_norm", ("group", "layer")),
            front_activation=config_choice(
                config, "feat_extract_activation", ACTIVATIONS
            ),
            project_norm=config_choice(config, "feat_proj_layer_norm", (True, False)),
            position_batch_norm=_flag(config, "conv_pos_batch_norm"),
            pre_norm=_flag(config, "do_stable_layer_norm"),
            activation=config_choice(config, "hidden_act", ACTIVATIONS),
            epsilon=config.get("layer_norm_eps", 1e-5),
            num_buckets=config_value(config, "num_buckets") if wavlm else 0,
            max_distance=config_value(config, "max_bucket_distance") if wavlm else 0,
            normalize_wave=_normalizes(config, preprocessor),
        )
        found._check_sizes()
        return found

    @property
    def window_samples(self) -> int:
        """What one step needs: 400 samples (25 ms) of all published encoders."""
        window = 1
        layers = zip(self.conv_kernels, self.conv_strides, strict=True)
        for kernel, stride in reversed(list(layers)):
            window = (window - 1) * stride + kernel
        return window

    def _check_sizes(self) -> None:
        for key, divisor in (
            ("num_attention_heads", self.num_heads),
            ("num_conv_pos_embedding_groups", self.position_groups),
        ):
            if self.width % divisor:
                raise _refusal(key, f"a divisor of hidden_size {self.width}", divisor)
        counts = [
            len(x) for x in (self.conv_widths, self.conv_kernels, self.conv_strides)
        ]
        if len(set(counts)) > 1:
            keys = "conv_dim, conv_kernel and conv_stride"
            raise _refusal(keys, "one value per convolution", counts)
        if self.num_buckets % 4 or self.num_buckets // 4 >= self.max_distance > 0:
            raise _refusal(
                "num_buckets",
                f"a multiple of 4 below 4 x max_bucket_distance {self.max_distance}",
                self.num_buckets,
            )


def _flag(config: Mapping[str, Any], key: str) -> bool:
    return config_choice(config, key, (False, True))


def _sizes(config: Mapping[str, Any], key: str) -> tuple[int, ...]:
    values = config.get(key)
    if (
        not isinstance(values, list | tuple)
        or not values
        or not all(type(value) is int and value > 0 for value in values)
    ):
        raise _refusal(key, "positive integers", values)
    return tuple(values)


def _normalizes(
    config: Mapping[str, Any], preprocessor: Mapping[str, Any] | None
) -> bool:
    if preprocessor is None:
        return config.get("feat_extract_norm", "group") == "layer"
    rate = preprocessor.get("sampling_rate", RATE_HZ)
    if rate != RATE_HZ:
        raise InputError(
            f"Expected sampling_rate {RATE_HZ} in {PREPROCESSOR}; got "
            f"{rate!r}; take a model for speech at 16 kHz."
        )
    return preprocessor.get("do_normalize", True)


def _refusal(key: str, expected: Any, got: Any) -> InputError:
    return InputError(
        f"Expected {key} in {CONFIG} to be {expected}; got {got!r}; take another model."
    )
