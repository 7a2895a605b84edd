"""Whisper's encoder: a log-mel spectrogram, two convolutions, pre-norm transformer."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from ser_jax.encoders.attention import attend
from ser_jax.encoders.log_mel import log_mel
from ser_jax.encoders.spec import RATE_HZ, STEP_SAMPLES
from ser_jax.encoders.stack import (
    ACTIVATIONS,
    Hidden,
    Linear,
    gelu,
    hide,
    layer_norm,
    states,
    valid,
)
from ser_jax.encoders.weights import CONV, LINEAR, ParamPath, Source
from ser_jax.encoders.whisper_config import WhisperConfig
from ser_jax.errors import InputError

EPSILON = 1e-5

# The hub's names of the modules whose names differ from ours.
HUB_NAMES = {
    "norm": "layer_norm",
    "attention_norm": "self_attn_layer_norm",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "out": "self_attn.out_proj",
    "ffn_norm": "final_layer_norm",
    "ffn_in": "fc1",
    "ffn_out": "fc2",
}
# What a whole Whisper, or one with another task's head, has besides.
IGNORED = r"decoder\.|proj_out\.|projector\.|classifier\.|layer_weights"


class Positions(nnx.Variable):
    """Sinusoids as stored beside the weights: no parameter, so never trained."""


class WhisperLayer(nnx.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, config: WhisperConfig, *, dtype, rngs: nnx.Rngs):
        """The keys' projection has no bias: it would cancel in the softmax."""
        width, hidden = config.width, config.ffn_width
        common = {"dtype": dtype, "rngs": rngs}
        self.attention_norm = layer_norm(width, EPSILON, **common)
        self.query = Linear(width, width, **common)
        self.key = Linear(width, width, use_bias=False, **common)
        self.value = Linear(width, width, **common)
        self.out = Linear(width, width, **common)
        self.ffn_norm = layer_norm(width, EPSILON, **common)
        self.ffn_in = Linear(width, hidden, **common)
        self.ffn_out = Linear(hidden, width, **common)
        self.num_heads, self.activation = config.num_heads, config.activation

    def __call__(
        self, x: Float[Array, "B T D"], steps: Int[Array, " B"]
    ) -> Float[Array, "B T D"]:
        """No step reads one behind the utterance's `steps`."""
        y = self.attention_norm(x)
        heads = (*y.shape[:2], self.num_heads, -1)
        query, key, value = (
            part(y).reshape(heads) for part in (self.query, self.key, self.value)
        )
        y = attend(query, key, value, steps)
        x = x + self.out(y.reshape(x.shape))
        y = ACTIVATIONS[self.activation](self.ffn_in(self.ffn_norm(x)))
        return x + self.ffn_out(y)


class WhisperEncoder(nnx.Module):
    """Speech to the states of Whisper's encoder, of utterances of any length up to 30 s.

    Source: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision,
    2022 (arXiv 2212.04356).

    Differs from the paper: an utterance is not padded to 30 s; it has as many steps as
    its own length gives, and reads those only.
    """

    def __init__(
        self,
        config: WhisperConfig,
        *,
        dtype=jnp.float32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        """Makes an encoder with random weights.

        Args:
            config: Its sizes.
            dtype: Of the computation; parameters, the norms' statistics, softmaxes and
                the spectrogram are float32.
            remat: Whether the backward pass computes every layer's insides again,
                which saves their memory.
            rngs: Needs the stream `params`.
        """
        common = {"dtype": dtype, "rngs": rngs}
        self.conv1 = nnx.Conv(config.num_mels, config.width, 3, padding=1, **common)
        self.conv2 = nnx.Conv(
            config.width, config.width, 3, strides=2, padding=1, **common
        )
        shape = (config.num_positions, config.width)
        self.positions = Positions(jax.random.normal(rngs.params(), shape))
        self.layers = nnx.List(
            WhisperLayer(config, **common) for _ in range(config.num_layers)
        )
        self.norm = layer_norm(config.width, EPSILON, **common)
        self.config, self.dtype, self.remat = config, dtype, remat

    def __call__(
        self,
        samples: Float[Array, "B N"],
        lengths: Int[Array, " B"],
        layers: Sequence[int] | None = None,
        hidden: Hidden | None = None,
    ) -> tuple[Float[Array, "n B T D"], Int[Array, " B"]]:
        """States of the layers asked for, and the steps of each utterance.

        Args:
            samples: At 16 kHz, in [-1, 1]; N of at most 30 s. What stands behind an
                utterance has no influence.
            lengths: Samples of each utterance; one below 201 counts as 201, the rest
                of them zeros.
            layers: 0 = what enters the first layer, i = the output of layer i, the
                last one after the final norm. None = all. Layers above the highest
                are not computed.
            hidden: What is hidden of the first layer's input, in training.

        Returns:
            States, zeros from `steps` on: T = max(1, (N + 160) // 320).

        Raises:
            InputError: N is longer than the positions last, 30 s.
            ValueError: A layer that does not exist.
        """
        x, steps = self._embed(samples, lengths)
        x = hide(x, steps, hidden)
        x = x + self.positions[: x.shape[1]].astype(self.dtype)
        options = {"wanted": layers, "norm": self.norm, "remat": self.remat}
        return states(self.layers, x, steps, **options), steps

    def _embed(
        self, samples: Float[Array, "B N"], lengths: Int[Array, " B"]
    ) -> tuple[Float[Array, "B T D"], Int[Array, " B"]]:
        """What enters the first layer, but for the positions."""
        longest_s = self.positions.shape[0] * STEP_SAMPLES / RATE_HZ
        mel, frames = log_mel(samples, lengths, self.config.num_mels)
        steps = (frames + 1) // 2
        if (mel.shape[1] + 1) // 2 > self.positions.shape[0]:
            raise InputError(
                f"Expected at most {longest_s:g} s of speech for a Whisper encoder; got "
                f"{samples.shape[1] / RATE_HZ:g} s; cut the utterances."
            )
        # Whatever `activation_function` says of the layers.
        x = gelu(self.conv1(mel.astype(self.dtype)))
        # The second convolution finds zeros behind every utterance, as behind the batch.
        x = gelu(self.conv2(jnp.where(valid(x.shape[1], frames), x, 0)))
        return x, steps


def source_of(path: ParamPath) -> Source:
    """Which tensor of a hub's file a variable of WhisperEncoder is."""
    if path == ("positions",):
        return Source("encoder.embed_positions.weight")
    *modules, kind = path
    names = [HUB_NAMES.get(part, str(part)) for part in modules]
    axes = None
    if kind == "kernel":
        axes = CONV if modules[0] in ("conv1", "conv2") else LINEAR
    end = "bias" if kind == "bias" else "weight"
    return Source(".".join(["encoder", *names, end]), axes)
