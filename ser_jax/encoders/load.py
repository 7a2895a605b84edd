"""An encoder with its pretrained weights."""

import jax.numpy as jnp
from flax import nnx

from ser_jax.encoders import files, wav2vec2, whisper
from ser_jax.encoders.spec import EncoderSpec, read_spec
from ser_jax.encoders.weights import fill

Encoder = whisper.WhisperEncoder | wav2vec2.Wav2Vec2Encoder


def load(weights: str, *, dtype: str = "float32", remat: bool = False) -> Encoder:
    """Makes the encoder that the weights belong to, and gives it them.

    Args:
        weights: `whisper-tiny.en`, `whisper-base` (packages of the extra `encoders`),
            or a folder: one of the Hugging Face hub (`config.json`, `*.safetensors`),
            or a Whisper's in CTranslate2's format (`model.bin`).
        dtype: Of the computation; parameters are float32.
        remat: Whether the backward pass computes every layer's insides again.

    Raises:
        InputError: The weights are missing, damaged, or of another architecture.
    """
    spec = read_spec(weights)
    tensors = files.read_tensors(weights)
    encoder = without_weights(spec, dtype=dtype, remat=remat)
    module = whisper if spec.kind == "whisper" else wav2vec2
    fill(encoder, tensors, module.source_of, module.IGNORED, origin=weights)
    return encoder


def without_weights(
    spec: EncoderSpec, *, dtype: str = "float32", remat: bool = False
) -> Encoder:
    """The encoder of `load` with shapes in place of weights."""
    whisper_like = spec.kind == "whisper"
    make = whisper.WhisperEncoder if whisper_like else wav2vec2.Wav2Vec2Encoder
    options = {"dtype": jnp.dtype(dtype), "remat": remat}
    # Random weights would be made in vain.
    return nnx.eval_shape(lambda: make(spec.config, rngs=nnx.Rngs(0), **options))
