"""Small encoders of the family: `config.json`, tensors as in the hub's files."""

import numpy as np
from flax import nnx

from ser_jax.encoders.wav2vec2 import IGNORED, Wav2Vec2Encoder, source_of
from ser_jax.encoders.wav2vec2_config import Wav2Vec2Config
from ser_jax.encoders.weights import fill

# No two sizes alike; a step is 320 samples, the first one needs 311.
SHARED = {
    "num_hidden_layers": 2,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "conv_dim": [5, 14],
    "conv_kernel": [23, 19],
    "conv_stride": [16, 20],
    "conv_bias": False,
    "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "group",
    "do_stable_layer_norm": False,
    "layer_norm_eps": 1e-5,
}
STABLE = {
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "do_stable_layer_norm": True,
    "num_conv_pos_embeddings": 5,
    "layer_norm_eps": 1e-3,
}
WAVLM = {"model_type": "wavlm", "num_buckets": 16, "max_bucket_distance": 20}
VARIANTS = {
    "wav2vec2": {"model_type": "wav2vec2"},
    "hubert": {"model_type": "hubert", "feat_proj_layer_norm": False},
    "hubert-batch-norm": {"model_type": "hubert", "conv_pos_batch_norm": True},
    "wavlm": WAVLM,
    "wav2vec2-stable": {"model_type": "wav2vec2", **STABLE},
    "wavlm-stable": {**WAVLM, **STABLE},
}


def config_of(variant, **changes):
    """Its `config.json`."""
    return {**SHARED, **VARIANTS[variant], **changes}


def shapes(config):
    """Names and shapes of the tensors in the hub's file, in PyTorch's layout."""
    width, ffn = config["hidden_size"], config["intermediate_size"]
    widths = [1, *config["conv_dim"]]
    found = {}

    def pair(name, *shape):
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]

    for i, size in enumerate(config["conv_kernel"]):
        name = f"feature_extractor.conv_layers.{i}"
        pair(f"{name}.conv", widths[i + 1], widths[i], size)
        if not config["conv_bias"]:
            del found[f"{name}.conv.bias"]
        if i == 0 or config["feat_extract_norm"] == "layer":
            pair(f"{name}.layer_norm", widths[i + 1])
    if config.get("feat_proj_layer_norm", True):
        pair("feature_projection.layer_norm", widths[-1])
    pair("feature_projection.projection", width, widths[-1])
    pair("encoder.layer_norm", width)
    _positions(config, found, pair)
    for i in range(config["num_hidden_layers"]):
        name = f"encoder.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            pair(f"{name}.attention.{part}", width, width)
        pair(f"{name}.layer_norm", width)
        pair(f"{name}.feed_forward.intermediate_dense", ffn, width)
        pair(f"{name}.feed_forward.output_dense", width, ffn)
        pair(f"{name}.final_layer_norm", width)
        if config["model_type"] == "wavlm":
            heads = config["num_attention_heads"]
            pair(f"{name}.attention.gru_rel_pos_linear", 8, width // heads)
            found[f"{name}.attention.gru_rel_pos_const"] = (1, heads, 1, 1)
            if i == 0:
                table = (config["num_buckets"], heads)
                found[f"{name}.attention.rel_attn_embed.weight"] = table
    return found


def _positions(config, found, pair):
    width, size = config["hidden_size"], config["num_conv_pos_embeddings"]
    name = "encoder.pos_conv_embed"
    kernel = (width, width // config["num_conv_pos_embedding_groups"], size)
    found[f"{name}.conv.bias"] = (width,)
    if config.get("conv_pos_batch_norm", False):
        found[f"{name}.conv.weight"] = kernel
        pair(f"{name}.batch_norm", width)
        for kind in ("running_mean", "running_var"):
            found[f"{name}.batch_norm.{kind}"] = (width,)
    else:
        found[f"{name}.conv.weight_v"] = kernel
        found[f"{name}.conv.weight_g"] = (1, 1, size)


def tensors(config, seed=0):
    """Random ones: no zero and no one hides a mistake."""
    rng, found = np.random.default_rng(seed), {}
    for name, shape in shapes(config).items():
        x = rng.normal(size=shape)
        if len(shape) > 1 and "rel_pos" not in name and "rel_attn" not in name:
            x *= 1.5 / np.sqrt(np.prod(shape[1:]))
        elif name.endswith(("norm.weight", "weight_g", "running_var")):
            x = 1 + 0.3 * np.tanh(x)
        found[name] = x.astype(np.float32)
    return found


def encoder(config, tensors, *, normalize=False, **options):
    """With those tensors, without a folder on disk."""
    preprocessor = {"do_normalize": normalize}
    sizes = Wav2Vec2Config.of(config, preprocessor)
    made = nnx.eval_shape(lambda: Wav2Vec2Encoder(sizes, rngs=nnx.Rngs(0), **options))
    fill(made, tensors, source_of, IGNORED)
    return made
