"""A small Whisper: `config.json`, the encoder's tensors as in the hub's files."""

import numpy as np
from flax import nnx

from ser_jax.encoders.weights import fill
from ser_jax.encoders.whisper import IGNORED, WhisperEncoder, source_of
from ser_jax.encoders.whisper_config import WhisperConfig

# No two sizes alike; 9 steps are 180 ms.
CONFIG = {
    "model_type": "whisper",
    "d_model": 24,
    "encoder_layers": 2,
    "encoder_attention_heads": 3,
    "encoder_ffn_dim": 40,
    "num_mel_bins": 80,
    "max_source_positions": 9,
    "activation_function": "gelu",
    "scale_embedding": False,
}


def shapes(config=CONFIG):
    """Names and shapes of the tensors, in PyTorch's layout."""
    width, ffn, mels = (
        config[key] for key in ("d_model", "encoder_ffn_dim", "num_mel_bins")
    )
    found = {"encoder.embed_positions.weight": (config["max_source_positions"], width)}

    def pair(name, *shape):
        found[f"encoder.{name}.weight"] = shape
        found[f"encoder.{name}.bias"] = shape[:1]

    pair("conv1", width, mels, 3)
    pair("conv2", width, width, 3)
    pair("layer_norm", width)
    for i in range(config["encoder_layers"]):
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            pair(f"layers.{i}.self_attn.{part}", width, width)
        del found[f"encoder.layers.{i}.self_attn.k_proj.bias"]
        pair(f"layers.{i}.self_attn_layer_norm", width)
        pair(f"layers.{i}.fc1", ffn, width)
        pair(f"layers.{i}.fc2", width, ffn)
        pair(f"layers.{i}.final_layer_norm", width)
    return found


def tensors(config=CONFIG, seed=0):
    """Random ones: no zero and no one hides a mistake."""
    rng, found = np.random.default_rng(seed), {}
    for name, shape in shapes(config).items():
        x = rng.normal(size=shape)
        if len(shape) > 1 and "positions" not in name:
            x *= 1.5 / np.sqrt(np.prod(shape[1:]))
        elif name.endswith("norm.weight"):
            x = 1 + 0.3 * np.tanh(x)
        found[name] = x.astype(np.float32)
    return found


def encoder(config=CONFIG, found=None, **options):
    """With those tensors, without a folder on disk."""
    sizes = WhisperConfig.of(config)
    made = nnx.eval_shape(lambda: WhisperEncoder(sizes, rngs=nnx.Rngs(0), **options))
    fill(made, tensors(config) if found is None else found, source_of, IGNORED)
    return made
