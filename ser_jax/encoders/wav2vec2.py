"""wav2vec 2.0, HuBERT and WavLM: a waveform, convolutions, a transformer."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from ser_jax.encoders.attention import attend
from ser_jax.encoders.relative_position import PositionGate, position_bias
from ser_jax.encoders.stack import (
    ACTIVATIONS,
    Hidden,
    Linear,
    hide,
    layer_norm,
    states,
)
from ser_jax.encoders.wav2vec2_config import Wav2Vec2Config
from ser_jax.encoders.wav2vec2_front import PositionConv, WaveFront
from ser_jax.encoders.weights import CONV, LINEAR, ParamPath, Source

# Beginnings of names that belong to training or to a task, not to the encoder.
IGNORED = (
    r"masked_spec_embed|quantizer\.|project_(q|hid)\.|lm_head\.|projector\.|classifier"
    r"|layer_weights|tdnn\.|feature_extractor\.(weight|bias)$|final_proj\.|objective\."
    r"|.*\.num_batches_tracked$"
)


class Attention(nnx.Module):
    """Multi-head attention of an utterance's steps to each other."""

    def __init__(self, config: Wav2Vec2Config, *, dtype, rngs: nnx.Rngs):
        """Makes the projections and, of a WavLM, the gate."""
        width, heads = config.width, config.num_heads
        common = {"dtype": dtype, "rngs": rngs}
        self.query = Linear(width, width, **common)
        self.key = Linear(width, width, **common)
        self.value = Linear(width, width, **common)
        self.out = Linear(width, width, **common)
        self.gate = nnx.data(None)
        if config.num_buckets:
            self.gate = PositionGate(heads, width // heads, **common)
        self.num_heads = heads

    def __call__(
        self,
        x: Float[Array, "B T D"],
        steps: Int[Array, " B"],
        bias: Float[Array, "H T T"] | None,
    ) -> Float[Array, "B T D"]:
        """No step reads one behind the utterance's `steps`."""
        heads = (*x.shape[:2], self.num_heads, -1)
        query, key, value = (
            part(x).reshape(heads) for part in (self.query, self.key, self.value)
        )
        if self.gate is not None:
            bias = bias * self.gate(x.reshape(heads))
        y = attend(query, key, value, steps, bias)
        return self.out(y.reshape(x.shape))


class Layer(nnx.Module):
    """Attention and a feed-forward block, each added to what it reads."""

    def __init__(self, config: Wav2Vec2Config, *, dtype, rngs: nnx.Rngs):
        """Makes the two blocks and their norms."""
        common = {"dtype": dtype, "rngs": rngs}
        self.attention = Attention(config, **common)
        self.attention_norm = layer_norm(config.width, config.epsilon, **common)
        self.ffn_in = Linear(config.width, config.ffn_width, **common)
        self.ffn_out = Linear(config.ffn_width, config.width, **common)
        self.ffn_norm = layer_norm(config.width, config.epsilon, **common)
        self.pre_norm, self.activation = config.pre_norm, config.activation

    def __call__(
        self,
        x: Float[Array, "B T D"],
        steps: Int[Array, " B"],
        bias: Float[Array, "H T T"] | None,
    ) -> Float[Array, "B T D"]:
        """`bias`: added to the attention's logits once gated; None but of a WavLM."""
        if self.pre_norm:
            x = x + self.attention(self.attention_norm(x), steps, bias)
            return x + self._feed_forward(self.ffn_norm(x))
        x = self.attention_norm(x + self.attention(x, steps, bias))
        return self.ffn_norm(x + self._feed_forward(x))

    def _feed_forward(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        return self.ffn_out(ACTIVATIONS[self.activation](self.ffn_in(x)))


class Wav2Vec2Encoder(nnx.Module):
    """Speech to the states of a wav2vec 2.0, HuBERT or WavLM.

    Sources: Baevski et al., wav2vec 2.0, 2020 (arXiv 2006.11477); Hsu et al., HuBERT,
    2021 (arXiv 2106.07447); Chen et al., WavLM, 2022 (arXiv 2110.13900).

    Differs from the papers' code: an utterance in a padded batch has the states it has
    alone, also where the front's first norm is over time.
    """

    def __init__(
        self,
        config: Wav2Vec2Config,
        *,
        dtype=jnp.float32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        """Makes an encoder with random weights.

        Args:
            config: Its sizes and options.
            dtype: Of the computation; parameters, norms' statistics and softmaxes are
                float32.
            remat: Whether the backward pass computes the insides of every convolution
                and transformer layer again, which saves their memory.
            rngs: Needs the stream `params`.
        """
        common = {"dtype": dtype, "rngs": rngs}
        self.front = WaveFront(config, remat=remat, **common)
        self.position = PositionConv(config, **common)
        self.norm = layer_norm(config.width, config.epsilon, **common)
        self.relative = nnx.data(None)
        if config.num_buckets:
            shape = (config.num_buckets, config.num_heads)
            self.relative = nnx.Param(jax.random.normal(rngs.params(), shape))
        self.layers = nnx.List(
            Layer(config, **common) for _ in range(config.num_layers)
        )
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
            samples: At 16 kHz, in [-1, 1]. What stands behind an utterance has no
                influence.
            lengths: Samples of each utterance; one shorter than the front's window (400
                samples) is lengthened to it with zeros.
            layers: 0 = what enters the first layer, i = the output of layer i; the last
                one after the final norm if `config.pre_norm`. None = all. Layers above
                the highest are not computed.
            hidden: What is hidden of the first layer's input, in training.

        Returns:
            States, zeros from `steps` on.

        Raises:
            ValueError: A layer that does not exist.
        """
        x, steps = self.front(samples, lengths)
        x = hide(x, steps, hidden)
        x = self.position(x, steps)
        pre_norm = self.config.pre_norm
        if not pre_norm:
            x = self.norm(x)
        bias = None
        if self.relative is not None:
            table = self.relative[...]
            bias = position_bias(table, x.shape[1], self.config.max_distance)
        options = {"norm": self.norm if pre_norm else None, "remat": self.remat}
        found = states(self.layers, x, steps, bias, wanted=layers, **options)
        return found, steps


# A module of Wav2Vec2Encoder -> its name in the hub's files.
_NAMES = {
    "front.norm": "feature_projection.layer_norm",
    "front.project": "feature_projection.projection",
    "norm": "encoder.layer_norm",
    "position": "encoder.pos_conv_embed.conv",
    "position.batch_norm": "encoder.pos_conv_embed.batch_norm",
}
_CONV_NAMES = {"conv": "conv", "norm": "layer_norm"}
_LAYER_NAMES = {
    "attention.query": "attention.q_proj",
    "attention.key": "attention.k_proj",
    "attention.value": "attention.v_proj",
    "attention.out": "attention.out_proj",
    "attention.gate.project": "attention.gru_rel_pos_linear",
    "attention.gate": "attention",
    "attention_norm": "layer_norm",
    "ffn_in": "feed_forward.intermediate_dense",
    "ffn_out": "feed_forward.output_dense",
    "ffn_norm": "final_layer_norm",
}
_KINDS = {
    "kernel": "weight",
    "scale": "weight",
    "direction": "weight_v",
    "length": "weight_g",
    "mean": "running_mean",
    "var": "running_var",
    "head_weight": "gru_rel_pos_const",
}


def source_of(path: ParamPath) -> Source:
    """Which tensor of a hub's file a variable of Wav2Vec2Encoder is."""
    if path == ("relative",):
        return Source("encoder.layers.0.attention.rel_attn_embed.weight")
    *modules, kind = map(str, path)
    if modules[0] == "layers":
        layer = _LAYER_NAMES[".".join(modules[2:])]
        module = f"encoder.layers.{modules[1]}.{layer}"
    elif modules[:2] == ["front", "convs"]:
        layer = _CONV_NAMES[modules[3]]
        module = f"feature_extractor.conv_layers.{modules[2]}.{layer}"
    else:
        module = _NAMES[".".join(modules)]
    axes = None
    if kind in ("kernel", "direction", "length"):
        axes = CONV if module.endswith(".conv") else LINEAR
    return Source(f"{module}.{_KINDS.get(kind, kind)}", axes)
