"""Reads one recording, whole or block by block, or says why it cannot be used."""

import math
import os
import struct
from collections.abc import Iterable, Iterator

import numpy as np
import soundfile
import soxr

BLOCK_S = 30.0  # of `AudioStream`

# Recorders that stream, SoX among them, write a size from here to 0xFFFFFFFF into the
# header as long as they do not know where the recording ends.
_UNKNOWN_SIZE = 0x7FFFF000


class AudioError(ValueError):
    """A recording cannot be used.

    `reason`, by which exclusions are counted, is `unreadable`, `empty audio`,
    `truncated audio`, `non-finite samples` or `too short`; `detail` says expected and got.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self):
        # Exceptions come back from worker processes by pickle.
        return (AudioError, (self.reason, self.detail))


def open_recording(path: str | os.PathLike) -> soundfile.SoundFile:
    """Opens a recording; raises AudioError if it is unreadable, empty or truncated."""
    path = os.fspath(path)
    try:
        empty = os.path.getsize(path) == 0
        missing = _missing_bytes(path)
        file = None if empty or missing else soundfile.SoundFile(path)
    except OSError as error:
        raise AudioError("unreadable", f"{path}: {error.strerror}") from error
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: headerless
        reply = getattr(error, "error_string", error)
        raise AudioError("unreadable", f"expected WAV or FLAC, got: {reply}") from error
    except ValueError as error:  # a name that no file can have
        raise AudioError("unreadable", f"{path!r}: {error}") from error
    if empty:
        raise AudioError("empty audio", "expected a recording, got a file of 0 bytes")
    if missing:
        raise AudioError("truncated audio", missing)
    if not file.frames:
        file.close()
        raise AudioError("empty audio", "expected samples, got a file without any")
    return file


def _missing_bytes(path: str) -> str:
    """How a WAV is cut short, or "": libsndfile would silently read what is left."""
    with open(path, "rb") as file:
        riff = file.read(12)
        if len(riff) < 12 or riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
            return ""
        while len(header := file.read(8)) == 8:
            name, declared = struct.unpack("<4sI", header)
            if name == b"data":
                break
            file.seek(declared + declared % 2, os.SEEK_CUR)  # chunks have even sizes
        else:
            return ""
        present = os.fstat(file.fileno()).st_size - file.tell()
    if not present < declared < _UNKNOWN_SIZE:
        return ""
    return f"expected {declared} bytes of samples as the WAV header says, got {present}"


def read_blocks(file: soundfile.SoundFile, size: int = -1) -> Iterator[np.ndarray]:
    """Yields the mean of the channels, float32 [n] in [-1, 1] at the file's own rate.

    In blocks of `size` samples, -1 = all in one. Raises AudioError if the recording
    ends early or a sample is NaN or Inf.
    """
    position = 0
    while position < file.frames:
        reply = position
        try:
            samples = file.read(size, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            samples, reply = (), error.error_string
        if not len(samples):
            detail = f"expected {file.frames} samples, got {reply}"
            raise AudioError("truncated audio", detail)
        position += len(samples)
        samples = samples.mean(axis=1)
        if bad := np.count_nonzero(~np.isfinite(samples)):
            detail = f"expected finite samples, got {bad} NaN or Inf of {samples.size}"
            raise AudioError("non-finite samples", detail)
        yield samples


def read(
    path: str | os.PathLike, min_duration_s: float = 0.0
) -> tuple[np.ndarray, int]:
    """Reads and checks a recording, whatever libsndfile reads, at its own rate.

    Returns (samples float32 [n] in [-1, 1], the mean of the channels; rate in Hz);
    raises AudioError for any of its reasons.
    """
    with open_recording(path) as file:
        samples, rate_hz = np.concatenate([*read_blocks(file)]), file.samplerate
    duration_s = samples.size / rate_hz
    if duration_s < min_duration_s:
        detail = f"expected at least {min_duration_s:g} s, got {duration_s:.3f} s"
        raise AudioError("too short", detail)
    return samples, rate_hz


def load(
    path: str | os.PathLike, sample_rate_hz: int, min_duration_s: float = 0.0
) -> np.ndarray:
    """What `read` reads, resampled to `sample_rate_hz`; raises the same errors."""
    samples, rate_hz = read(path, min_duration_s)
    return np.concatenate([*resample([samples], rate_hz, sample_rate_hz)])


class AudioStream:
    """A recording on disk, mono, resampled; can be iterated more than once.

    Its blocks are float32 [n] and, joined, what `load` returns, to the bit. Making one
    and iterating it raise AudioError if the recording cannot be used.
    """

    def __init__(self, path: str | os.PathLike, sample_rate_hz: int):
        self.path = os.fspath(path)
        self._target_hz = sample_rate_hz
        with open_recording(path) as file:
            self.rate_hz = file.samplerate  # its own
            # After resampling.
            self.num_samples = math.ceil(file.frames * sample_rate_hz / self.rate_hz)

    def __iter__(self) -> Iterator[np.ndarray]:
        with open_recording(self.path) as file:
            blocks = read_blocks(file, round(BLOCK_S * self.rate_hz))
            yield from resample(blocks, self.rate_hz, self._target_hz)


def resample(
    blocks: Iterable[np.ndarray], rate_hz: int, target_hz: int
) -> Iterator[np.ndarray]:
    """Blocks float32 [n] of any lengths at another rate.

    Joined, they are what `librosa.resample` returns for the joined input.
    """
    if rate_hz == target_hz:
        yield from blocks
        return
    # librosa's default quality, without the second that importing librosa takes.
    stream = soxr.ResampleStream(rate_hz, target_hz, 1, dtype="float32", quality="HQ")
    num_read = num_written = 0
    for block in blocks:
        num_read += len(block)
        chunk = stream.resample_chunk(np.ascontiguousarray(block))
        num_written += len(chunk)
        yield chunk
    rest = stream.resample_chunk(np.zeros(0, np.float32), last=True)
    # As librosa: padded with zeros, or cut, to the rounded-up length.
    missing = max(0, math.ceil(num_read * target_hz / rate_hz) - num_written)
    yield np.pad(rest[:missing], (0, max(0, missing - len(rest))))
