"""Reads one recording, whole or block by block, or says why it cannot be used."""

import io
import math
import os
from collections.abc import Iterable, Iterator

import numpy as np
import soundfile
import soxr

from ser_jax.features import containers, videos

BLOCK_S = 30.0  # of `AudioStream`

RATES_HZ = (1000, 768_000)  # that a recording can plausibly have
_TAIL = 1024  # bytes behind the samples that are no speech: tags, padding
# Of full scale. Integers stored as floats reach 2^31; more is no sound, and its power
# would not fit float32.
_LARGEST = 2.0**31


class AudioError(ValueError):
    """A recording cannot be used.

    `reason`, by which exclusions are counted, is `empty path`, `unreadable`, `empty audio`,
    `truncated audio`, `implausible sample rate`, `non-finite samples`, `unusable samples`,
    `too short`, `silent audio` or `constant audio`; `detail` says expected and got.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self):
        # Exceptions come back from worker processes by pickle.
        return (AudioError, (self.reason, self.detail))


def open_recording(path: str | os.PathLike) -> soundfile.SoundFile:
    """Opens a recording; of a video its sound, see `videos.sound`.

    Raises AudioError if it is unreadable, empty or truncated, or if its sample rate is
    not in `RATES_HZ`.
    """
    path = os.fspath(path)
    if not path:
        raise AudioError("empty path", "expected the path of a recording, got none")
    try:
        file = soundfile.SoundFile(_checked(path))
    except AudioError:
        raise
    except videos.Fault as fault:
        raise AudioError(*fault.args) from fault
    except OSError as error:
        raise AudioError("unreadable", f"{path}: {error.strerror}") from error
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: headerless
        reply = getattr(error, "error_string", error)
        detail = f"expected WAV, FLAC, Ogg, MP3, AIFF ..., got: {reply}"
        raise AudioError("unreadable", detail) from error
    except UnicodeError as error:
        detail = "expected a name in UTF-8, got other bytes; rename file or folder"
        raise AudioError("unreadable", detail) from error
    except ValueError as error:  # a name that no file can have
        raise AudioError("unreadable", f"{path!r}: {error}") from error
    if RATES_HZ[0] <= file.samplerate <= RATES_HZ[1] and file.frames:
        return file
    file.close()
    _check_rate(file.samplerate)
    raise AudioError("empty audio", "expected samples, got a file without any")


def _checked(path: str) -> str | containers.RepairedFile | io.BytesIO:
    """The path, or the file with a header that says how long it is, or its sound."""
    if os.path.exists(path) and not os.path.isfile(path):
        detail = "expected a file, got a folder, pipe or device"
        raise AudioError("unreadable", detail)
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            detail = "expected a recording, got a file of 0 bytes"
            raise AudioError("empty audio", detail)
        magic = file.read(4)
        if magic == b"fLaC":
            return containers.flac_with_length(path, file)
        if magic == b"OggS" and (fault := containers.ogg_fault(file)):
            raise AudioError(*fault)
        if videos.is_video(magic + file.read(4)):
            return videos.sound(path)
        file.seek(0)
        samples = containers.locate_samples(file)
        if samples is None:
            return path
        if samples.rate_hz >= 0:
            _check_rate(samples.rate_hz)
        missing = samples.declared - samples.present
        if missing <= 0 or samples.size_is_unknown or samples.size_counts_header:
            return containers.repaired(path, file, samples)
    detail = (
        f"expected {samples.declared} bytes of samples as the header says, got "
        f"{max(0, samples.present)}"
    )
    raise AudioError("truncated audio", detail)


def level(blocks: Iterable[np.ndarray]) -> tuple[float, float]:
    """Mean and standard deviation of samples; the second is 1 where nothing varies."""
    count, total, squares = 0, 0.0, 0.0
    for block in blocks:
        exact = np.asarray(block, np.float64)
        count, total = count + exact.size, total + exact.sum()
        squares += np.square(exact).sum()
    mean = total / max(count, 1)
    std = np.sqrt(max(squares / max(count, 1) - mean**2, 0.0))
    return float(mean), float(std) or 1.0


def header_note(path: str | os.PathLike) -> str:
    """What is odd about the header of a recording that can be read; mostly empty."""
    with open(path, "rb") as file:
        samples = containers.locate_samples(file)
        file.seek(0)
        magic = file.read(8)
    if samples and samples.size_counts_header:
        surplus = samples.declared - samples.present
        return (
            f"its header declares {surplus} bytes more than there are, as many as a "
            "header has; read to the end"
        )
    if samples and samples.unread > _TAIL and not samples.size_is_unknown:
        return (
            f"its header leaves out the last {samples.unread} bytes; they are not read"
        )
    checked = magic[:4] in (b"fLaC", b"OggS") or videos.is_video(magic)
    checked |= magic[:3] == b"ID3" or magic[:1] == b"\xff"
    if samples is None and not checked:
        return "of a format that does not tell whether something is missing"
    return ""


def _check_rate(rate_hz: int) -> None:
    low, high = RATES_HZ
    if not low <= rate_hz <= high:
        raise AudioError(
            "implausible sample rate",
            f"expected {low // 1000} to {high // 1000} kHz, got a sample rate of "
            f"{rate_hz} Hz",
        )


def read_blocks(file: soundfile.SoundFile, size: int = -1) -> Iterator[np.ndarray]:
    """Yields the mean of the channels, float32 [n] in [-1, 1] at the file's own rate.

    In blocks of `size` samples, -1 = all in one. Raises AudioError if the recording
    ends early, or a sample is NaN, Inf or beyond 2^31.
    """
    position = 0
    while position < file.frames:
        reply = position
        try:
            # Not -1, which soundfile refuses for codecs that cannot seek (GSM, G.721).
            num = size if size > 0 else file.frames
            samples = file.read(num, dtype="float32", always_2d=True)
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
        if (peak := np.abs(samples).max()) > _LARGEST:
            detail = f"expected samples in [-1, 1], got one of {peak:.1e}"
            raise AudioError("unusable samples", detail)
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


def check_sound(samples: np.ndarray) -> None:
    """Raises AudioError if samples [n] are silent or constant, within a bit of 16."""
    low, high = float(samples.min()), float(samples.max())
    if high - low <= 2 / 32768:
        level = (low + high) / 2
        reason = "silent audio" if abs(level) < 1e-3 else "constant audio"
        raise AudioError(reason, f"expected sound, got nothing but {level:.4f}")


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
