"""What can be told of an encoder without loading its weights; needs no JAX."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ser_jax.encoders import files
from ser_jax.encoders.hub_folder import CONFIG
from ser_jax.encoders.wav2vec2_config import KINDS as WAVE_KINDS
from ser_jax.encoders.wav2vec2_config import Wav2Vec2Config
from ser_jax.encoders.whisper_config import WhisperConfig
from ser_jax.errors import InputError

RATE_HZ = 16_000
STEP_SAMPLES = 320  # of all encoders here: 20 ms

# A step of Whisper is two frames of 10 ms, of which the second may be missing.
WHISPER_WINDOW = 160


@dataclasses.dataclass(frozen=True)
class EncoderSpec:
    """Sizes of an encoder.

    Attributes:
        name: The `weights` it was read from.
        kind: `whisper`, `wav2vec2`, `hubert` or `wavlm`.
        num_layers: Transformer layers; there are states 0 to `num_layers`.
        width: Of a state.
        longest_s: The longest utterance it reads, in seconds; infinite if any.
        window_samples: What the first step needs; each further one needs 320 more.
        config: What the encoder is made from.
    """

    name: str
    kind: str
    num_layers: int
    width: int
    longest_s: float
    window_samples: int
    config: WhisperConfig | Wav2Vec2Config

    def wanted(self, layers: Sequence[int]) -> tuple[int, ...]:
        """The states asked for, ascending; all if none are named."""
        return tuple(sorted(layers)) or tuple(range(self.num_layers + 1))

    def num_steps(self, num_samples):
        """Steps of utterances of so many samples at 16 kHz, at least 1.

        An utterance too short for a step has one nonetheless: the encoder lengthens it
        with zeros.

        Args:
            num_samples: An integer, or an array of integers of NumPy or JAX.
        """
        steps = (num_samples - self.window_samples) // STEP_SAMPLES + 1
        return max(1, steps) if isinstance(steps, int) else steps.clip(1)


def read_spec(weights: str) -> EncoderSpec:
    """The sizes of an encoder from its folder or package; its weights are not read.

    Args:
        weights: As in `files.read_config`.

    Raises:
        InputError: As `files.read_config`, or the architecture or one of its options
            is not supported.
    """
    config = files.read_config(weights)
    kind = config.get("model_type")
    if kind == "whisper":
        return _whisper(weights, config)
    if kind in WAVE_KINDS:
        return _wave(weights, config)
    raise InputError(
        f"Expected model_type whisper, {', '.join(WAVE_KINDS)} in {CONFIG} of "
        f"{weights}; got {kind!r}; take another model."
    )


def pool_steps(pool_s: float) -> int:
    """Steps that a frame of `pool_s` seconds is the mean of, at least one."""
    return max(1, round(pool_s * RATE_HZ / STEP_SAMPLES))


def _whisper(weights: str, config: Mapping[str, Any]) -> EncoderSpec:
    sizes = WhisperConfig.of(config)
    return EncoderSpec(
        weights,
        "whisper",
        num_layers=sizes.num_layers,
        width=sizes.width,
        longest_s=sizes.num_positions * STEP_SAMPLES / RATE_HZ,
        window_samples=WHISPER_WINDOW,
        config=sizes,
    )


def _wave(weights: str, config: Mapping[str, Any]) -> EncoderSpec:
    sizes = Wav2Vec2Config.of(config, files.read_preprocessor(weights))
    step = math.prod(sizes.conv_strides)
    if step != STEP_SAMPLES:
        raise InputError(
            f"Expected conv_stride in {CONFIG} of {weights} to make a step of "
            f"{STEP_SAMPLES} samples; got {step}; take another model."
        )
    return EncoderSpec(
        weights,
        config["model_type"],
        num_layers=sizes.num_layers,
        width=sizes.width,
        longest_s=math.inf,
        window_samples=sizes.window_samples,
        config=sizes,
    )
