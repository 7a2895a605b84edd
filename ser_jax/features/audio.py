"""Reads one recording, or says exactly why it cannot be used."""

import os
import struct
from collections.abc import Iterator

import numpy as np
import soundfile

# Recorders that stream, SoX among them, write a size from here to 0xFFFFFFFF into the
# header as long as they do not know where the recording ends.
_UNKNOWN_SIZE = 0x7FFFF000


class AudioError(ValueError):
    """A recording cannot be used.

    Attributes:
      reason: `unreadable`, `empty audio`, `truncated audio`, `non-finite samples`
        or `too short`; exclusions are counted by it.
      detail: Expected and got, for this recording.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self):
        # Exceptions come back from worker processes by pickle.
        return (AudioError, (self.reason, self.detail))


def open_recording(path: str | os.PathLike) -> soundfile.SoundFile:
    """Opens a recording that has samples, by all that its header and size tell.

    Raises:
      AudioError: It is missing, unreadable, empty or truncated.
    """
    path = os.fspath(path)
    try:
        if os.path.getsize(path) == 0:
            detail = "expected a recording, got a file of 0 bytes"
            raise AudioError("empty audio", detail)
        _check_complete(path)
        file = soundfile.SoundFile(path)
    except AudioError:
        raise
    except OSError as error:
        raise AudioError("unreadable", f"{path}: {error.strerror}") from error
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: headerless
        reply = getattr(error, "error_string", error)
        raise AudioError("unreadable", f"expected WAV or FLAC, got: {reply}") from error
    except ValueError as error:  # a name that no file can have
        raise AudioError("unreadable", f"{path!r}: {error}") from error
    if not file.frames:
        file.close()
        raise AudioError("empty audio", "expected samples, got a file without any")
    return file


def _check_complete(path: str) -> None:
    """Raises if a WAV is cut short: libsndfile would silently read what is left."""
    with open(path, "rb") as file:
        riff = file.read(12)
        if len(riff) < 12 or riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
            return
        while len(header := file.read(8)) == 8:
            name, declared = struct.unpack("<4sI", header)
            if name == b"data":
                break
            file.seek(declared + declared % 2, os.SEEK_CUR)  # chunks have even sizes
        else:
            return
        present = os.fstat(file.fileno()).st_size - file.tell()
    if present < declared < _UNKNOWN_SIZE:
        raise AudioError(
            "truncated audio",
            f"expected {declared} bytes of samples as the WAV header says, "
            f"got {present}",
        )


def read_blocks(file: soundfile.SoundFile, size: int = -1) -> Iterator[np.ndarray]:
    """The mean of the channels, block by block.

    Args:
      file: From `open_recording`.
      size: Samples per block; -1 = all in one.

    Yields:
      float32 [n] in [-1, 1] at the file's own rate.

    Raises:
      AudioError: The recording ends early, or a sample is NaN or Inf.
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
        bad = int(np.count_nonzero(~np.isfinite(samples)))
        if bad:
            raise AudioError(
                "non-finite samples",
                f"expected finite samples, got {bad} NaN or Inf of {samples.size}",
            )
        yield samples


def read(
    path: str | os.PathLike, min_duration_s: float = 0.0
) -> tuple[np.ndarray, int]:
    """Reads and checks a recording at its own rate.

    Args:
      path: WAV or FLAC (anything libsndfile reads), any rate, any channels.
      min_duration_s: Shorter recordings are refused.

    Returns:
      (samples float32 [n] in [-1, 1], the mean of the channels; rate in Hz).

    Raises:
      AudioError: The recording is missing, unreadable, empty, truncated, holds NaN
        or Inf, or is too short.
    """
    with open_recording(path) as file:
        samples, rate_hz = np.concatenate([*read_blocks(file)]), file.samplerate
    duration_s = samples.size / rate_hz
    if duration_s < min_duration_s:
        raise AudioError(
            "too short",
            f"expected at least {min_duration_s:g} s, got {duration_s:.3f} s",
        )
    return samples, rate_hz


def load(
    path: str | os.PathLike, sample_rate_hz: int, min_duration_s: float = 0.0
) -> tuple[np.ndarray, bool]:
    """Reads, checks and resamples a recording.

    Args:
      path: WAV or FLAC, any rate, any channels.
      sample_rate_hz: Rate of the samples that are returned.
      min_duration_s: Shorter recordings are refused.

    Returns:
      (samples float32 [n] at `sample_rate_hz`, whether they were resampled). The
      resampler is librosa's default, soxr_hq.

    Raises:
      AudioError: See `read`.
    """
    samples, rate_hz = read(path, min_duration_s)
    if rate_hz == sample_rate_hz:
        return samples, False
    import librosa  # takes a second to import, and most corpora need no resampling

    resampled = librosa.resample(samples, orig_sr=rate_hz, target_sr=sample_rate_hz)
    return resampled.astype(np.float32), True
