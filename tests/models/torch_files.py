"""Writes PyTorch's two weight formats by hand, opcode by opcode: no PyTorch needed."""

import pickle
import struct
import zipfile

import numpy as np

STORAGES = {"float32": "FloatStorage", "int64": "LongStorage", "float16": "HalfStorage"}
ORDERED = b"ccollections\nOrderedDict\n)R"


def text(value):
    """A string."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    """A 32-bit integer."""
    return b"J" + struct.pack("<i", value)


def numbers(values):
    """A tuple of them."""
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(key, array, *, size=None, stride=None, offset=0, count=None, view=b""):
    """A tensor that lies in the storage `key`; the rest follows from the array."""
    steps = [s // array.itemsize for s in array.strides]
    storage = text("storage") + f"ctorch\n{STORAGES[array.dtype.name]}\n".encode()
    storage += text(key) + text("cpu")
    storage += number(array.size if count is None else count) + view
    return b"".join(
        [
            b"ctorch._utils\n_rebuild_tensor_v2\n",
            b"((" + storage + b"tQ" + number(offset),
            numbers(array.shape if size is None else size),
            numbers(steps if stride is None else stride),
            b"\x89" + ORDERED + b"tR",
        ]
    )


def dictionary(entries):
    """A pickle of an OrderedDict; values are opcodes."""
    items = b"".join(text(name) + value for name, value in entries.items())
    return b"\x80\x02" + ORDERED + b"(" + items + b"u."


def state_dict(arrays):
    """A state dict whose storages are named 0, 1, ..."""
    return dictionary(
        {name: tensor(str(i), x) for i, (name, x) in enumerate(arrays.items())}
    )


def write_legacy(path, arrays, opcodes=None, *, little_endian=True):
    """The form before PyTorch 1.6; `opcodes` replace the state dict."""
    system = {"protocol_version": 1001, "little_endian": little_endian}
    keys = [str(i) for i in range(len(arrays))]
    parts = [pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, system)]
    parts += [opcodes or state_dict(arrays), pickle.dumps(keys, 2)]
    for x in arrays.values():
        parts += [struct.pack("<q", x.size), np.ascontiguousarray(x).tobytes()]
    path.write_bytes(b"".join(parts))


def write_zip(path, arrays, opcodes=None, *, byteorder="little", name="archive"):
    """The form since PyTorch 1.6."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/data.pkl", opcodes or state_dict(arrays))
        archive.writestr(f"{name}/byteorder", byteorder)
        for i, x in enumerate(arrays.values()):
            data = np.ascontiguousarray(x).tobytes()
            archive.writestr(f"{name}/data/{i}", data)
        archive.writestr(f"{name}/version", "3\n")
