"""The encoder of a Whisper model in CTranslate2's format: `model.bin`, version 6.

A flat list, little endian: u32 version; the name of the model's kind; u32 revision; u32
count of tensors; per tensor its name, u8 rank, u32 per dimension, u8 type, u32 bytes,
data; then aliases. A name is a u16 length and as many bytes, the last of them 0. Needs
neither JAX nor the library.
"""

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ser_jax.encoders.hub_folder import require_file
from ser_jax.errors import InputError

VERSION, KIND = 6, "WhisperSpec"
TYPES = {0: "float32", 1: "int8", 2: "int16", 3: "int32", 4: "float16"}
FLOATS = ("float32", "float16")

# The hub's names of tensors, and CTranslate2's.
FRONT = {
    "conv1": "conv1",
    "conv2": "conv2",
    "embed_positions.weight": "position_encodings/encodings",
    "layer_norm": "layer_norm",
}
LAYER = {
    "self_attn_layer_norm": "self_attention/layer_norm",
    "self_attn.out_proj": "self_attention/linear_1",
    "final_layer_norm": "ffn/layer_norm",
    "fc1": "ffn/linear_0",
    "fc2": "ffn/linear_1",
}
# One matrix: the projections of queries, keys and values, one above the other.
FUSED = "self_attention/linear_0"


class _Entry(NamedTuple):
    """Where a tensor lies in the file."""

    shape: tuple[int, ...]
    type: str
    start: int
    size: int


def read_config(paths: Sequence[Path]) -> dict[str, Any]:
    """The encoder's sizes under the names of the hub's `config.json`.

    Args:
        paths: The file, or the parts it was cut into, in order.

    Raises:
        InputError: The file is missing, cut off, of another version, or no Whisper.
    """
    file = _ModelFile(paths)
    width, mels, _ = file.find("conv1/weight").shape
    names = {name.split("/")[1] for name in file.entries if name.startswith("encoder/")}
    return {
        "model_type": "whisper",
        "d_model": width,
        "encoder_layers": sum(n.removeprefix("layer_").isdigit() for n in names),
        "encoder_attention_heads": int(file.read("num_heads")),
        "encoder_ffn_dim": file.find("layer_0/ffn/linear_0/weight").shape[0],
        "num_mel_bins": mels,
        "max_source_positions": file.find(FRONT["embed_positions.weight"]).shape[0],
        "activation_function": "gelu",  # the format knows no other in this encoder
    }


def read_tensors(paths: Sequence[Path]) -> dict[str, np.ndarray]:
    """The encoder's tensors under the hub's names; no others are read.

    Raises:
        InputError: As `read_config`, or the weights are not float32 or float16.
    """
    num_layers = read_config(paths)["encoder_layers"]
    file, names = _ModelFile(paths), dict(FRONT)
    for i in range(num_layers):
        names |= {f"layers.{i}.{hub}": f"layer_{i}/{own}" for hub, own in LAYER.items()}
    found = {}
    for hub, own in names.items():
        if own.endswith("encodings"):
            found[f"encoder.{hub}"] = file.read_floats(own)
            continue
        norm = own.endswith("layer_norm")
        weight, bias = ("gamma", "beta") if norm else ("weight", "bias")
        found[f"encoder.{hub}.weight"] = file.read_floats(f"{own}/{weight}")
        found[f"encoder.{hub}.bias"] = file.read_floats(f"{own}/{bias}")
    for i in range(num_layers):
        for kind in ("weight", "bias"):
            fused = file.read_floats(f"layer_{i}/{FUSED}/{kind}")
            for part, rows in zip("qkv", np.split(fused, 3), strict=True):
                found[f"encoder.layers.{i}.self_attn.{part}_proj.{kind}"] = rows
        # The hub has none: it would cancel in the softmax.
        del found[f"encoder.layers.{i}.self_attn.k_proj.bias"]
    return found


class _ModelFile:
    """The tensors of a file in parts: what there is, and the reading of the encoder's."""

    def __init__(self, paths: Sequence[Path]):
        for path in paths:
            require_file(path)
        self._where = str(paths[0])
        # Mapped, so that only what is asked for is read.
        self._parts = [
            np.memmap(path, np.uint8, "r") for path in paths if path.stat().st_size
        ]
        self._size, self._at = sum(map(len, self._parts)), 0
        version = self._number("I")
        if version != VERSION:
            raise InputError(
                f"Expected version {VERSION} of CTranslate2's format in {self._where}; "
                f"got {version if version < 100 else 'another format'}; convert the "
                "model with ctranslate2 4.x."
            )
        kind = self._text()
        if kind != KIND:
            raise InputError(
                f"Expected a Whisper model in {self._where}; got {kind or 'none'}; take "
                "other weights."
            )
        self._number("I")  # the revision adds tensors, which are found by name
        self.entries = dict(self._entry() for _ in range(self._number("I")))

    def find(self, name: str) -> _Entry:
        """The encoder's tensor of a name."""
        try:
            return self.entries[f"encoder/{name}"]
        except KeyError:
            raise InputError(
                f"Expected encoder/{name} in {self._where}; got a Whisper model without "
                "it; convert the model again."
            ) from None

    def read(self, name: str) -> np.ndarray:
        """The encoder's tensor of a name."""
        entry = self.find(name)
        data = self._bytes(entry.start, entry.size)
        return np.frombuffer(data, entry.type).reshape(entry.shape)

    def read_floats(self, name: str) -> np.ndarray:
        """The same, which must be weights."""
        kind = self.find(name).type
        if kind not in FLOATS:
            raise InputError(
                f"Expected {' or '.join(FLOATS)} weights in {self._where}; got {kind}; "
                "convert the model with --quantization float16."
            )
        return self.read(name)

    def _entry(self) -> tuple[str, _Entry]:
        name = self._text()
        shape = tuple(self._number("I") for _ in range(self._number("B")))
        code, size = self._number("B"), self._number("I")
        kind, start = TYPES.get(code, f"type {code}"), self._at
        self._at += size
        damaged = self._at > self._size
        if code in TYPES:
            damaged |= math.prod(shape) * np.dtype(kind).itemsize != size
        if damaged:
            raise self._cut_off()
        return name, _Entry(shape, kind, start, size)

    def _number(self, kind: str) -> int:
        size = struct.calcsize("<" + kind)
        (value,) = struct.unpack("<" + kind, self._bytes(self._at, size))
        self._at += size
        return value

    def _text(self) -> str:
        size = self._number("H")
        data = self._bytes(self._at, size)
        self._at += size
        return data.rstrip(b"\0").decode(errors="replace")

    def _bytes(self, start: int, size: int) -> bytes:
        if start + size > self._size:
            raise self._cut_off()
        found, at = [], 0
        for part in self._parts:
            low, high = max(start - at, 0), max(start + size - at, 0)
            found.append(part[low:high].tobytes())
            at += len(part)
        return b"".join(found)

    def _cut_off(self) -> InputError:
        return InputError(
            f"Expected a whole CTranslate2 model in {self._where}; got one cut off or "
            "damaged; download or install it again."
        )
