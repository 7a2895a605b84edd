"""3-D log-mel of whole utterances in NumPy and librosa: what the builders store."""

import contextlib
import functools
import warnings

import librosa
import numpy as np

from ser_jax.features.spec import LogMelSpec


@functools.cache
def mel_filterbank(spec: LogMelSpec) -> np.ndarray:
    """Mel triangles of a recipe, float32 [F, 1 + n_fft / 2] (librosa's own)."""
    htk = spec.mel_scale == "htk"
    bank = librosa.filters.mel(
        sr=spec.sample_rate_hz,
        n_fft=spec.n_fft,
        n_mels=spec.n_mels,
        htk=htk,
        norm=None if htk else "slaney",
    )
    bank.setflags(write=False)  # cached: nobody may change it
    return bank


@contextlib.contextmanager
def short_clips_allowed():
    """Silences librosa on clips shorter than its FFT: padding them is meant here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_fft=")
        yield


def power_spectrum(samples: np.ndarray, spec: LogMelSpec) -> np.ndarray:
    """Power spectrogram of an utterance.

    Args:
      samples: float32 [n] in [-1, 1] at the recipe's rate, n >= 1.
      spec: The recipe.

    Returns:
      float32 [1 + n_fft / 2, T] with T = `spec.num_frames(n)`.

    Raises:
      ValueError: `samples` is not a non-empty vector.
    """
    if samples.ndim != 1 or not samples.size:
        raise ValueError(
            f"expected samples [n] with n >= 1, got shape {samples.shape}; "
            "mix the channels and leave empty recordings out"
        )
    if spec.preemphasis:
        emphasized = samples.copy()
        emphasized[1:] -= np.float32(spec.preemphasis) * samples[:-1]
        samples = emphasized
    if not spec.centered:
        samples = _pad_to_frames(samples, spec)
    with short_clips_allowed():
        stft = librosa.stft(
            samples,
            n_fft=spec.n_fft,
            hop_length=spec.hop_samples,
            win_length=spec.win_samples,
            window=spec.window,
            center=spec.centered,
        )
    power = np.abs(stft) ** 2
    return power if spec.centered else power / np.float32(spec.n_fft)


def _pad_to_frames(samples: np.ndarray, spec: LogMelSpec) -> np.ndarray:
    """Appends zeros to fill the last window, and room for librosa's wider FFT frame.

    librosa puts the window in the middle of the FFT frame; the same number of zeros
    in front makes window t start at sample `t * hop_samples` all the same.
    """
    frames = spec.num_frames(samples.size)
    wanted = spec.win_samples + (frames - 1) * spec.hop_samples
    margin = (spec.n_fft - spec.win_samples) // 2
    behind = spec.n_fft - spec.win_samples - margin
    return np.pad(samples, (margin, wanted - samples.size + behind))


def log_of_mel(
    power: np.ndarray, filterbank: np.ndarray, spec: LogMelSpec
) -> np.ndarray:
    """Log-mel of a power spectrogram [1 + n_fft / 2, T]: float32 [T, F]."""
    mel = np.maximum(filterbank @ power, np.float32(spec.floor))
    log = np.log10(mel) if spec.log == "log10" else np.log(mel)
    return np.ascontiguousarray(log.T, dtype=np.float32)


def log_mel(
    samples: np.ndarray, spec: LogMelSpec, filterbank: np.ndarray | None = None
) -> np.ndarray:
    """Log-mel spectrogram of an utterance.

    Equals `log10(max(librosa.feature.melspectrogram(...), floor))` of the recipe.

    Args:
      samples: float32 [n] in [-1, 1] at the recipe's rate, n >= 1.
      spec: The recipe.
      filterbank: [F, 1 + n_fft / 2]; None = the recipe's own. A warped one gives VTLP.

    Returns:
      float32 [T, F] with T = `spec.num_frames(n)`.

    Raises:
      ValueError: `samples` is not a non-empty vector.
    """
    bank = mel_filterbank(spec) if filterbank is None else filterbank
    return log_of_mel(power_spectrum(samples, spec), bank, spec)


def deltas(x: np.ndarray) -> np.ndarray:
    """Regression deltas with N = 2, first and last frame repeated at the edges.

    d[t] = sum_n n (x[t+n] - x[t-n]) / (2 sum_n n^2), n = 1, 2; so over the frames
    -2 ... +2 the weights are -0.2, -0.1, 0, 0.1, 0.2. `librosa.feature.delta` has
    another default; with `width=5, order=1, mode="nearest"` it is the same.

    Args:
      x: [T, ...] with T >= 1.

    Returns:
      Array like `x`.
    """
    padded = np.concatenate([x[:1], x[:1], x, x[-1:], x[-1:]])
    near = padded[3:-1] - padded[1:-3]
    far = padded[4:] - padded[:-4]
    return (near + 2 * far) / x.dtype.type(10)


def with_deltas(static: np.ndarray) -> np.ndarray:
    """Static, delta and delta-delta (delta of the delta): [T, F] -> [T, F, 3]."""
    first = deltas(static)
    return np.stack([static, first, deltas(first)], axis=-1)


def log_mel_3d(samples: np.ndarray, spec: LogMelSpec) -> np.ndarray:
    """Log-mel with deltas over the whole utterance.

    Args:
      samples: float32 [n] in [-1, 1] at the recipe's rate, n >= 1.
      spec: The recipe.

    Returns:
      float32 [T, F, 3]: static, delta, delta-delta.

    Raises:
      ValueError: `samples` is not a non-empty vector.
    """
    return with_deltas(log_mel(samples, spec))
