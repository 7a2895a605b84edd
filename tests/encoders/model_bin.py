"""Writes CTranslate2's `model.bin`, version 6, of a tiny Whisper."""

import struct

import numpy as np

TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
NORM = {"weight": "gamma", "bias": "beta"}
LAYER = {
    "self_attn_layer_norm": "self_attention/layer_norm",
    "self_attn.out_proj": "self_attention/linear_1",
    "final_layer_norm": "ffn/layer_norm",
    "fc1": "ffn/linear_0",
    "fc2": "ffn/linear_1",
}


def entries(config, tensors):
    """Name to array, as the format has them; a decoder's and the heads besides."""
    found = {
        "decoder/embeddings/weight": np.ones((3, 24), np.float32),
        "encoder/num_heads": np.int16(config["encoder_attention_heads"]),
        "encoder/position_encodings/encodings": tensors[
            "encoder.embed_positions.weight"
        ],
    }

    def pair(own, hub):
        for kind in ("weight", "bias"):
            name = NORM[kind] if own.endswith("norm") else kind
            found[f"encoder/{own}/{name}"] = tensors[f"encoder.{hub}.{kind}"]

    for name in ("conv1", "conv2", "layer_norm"):
        pair(name, name)
    for i in range(config["encoder_layers"]):
        for hub, own in LAYER.items():
            pair(f"layer_{i}/{own}", f"layers.{i}.{hub}")
        for kind in ("weight", "bias"):
            parts = [
                tensors.get(f"encoder.layers.{i}.self_attn.{part}_proj.{kind}")
                for part in "qkv"
            ]
            # The format has a bias for the keys, too; any is without influence.
            parts = [np.full(24, 0.7, np.float32) if p is None else p for p in parts]
            name = f"encoder/layer_{i}/self_attention/linear_0/{kind}"
            found[name] = np.concatenate(parts)
    return found


def text(value):
    data = value.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def content(arrays, *, version=6, kind="WhisperSpec"):
    """The file's bytes."""
    found = [struct.pack("<I", version), text(kind), struct.pack("<II", 3, len(arrays))]
    for name, array in arrays.items():
        rank = np.ndim(array)
        found += [
            text(name),
            struct.pack(f"<B{rank}I", rank, *np.shape(array)),
            struct.pack("<BI", TYPES[array.dtype.name], array.nbytes),
            array.tobytes(),
        ]
    aliases = text("decoder/projection/weight") + text("decoder/embeddings/weight")
    return b"".join([*found, struct.pack("<I", 1), aliases])
