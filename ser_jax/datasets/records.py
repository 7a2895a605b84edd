"""Records of a built dataset, whichever format, without TensorFlow."""

import os
import struct
from collections.abc import Iterator

from ser_jax.errors import InputError

# A TFRecord: length (u64), its masked CRC (u32), that many bytes, their CRC (u32).
_HEADER = struct.Struct("<QI")
_FOOTER_BYTES = 4


def examples(builder) -> Iterator[dict]:
    """Decoded examples of all splits, as NumPy."""
    if builder.info.file_format.value == "tfrecord":
        features = builder.info.features
        for name in builder.info.splits:
            for path in builder.info.splits[name].filepaths:
                for record in tfrecords(path):
                    yield features.deserialize_example_np(record)
    else:
        for name in builder.info.splits:
            source = builder.as_data_source(split=name)
            for index in range(len(source)):
                yield source[index]


def tfrecords(path: str | os.PathLike) -> Iterator[bytes]:
    """Records of a TFRecord file, without TensorFlow.

    Lengths are checked, checksums are not (no CRC-32C in the standard library).

    Args:
      path: An uncompressed TFRecord file.

    Yields:
      One record each.

    Raises:
      InputError: The file ends inside a record.
    """
    with open(path, "rb") as file:
        while header := file.read(_HEADER.size):
            length = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else -1
            left = os.fstat(file.fileno()).st_size - file.tell() - _FOOTER_BYTES
            if not 0 <= length <= left:
                raise InputError(
                    f"{path} is damaged: expected a whole record at its end, got "
                    "fewer bytes. Delete the dataset's folder and run again."
                )
            yield file.read(length)
            file.read(_FOOTER_BYTES)
