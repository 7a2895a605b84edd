"""Features of whole utterances in NumPy and SciPy: what the builders store."""

import functools

import numpy as np
import scipy.fft
import scipy.signal
import scipy.sparse

from ser_jax.features import filters
from ser_jax.features.spec import FeatureSpec


def power_spectrum(samples: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Power spectrogram of an utterance.

    The window is put before its zeros, not in their middle: a shift that the power does
    not see.

    Args:
      samples: float32 [n] in [-1, 1] at the recipe's rate, n >= 1.
      spec: The recipe.

    Returns:
      float32 [T, 1 + n_fft / 2] with T = `spec.num_frames(n)`.

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
    frames = spec.num_frames(samples.size)
    before = spec.lead_samples
    wanted = spec.win_samples + (frames - 1) * spec.hop_samples
    behind = max(0, wanted - before - samples.size)
    padded = np.pad(samples, (before, behind))[:wanted]
    windows = np.lib.stride_tricks.sliding_window_view(padded, spec.win_samples)
    windows = windows[:: spec.hop_samples] * window(spec)
    spectrum = scipy.fft.rfft(windows, n=spec.n_fft, overwrite_x=True)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return power.astype(np.float32) / np.float32(1 if spec.centered else spec.n_fft)


@functools.cache
def window(spec: FeatureSpec) -> np.ndarray:
    """The recipe's window, float64 [`win_samples`]: quiet bands need the digits."""
    found = scipy.signal.get_window(spec.window, spec.win_samples)
    found.setflags(write=False)  # cached: nobody may change it
    return found


def log_energy(
    power: np.ndarray, filterbanks: np.ndarray, spec: FeatureSpec
) -> np.ndarray:
    """Logarithms of the energy in each band, before `top_db`.

    Args:
      power: [T, 1 + n_fft / 2].
      filterbanks: [V, `num_filters`, 1 + n_fft / 2]; the recipe's own, warped ones.
      spec: The recipe.

    Returns:
      float32 [V, T, `num_filters`].
    """
    copies, bands, bins = filterbanks.shape
    # Two bands read a bin: all copies' triangles together are a thin matrix.
    bank = scipy.sparse.csr_array(filterbanks.reshape(-1, bins))
    energy = bank @ np.ascontiguousarray(power.T)
    np.maximum(energy, np.float32(spec.floor), out=energy)
    # NumPy's float32 log is several times faster than its log10.
    log = np.log(energy, out=energy)
    if spec.log != "ln":
        log *= np.float32({"log10": 1.0, "db": 10.0}[spec.log] / np.log(10.0))
    return log.reshape(copies, bands, -1).transpose(0, 2, 1)


def static_of_log(log: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Static features [V, T, F] of the logarithms [V, T, `num_filters`]."""
    if spec.top_db:
        peak = log.max(axis=(1, 2), keepdims=True)
        log = np.maximum(log, peak - np.float32(spec.top_db))
    if spec.kind == "mfcc":
        log = scipy.fft.dct(log, axis=-1, norm="ortho")[..., : spec.num_coefficients]
    return np.ascontiguousarray(log)


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
    log = log_energy(
        power_spectrum(samples, spec), filters.filterbank(spec)[None], spec
    )
    return static_of_log(log, spec)[0]


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
