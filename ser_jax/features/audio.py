"""Reads one recording, or says exactly why it cannot be used."""

import os
import struct

import numpy as np
import soundfile

# What a recorder writes as the size of a stream whose end it does not know yet.
_UNKNOWN_SIZE = 0x7FFFF000  # SoX and others write something from here to 0xFFFFFFFF


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


def _declared_and_present(path: str) -> tuple[int, int] | None:
    """Bytes a WAV's data chunk promises and bytes the file holds; None if not WAV."""
    with open(path, "rb") as file:
        riff = file.read(12)
        if len(riff) < 12 or riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
            return None
        file_size = os.fstat(file.fileno()).st_size
        while len(header := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if name == b"data":
                return size, file_size - file.tell()
            file.seek(size + size % 2, os.SEEK_CUR)
    return None


def _check_complete(path: str) -> None:
    """Raises if a WAV is cut short: libsndfile would silently read what is left."""
    sizes = _declared_and_present(path)
    if sizes is None or sizes[0] >= _UNKNOWN_SIZE:
        return
    declared, present = sizes
    if present < declared:
        raise AudioError(
            "truncated audio",
            f"expected {declared} bytes of samples as the WAV header says, "
            f"got {present}",
        )


def opened(path: str) -> soundfile.SoundFile:
    """Opens a recording after a look at its size; close it.

    Raises:
      AudioError: It is empty, cut short or none that libsndfile reads.
      OSError: It cannot be opened.
    """
    try:
        size = os.path.getsize(path)
    except ValueError as error:  # a name that no file can have
        raise AudioError("unreadable", f"{path!r}: {error}") from error
    if size == 0:
        raise AudioError("empty audio", "expected a recording, got a file of 0 bytes")
    _check_complete(path)
    try:
        return soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: headerless
        said = getattr(error, "error_string", error)
        raise AudioError("unreadable", f"expected WAV or FLAC, got: {said}") from error


def _decode(path: str) -> tuple[np.ndarray, int]:
    """All samples float32 [n, channels] and the rate, checked for completeness."""
    with opened(path) as file:
        expected = file.frames
        try:
            samples = file.read(dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                "truncated audio",
                f"expected {expected} samples, got: {error.error_string}",
            ) from error
        if len(samples) < expected:
            raise AudioError(
                "truncated audio",
                f"expected {expected} samples, got {len(samples)}",
            )
        return samples, file.samplerate


def mono(samples: np.ndarray) -> np.ndarray:
    """The mean of the channels of [n, channels].

    Raises:
      AudioError: A sample is NaN or Inf.
    """
    samples = samples.mean(axis=1)
    bad = int(np.count_nonzero(~np.isfinite(samples)))
    if bad:
        raise AudioError(
            "non-finite samples",
            f"expected finite samples, got {bad} NaN or Inf of {samples.size}",
        )
    return samples


def read(path: str, min_duration_s: float = 0.0) -> tuple[np.ndarray, int]:
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
    path = os.fspath(path)
    try:
        samples, rate_hz = _decode(path)
    except OSError as error:
        raise AudioError("unreadable", f"{path}: {error.strerror}") from error
    if not samples.size:
        raise AudioError("empty audio", "expected samples, got a file without any")
    samples = mono(samples)
    duration_s = samples.size / rate_hz
    if duration_s < min_duration_s:
        raise AudioError(
            "too short",
            f"expected at least {min_duration_s:g} s, got {duration_s:.3f} s",
        )
    return samples, rate_hz


def load(
    path: str, sample_rate_hz: int, min_duration_s: float = 0.0
) -> tuple[np.ndarray, bool]:
    """Reads, checks and resamples a recording.

    Args:
      path: WAV or FLAC, any rate, any channels.
      sample_rate_hz: Wanted rate.
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
