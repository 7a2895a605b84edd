"""What a recording's header says of its size, against what the file holds.

libsndfile reads what is left of a recording that was cut off, without a word, and
nothing of one whose writer left a 0 where it did not know the size.
"""

import io
import math
import mmap
import os
import re
import struct
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

import soundfile

# Recorders that stream write a size from here on (SoX, ffmpeg, arecord, each its own)
# as long as they do not know where the recording ends.
_UNKNOWN_SIZE = 0x7F000000
_OGG_LAST_PAGE = 1 << 17  # bytes from the end that hold a whole page: at most 65,307
_FLAC_TOTAL = struct.Struct(">Q")  # its lower 36 bits, at byte 18: samples in all


class Samples(NamedTuple):
    """Where a file's samples are."""

    start: int  # their first byte
    declared: int  # bytes, as the header says
    present: int  # bytes from `start` to the end of the file
    size_at: int = 0  # byte at which the declared size stands in the header
    size_format: str = ""  # of `struct`; empty if it is no binary number
    overhead: int = 0  # bytes that the number in the header counts besides
    rate_hz: int = -1  # as the header says; -1 = not looked up
    unread: int = 0  # bytes behind the declared ones that are no chunks of their own

    @property
    def size_is_unknown(self) -> bool:
        """Whether the writer left the size open, so that all behind it is samples."""
        if self.present <= 0 or not self.size_format:
            return False
        if self.size_format.endswith("Q"):
            open_ends = self.declared == 2**32 - 1 or self.declared >= 2**62
        else:
            open_ends = self.declared >= _UNKNOWN_SIZE
        return self.declared <= 0 or open_ends

    @property
    def header_misleads(self) -> bool:
        """Whether libsndfile would take a size left open at its word."""
        return self.size_is_unknown and (
            self.declared <= 0 or self.size_format.endswith("Q")
        )

    @property
    def size_counts_header(self) -> bool:
        """Whether the size is off by the header, which its writer counted, too."""
        surplus = self.declared - self.present
        return surplus > 0 and surplus in (36, 44, self.start - 8, self.start)


class _Chunks(NamedTuple):
    """How a family of formats names and measures its chunks."""

    first: int  # byte of the first chunk
    header: str  # format of a chunk's name and size
    samples: bytes  # how the name of the chunk with the samples begins
    align: int  # chunks begin at multiples of this
    overhead: int = 0  # bytes of a chunk's header, where its size counts them


_RIFF = _Chunks(12, "<4sI", b"data", 2)
_FAMILIES = {
    b"RIFF": _RIFF,
    b"RF64": _RIFF,
    b"BW64": _RIFF,
    b"RIFX": _Chunks(12, ">4sI", b"data", 2),
    b"FORM": _Chunks(12, ">4sI", b"SSND", 2),  # AIFF
    b"riff": _Chunks(40, "<16sQ", b"data", 8, overhead=24),  # Wave64
    b"caff": _Chunks(8, ">4sQ", b"data", 1),
}


def locate_samples(file: BinaryIO) -> Samples | None:
    """Finds the samples of a WAV, RF64, Wave64, AIFF, CAF, AU or SPHERE file.

    `file` must stand at its start.

    None for other formats and for files without samples: libsndfile judges those.
    """
    magic = file.read(8)
    if magic[:4] in _FAMILIES:
        return _find_chunk(file, _FAMILIES[magic[:4]])
    if magic[:4] == b".snd" and _size(file) >= 24:
        file.seek(0)
        _, start, declared = struct.unpack(">4sII", file.read(12).ljust(12, b"\0"))
        return Samples(start, declared, _size(file) - start, 8, ">I")
    if magic == b"NIST_1A\n":
        return _sphere(file)
    return None


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _find_chunk(file: BinaryIO, family: _Chunks) -> Samples | None:
    file.seek(family.first)
    own = struct.calcsize(family.header)
    size_format = family.header[0] + family.header[-1]
    rate_hz, long_size = -1, None
    while len(header := file.read(own)) == own:
        name, size = struct.unpack(family.header, header)
        size -= family.overhead
        start = file.tell()
        if name.startswith(family.samples):
            size_at = start - struct.calcsize(size_format)
            if long_size is not None and size == 0xFFFFFFFF:
                size_at, size_format = long_size
                file.seek(size_at)
                (size,) = struct.unpack(size_format, file.read(8))
            present = _size(file) - start
            if size <= 0 and _is_chunks(file, start, family):
                present = 0  # a header alone, perhaps with notes behind it
            found = Samples(
                start, size, present, size_at, size_format, family.overhead, rate_hz
            )
            end = start + size + -(start + size) % family.align
            if 0 < size < present and not _is_chunks(file, end, family):
                found = found._replace(unread=present - size)
            return found
        if not 0 <= size <= _size(file) - start:
            return None
        if name == b"ds64":  # sizes of RIFF and of the samples, 64 bits each
            long_size = (start + 8, "<Q")
        elif name == b"fmt ":
            fields = file.read(8).ljust(8, b"\0")
            (rate_hz,) = struct.unpack_from(size_format, fields, 4)
        file.seek(start + size + -(start + size) % family.align)
    return None


