"""Records of a built dataset, whichever format, without TensorFlow.

TFDS itself reads TFRecords through TensorFlow only, which takes seconds to import.
"""

import os
import struct
from collections.abc import Iterator

from ser_jax.errors import InputError

# A TFRecord: length (u64), its masked CRC (u32), that many bytes, their CRC (u32).
_HEADER = struct.Struct("<QI")
_FOOTER_BYTES = 4


def examples(builder) -> Iterator[dict]:
    """Decoded examples of all splits, as NumPy."""
    is_tfrecord = builder.info.file_format.value == "tfrecord"
    for name, split in builder.info.splits.items():
        if is_tfrecord:
            for path in split.filepaths:
                for record in tfrecords(path):
                    yield builder.info.features.deserialize_example_np(record)
        else:
            source = builder.as_data_source(split=name)
            for index in range(len(source)):
                yield source[index]


def tfrecords(path: str | os.PathLike) -> Iterator[bytes]:
    """Records of an uncompressed TFRecord file.

    Lengths are checked, checksums are not (no CRC-32C in the standard library).

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
