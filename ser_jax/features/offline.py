"""Features of whole utterances in NumPy and librosa: what the builders store."""

import contextlib
import warnings

import librosa
import numpy as np
import scipy.fft

from ser_jax.features import filters
from ser_jax.features.spec import FeatureSpec


@contextlib.contextmanager
def short_clips_allowed():
    """Silences librosa on clips shorter than its FFT: padding them is meant here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_fft=")
        yield


def power_spectrum(samples: np.ndarray, spec: FeatureSpec) -> np.ndarray:
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
    samples = samples * np.float32(spec.sample_scale)
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


def _pad_to_frames(samples: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Appends zeros to fill the last window, and room for librosa's wider FFT frame.

    librosa puts the window in the middle of the FFT frame; the same number of zeros
    in front makes window t start at sample `t * hop_samples` all the same.
    """
    frames = spec.num_frames(samples.size)
    wanted = spec.win_samples + (frames - 1) * spec.hop_samples
    margin = (spec.n_fft - spec.win_samples) // 2
    behind = spec.n_fft - spec.win_samples - margin
    return np.pad(samples, (margin, wanted - samples.size + behind))


def static_of_power(
    power: np.ndarray, filterbank: np.ndarray, spec: FeatureSpec
) -> np.ndarray:
    """Static features of a power spectrogram.

    Args:
      power: [1 + n_fft / 2, T].
      filterbank: [`num_filters`, 1 + n_fft / 2], the recipe's own or a warped one.
      spec: The recipe.

    Returns:
      float32 [T, F].
    """
    energy = np.maximum(filterbank @ power, np.float32(spec.floor))
    log = np.log(energy) if spec.log == "ln" else np.log10(energy)
    if spec.log == "db":
        log *= np.float32(10.0)
    if spec.top_db:
        log = np.maximum(log, log.max() - np.float32(spec.top_db))
    if spec.kind == "mfcc":
        log = scipy.fft.dct(log, axis=0, norm="ortho")[: spec.num_coefficients]
    return np.ascontiguousarray(log.T, dtype=np.float32)


def static(samples: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Static features of an utterance: filterbank, logarithm, for MFCC the DCT.

    For `logmel128` it equals `log10(max(librosa.feature.melspectrogram(...), floor))`,
    for `mfcc26` `librosa.feature.mfcc(..., n_mfcc=26)`, for `logmel40_psf`
    `python_speech_features.logfbank(..., nfilt=40)` of the 16-bit samples.

    Args:
      samples: float32 [n] in [-1, 1] at the recipe's rate, n >= 1.
      spec: The recipe.

    Returns:
      float32 [T, F] with T = `spec.num_frames(n)`.

    Raises:
      ValueError: `samples` is not a non-empty vector.
    """
    return static_of_power(
        power_spectrum(samples, spec), filters.filterbank(spec), spec
    )


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


def with_deltas(x: np.ndarray) -> np.ndarray:
    """Static, delta and delta-delta (delta of the delta): [T, F] -> [T, F, 3]."""
    first = deltas(x)
    return np.stack([x, first, deltas(first)], axis=-1)


def channels(x: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Static features [T, F] with the recipe's deltas, if any: [T, F, C]."""
    return with_deltas(x) if spec.deltas else x[..., None]


def features(samples: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """What is stored of an utterance; deltas run over all of it.

    Args:
      samples: float32 [n] in [-1, 1] at the recipe's rate, n >= 1.
      spec: The recipe.

    Returns:
      float32 [T, F, C]: static, and delta and delta-delta where the recipe has them.

    Raises:
      ValueError: `samples` is not a non-empty vector.
    """
    return channels(static(samples, spec), spec)