def _is_chunks(file: BinaryIO, start: int, family: _Chunks) -> bool:
    """Whether chunks, not samples, fill the file from `start` to its end."""
    end, own = _size(file), struct.calcsize(family.header)
    while start < end:
        file.seek(start)
        header = file.read(own)
        if len(header) < own or not header[:4].decode("latin-1").isprintable():
            return False
        _, size = struct.unpack(family.header, header)
        start += max(0, size - family.overhead) + own
        start += -start % family.align
    return start <= end + 1  # a missing pad byte


def _sphere(file: BinaryIO) -> Samples | None:
    file.seek(0)
    head = file.read(1024).decode("latin-1")
    fields = dict(re.findall(r"^(\w+) -i (\d+)\s*$", head, re.MULTILINE))
    factors = ("sample_count", "channel_count", "sample_n_bytes")
    start = head[8:16].strip()
    if not start.isdecimal() or not all(name in fields for name in factors):
        return None
    declared = math.prod(int(fields[name]) for name in factors)
    return Samples(int(start), declared, _size(file) - int(start))


def ogg_fault(file: BinaryIO) -> tuple[str, str] | None:
    """(Reason, what was expected and got) unless the last page ends the only stream."""
    file.seek(0)
    first_stream = file.read(18)[14:]
    file.seek(max(0, _size(file) - _OGG_LAST_PAGE))
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    sizes = page[27 : 27 + page[26]] if len(page) > 26 else b""
    whole = len(page) >= 27 and len(page) >= 27 + page[26] + sum(sizes)
    if not whole or not page[5] & 4:
        return "truncated audio", "expected a page marked as the last, got none"
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        begins = re.findall(rb"OggS\0[\x02\x03\x06\x07]", content)
    if page[14:18] != first_stream or len(begins) > 1:
        return "unreadable", "expected one stream, got several in one Ogg file"
    return None


class RepairedFile(io.FileIO):
    """A file, some bytes of whose header read as others: `repairs`, by position."""

    def __init__(self, path: str, repairs: Mapping[int, bytes]):
        super().__init__(path)
        self._repairs = repairs

    def __del__(self):
        self.close()  # soundfile closes only what it opened itself

    def readinto(self, buffer) -> int:
        start = self.tell()
        num = super().readinto(buffer)
        view = memoryview(buffer).cast("B")
        for position, content in self._repairs.items():
            for at, value in enumerate(content, position - start):
                if 0 <= at < num:
                    view[at] = value
        return num


def repaired(path: str, file: BinaryIO, samples: Samples) -> RepairedFile | str:
    """The file with a header that libsndfile understands, if it has another."""
    repairs = {}
    file.seek(0)
    if file.read(4) == b"BW64":
        repairs[0] = b"RF64"
    counts_header = samples.size_counts_header and samples.size_format
    if samples.header_misleads or counts_header:
        largest = 256 ** struct.calcsize(samples.size_format) - 1
        size = min(samples.present + samples.overhead, largest)
        repairs[samples.size_at] = struct.pack(samples.size_format, size)
    return RepairedFile(path, repairs) if repairs else path


def flac_with_length(path: str, file: BinaryIO) -> RepairedFile | str:
    """A FLAC whose encoder did not know its length, with one.

    All of it is decoded: nothing else says how long it is.
    """
    file.seek(18)
    content = file.read(_FLAC_TOTAL.size).ljust(_FLAC_TOTAL.size, b"\0")
    (fields,) = _FLAC_TOTAL.unpack(content)
    if fields % 2**36:
        return path
    total = 0
    with _ForwardOnly(path) as stream:
        while size := len(stream.read(1 << 20, dtype="int16", always_2d=True)):
            total += size
    return RepairedFile(path, {18: _FLAC_TOTAL.pack(fields + total)})


class _ForwardOnly(soundfile.SoundFile):
    def seekable(self) -> bool:
        """False: or soundfile seeks to the end of what it read, which fails there."""
        return False
