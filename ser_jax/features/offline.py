"""Features of whole utterances in NumPy and SciPy: what the builders store."""

import functools

import numpy as np
import scipy.fft
import scipy.signal
import scipy.sparse

from ser_jax.features import filters
from ser_jax.features.spec import FeatureSpec


def power_spectrum(samples: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Power spectrogram float32 [T, 1 + n_fft / 2] of samples, see `features`."""
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
    num_frames = spec.num_frames(samples.size)
    before = spec.lead_samples
    length = spec.win_samples + (num_frames - 1) * spec.hop_samples
    behind = max(0, length - before - samples.size)
    padded = np.pad(samples, (before, behind))[:length]
    frames = np.lib.stride_tricks.sliding_window_view(padded, spec.win_samples)
    frames = frames[:: spec.hop_samples] * window(spec)
    # The FFT's zeros stand behind the window, librosa's on both sides of it: a shift,
    # which the power does not see.
    spectrum = scipy.fft.rfft(frames, n=spec.n_fft, overwrite_x=True)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return power.astype(np.float32) / np.float32(1 if spec.centered else spec.n_fft)


@functools.cache
def window(spec: FeatureSpec) -> np.ndarray:
    """The recipe's window, float64 [`win_samples`]: quiet bands need the digits."""
    values = scipy.signal.get_window(spec.window, spec.win_samples)
    values.setflags(write=False)  # all callers share the cached array
    return values


def log_energy(
    power: np.ndarray, filterbanks: np.ndarray, spec: FeatureSpec
) -> np.ndarray:
    """Logarithms of the energy in each band, before `top_db`, float32 [V, T, bands].

    Of power [T, bins] by V filterbanks [V, bands, bins], the recipe's own or warped.
    """
    copies, bands, bins = filterbanks.shape
    # At most two bands read a bin, so the bank of all copies is a sparse matrix.
    bank = scipy.sparse.csr_array(filterbanks.reshape(-1, bins))
    energy = bank @ np.ascontiguousarray(power.T)
    np.maximum(energy, np.float32(spec.floor), out=energy)
    # NumPy's float32 log is several times faster than its log10.
    log = np.log(energy, out=energy)
    if spec.log != "ln":
        log *= np.float32({"log10": 1.0, "db": 10.0}[spec.log] / np.log(10.0))
    return log.reshape(copies, bands, -1).transpose(0, 2, 1)


def features_of_log(log: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Features [V, T, F, C] of the logarithms [V, T, `num_filters`] of V waves."""
    if spec.top_db:
        peak = log.max(axis=(1, 2), keepdims=True)
        log = np.maximum(log, peak - np.float32(spec.top_db))
    if spec.kind == "mfcc":
        log = scipy.fft.dct(log, axis=-1, norm="ortho")[..., : spec.num_coefficients]
    if not spec.deltas:
        return np.ascontiguousarray(log)[..., None]
    return np.stack([with_deltas(x) for x in np.ascontiguousarray(log)])


def features(samples: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Features of an utterance, float32 [n] in [-1, 1] at the recipe's rate, n >= 1.

    The static values equal, for `logmel128`,
    `log10(max(librosa.feature.melspectrogram(...), floor))`, for `mfcc26`
    `librosa.feature.mfcc(..., n_mfcc=26)`, for `logmel40_psf`
    `python_speech_features.logfbank(..., nfilt=40)` of the 16-bit samples.

    Returns float32 [T, F, C] with T = `spec.num_frames(n)`: static, and delta and
    delta-delta where the recipe has them. Raises ValueError unless `samples` is a
    non-empty vector.
    """
    power = power_spectrum(samples, spec)
    log = log_energy(power, filters.filterbank(spec)[None], spec)
    return features_of_log(log, spec)[0]


def deltas(x: np.ndarray) -> np.ndarray:
    """Regression deltas with N = 2, first and last frame repeated at the edges.

    d[t] = sum_n n (x[t+n] - x[t-n]) / (2 sum_n n^2), n = 1, 2. `librosa.feature.delta`
    has another default; with `width=5, order=1, mode="nearest"` it is the same.
    `x` is [T, ...] with T >= 1, the result like it.
    """
    padded = np.concatenate([x[:1], x[:1], x, x[-1:], x[-1:]])
    near = padded[3:-1] - padded[1:-3]
    far = padded[4:] - padded[:-4]
    return (near + 2 * far) / x.dtype.type(10)


def with_deltas(x: np.ndarray) -> np.ndarray:
    """Static, delta and delta-delta (delta of the delta): [T, F] -> [T, F, 3]."""
    first = deltas(x)
    return np.stack([x, first, deltas(first)], axis=-1)
