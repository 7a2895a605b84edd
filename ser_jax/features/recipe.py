"""What the frames of a recording are, as a config says. Imports nothing heavy."""

import dataclasses

import numpy as np

from ser_jax.encoders import files
from ser_jax.encoders import spec as encoder_spec
from ser_jax.encoders.spec import STEP_SAMPLES, EncoderSpec
from ser_jax.errors import InputError
from ser_jax.features.spec import RECIPES, FeatureSpec

ENCODER = "encoder"  # the recipe of `StatesSpec`
WAVEFORM = "waveform"  # that of `WaveformSpec`; all others are in `spec.RECIPES`
NAMES = (*RECIPES, ENCODER, WAVEFORM)
# Of `config.data.vtlp_mode`: how states are perturbed, see `StateReader`.
SPEED = "speed"

# Longer recordings are encoded piece by piece. Whisper reads no more than 30 s at once,
# which a piece becomes that is slowed down as much as copies may be.
SLOWEST, FASTEST = 0.8, 2.0
PIECE_SAMPLES = 24 * encoder_spec.RATE_HZ


@dataclasses.dataclass(frozen=True)
class StatesSpec:
    """A recipe: hidden states of a pretrained encoder, averaged over some steps.

    Frames [T, F, C] are float16; F is the number of layers (a map of layers x time, as
    others are of frequencies x time), C the encoder's width. A
    recording of more than 24 s is encoded in pieces of 24 s, whose last frame may be
    the mean of fewer steps: later frames stand up to one frame earlier than `hop_samples`
    says.
    """

    encoder: EncoderSpec
    digest: str  # of its weights
    layers: tuple[int, ...]  # ascending; 0 is what enters the first layer
    pool_steps: int  # steps of 20 ms that a frame is the mean of

    sample_rate_hz = encoder_spec.RATE_HZ
    # As if cut without overlap, so that frame t stands for samples from t * hop on.
    centered, lead_samples = False, 0
    top_db = 0.0
    dtype = np.float16

    @property
    def name(self) -> str:
        """First part of a built dataset's config name; other states, other names."""
        layers = "-".join(map(str, self.layers))
        kind = self.encoder.kind
        return f"{kind}_{self.digest}_layers{layers}_pool{self.pool_steps}"

    @property
    def num_bands(self) -> int:
        """F of the stored frames [T, F, C]."""
        return len(self.layers)

    @property
    def num_channels(self) -> int:
        """C of the stored frames."""
        return self.encoder.width

    @property
    def num_static(self) -> int:
        """Channels that are not deltas of others: all."""
        return self.num_channels

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return self.pool_steps * STEP_SAMPLES

    @property
    def win_samples(self) -> int:
        """Samples that a frame stands for; it has heard all others of its piece."""
        return self.hop_samples

    def num_frames(self, num_samples):
        """Frames of a recording of n >= 1 samples; an int or an array, as given."""
        pieces, rest = num_samples // PIECE_SAMPLES, num_samples % PIECE_SAMPLES
        left = self.piece_frames(rest + (rest == 0)) * (rest > 0)
        return pieces * self.piece_frames(PIECE_SAMPLES) + left

    def piece_frames(self, num_samples):
        """Frames of a piece of 1 to `PIECE_SAMPLES` samples; the last may hear fewer."""
        return -(-self.encoder.num_steps(num_samples) // self.pool_steps)


@dataclasses.dataclass(frozen=True)
class WaveformSpec:
    """A recipe: the samples themselves, for an encoder that is trained.

    Frames [T, 1, C] are int16, 320 samples each, the last one filled with zeros.

    Differs from a recording: it ends up to 20 ms later, as zeros.
    """

    name = WAVEFORM
    sample_rate_hz = encoder_spec.RATE_HZ
    hop_samples = win_samples = num_channels = num_static = STEP_SAMPLES
    num_bands = 1
    centered, lead_samples = False, 0
    top_db = 0.0
    dtype = np.int16

    def num_frames(self, num_samples):
        """Frames of a recording of n >= 1 samples; an int or an array, as given."""
        return -(-num_samples // STEP_SAMPLES)

    def frames(self, samples: np.ndarray) -> np.ndarray:
        """Frames of samples [n] in [-1, 1], rounded and clipped to 16 bits."""
        numbers = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
        filled = np.pad(numbers, (0, -len(numbers) % STEP_SAMPLES))
        return filled.reshape(-1, 1, STEP_SAMPLES)


Recipe = FeatureSpec | StatesSpec | WaveformSpec
PLAIN = {**RECIPES, WAVEFORM: WaveformSpec()}  # that need no encoder to be told


def recipe_of(config) -> Recipe:
    """The recipe of `config.data` and, for hidden states, of `config.encoder`.

    Raises:
      InputError: The encoder's weights are not there, or have not the layers.
    """
    if config.data.recipe in RECIPES:
        return RECIPES[config.data.recipe]
    encoder = encoder_spec.read_spec(config.encoder.weights)
    layers = encoder.wanted(config.encoder.layers)
    if (
        len({*layers}) < len(layers)
        or not 0 <= layers[0] <= layers[-1] <= encoder.num_layers
    ):
        raise InputError(
            f"encoder.layers: expected different ones of 0 to {encoder.num_layers}, which "
            f"{config.encoder.weights} has; got {config.encoder.layers}. Set "
            "--config.encoder.layers='(2,)'."
        )
    digest = files.digest(config.encoder.weights)
    if config.encoder.digest not in ("", digest):
        raise InputError(
            f"encoder.weights: expected those that were trained with, of digest "
            f"{config.encoder.digest}; got {digest} in {config.encoder.weights}. Repeat "
            "the training command with --config.encoder.weights at their place, or train "
            "again in a new --workdir."
        )
    if config.data.recipe == WAVEFORM:
        return PLAIN[WAVEFORM]
    steps = encoder_spec.pool_steps(config.encoder.pool_s)
    return StatesSpec(encoder, digest, layers, steps)


def with_digest(config):
    """The config with `encoder.digest` as it is; InputError as for `recipe_of`."""
    recipe_of(config)
    if config.encoder.weights:
        config = config.copy_and_resolve_references()
        config.encoder.digest = files.digest(config.encoder.weights)
    return config


def to_dict(recipe: Recipe) -> dict:
    """What tells a recipe from others, as JSON gives it back."""
    if isinstance(recipe, FeatureSpec):
        return dataclasses.asdict(recipe)
    return {"name": recipe.name}
