"""Vocal tract length perturbation: another speaker's throat, the same words."""

import contextlib
import hashlib
import warnings

import librosa
import numpy as np

from ser_jax.features import audio, filters, offline
from ser_jax.features.spec import FeatureSpec

MODES = ("textbook", "nlpaug")

# Below this frequency the axis is scaled by alpha (Jaitly & Hinton 2013; nlpaug too).
F_HI_HZ = 4800.0

# librosa's default STFT, which nlpaug warps.
_NLPAUG_N_FFT = 2048
_NLPAUG_HOP = 512


def warp_factors(
    utterance_id: str, num: int, low: float, high: float, seed: int = 0
) -> np.ndarray:
    """The warp factors of an utterance's copies.

    Args:
      utterance_id: Makes the draw a property of the utterance, so that neither the
        order of a corpus nor the number of processes changes it.
      num: Number of copies V.
      low: Smallest factor, > 0.
      high: Largest factor.
      seed: Another seed draws other factors.

    Returns:
      float32 [V], uniform in [low, high).
    """
    digest = hashlib.sha256(utterance_id.encode()).digest()
    generator = np.random.default_rng([int.from_bytes(digest[:8], "little"), seed])
    return generator.uniform(low, high, num).astype(np.float32)


def textbook_map(
    frequency_hz: np.ndarray, alpha: float, sample_rate_hz: int
) -> np.ndarray:
    """Where energy at a frequency moves (Jaitly & Hinton 2013, section 3).

    With S half the sample rate and b = F_hi min(alpha, 1):
    G(f) = alpha f for f <= b / alpha, else S - (S - b) / (S - b / alpha) (S - f).

    Args:
      frequency_hz: Frequencies in [0, S].
      alpha: Warp factor; 1.2 moves 1000 Hz to 1200 Hz.
      sample_rate_hz: Sample rate, more than 2 F_hi / min(alpha, 1).

    Returns:
      Warped frequencies in [0, S], increasing, S stays S.
    """
    nyquist = sample_rate_hz / 2
    bound = F_HI_HZ * min(alpha, 1.0)
    slope = (nyquist - bound) / (nyquist - bound / alpha)
    return np.where(
        frequency_hz <= bound / alpha,
        alpha * frequency_hz,
        nyquist - slope * (nyquist - frequency_hz),
    )


def nlpaug_map(num_bins: int, alpha: float, sample_rate_hz: int) -> np.ndarray:
    """Bin that each bin moves to in nlpaug's VTLP.

    Differs from the paper, as nlpaug does: the bins of 0 ... S are laid on an axis
    of 0 ... 2 S and the map is rescaled to its own maximum, so alpha 1.2 moves
    1000 Hz to 1333 Hz and 0.8 to 696 Hz.

    Args:
      num_bins: Bins between 0 Hz and half the sample rate, both included.
      alpha: Warp factor.
      sample_rate_hz: Sample rate.

    Returns:
      float64 [num_bins], positions in [0, num_bins - 1].
    """
    axis_hz = np.linspace(0.0, sample_rate_hz, num_bins)
    warped = textbook_map(axis_hz, alpha, sample_rate_hz)
    return warped * (num_bins - 1) / warped.max()


def warped_filterbank(spec: FeatureSpec, alpha: float) -> np.ndarray:
    """The recipe's filterbank on the spectrum warped by `textbook_map`.

    Energy at f is counted where G(f) lies: a mel triangle weights a bin by its height
    there, a spectrogram's bin is read from the unwarped spectrum by interpolation. One
    STFT serves any number of factors.

    Args:
      spec: The recipe.
      alpha: Warp factor; 1 gives the recipe's own filterbank.

    Returns:
      float32 [`spec.num_filters`, 1 + n_fft / 2].
    """
    places = textbook_map(filters.bin_frequencies(spec), alpha, spec.sample_rate_hz)
    return filters.filterbank_at(spec, places)


@contextlib.contextmanager
def _short_clips_allowed():
    """Silences librosa on clips shorter than its FFT: padding them is meant here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_fft=")
        yield


def nlpaug_warp(samples: np.ndarray, alpha: float, sample_rate_hz: int) -> np.ndarray:
    """nlpaug's VTLP of a waveform, for comparison with the published one.

    Every complex STFT bin but the first and the last is shared between the two bins
    around its new place; the inverse STFT gives the wave.

    Differs from nlpaug: the wave keeps its length (nlpaug drops up to one hop).

    Args:
      samples: float32 [n].
      alpha: Warp factor.
      sample_rate_hz: Sample rate.

    Returns:
      float32 [n].
    """
    with _short_clips_allowed():
        stft = librosa.stft(samples, n_fft=_NLPAUG_N_FFT, hop_length=_NLPAUG_HOP)
    num_bins = stft.shape[0]
    place = nlpaug_map(num_bins, alpha, sample_rate_hz)[1:-1]
    below = np.minimum(place.astype(np.int64), num_bins - 2)
    share = (place - below).astype(np.float32)[:, None]
    warped = np.zeros_like(stft)
    warped[0], warped[-1] = stft[0], stft[-1]
    np.add.at(warped, below, (1 - share) * stft[1:-1])
    np.add.at(warped, below + 1, share * stft[1:-1])
    return librosa.istft(
        warped, n_fft=_NLPAUG_N_FFT, hop_length=_NLPAUG_HOP, length=samples.size
    )


def vtlp_copies(
    samples: np.ndarray, spec: FeatureSpec, factors: np.ndarray, mode: str
) -> np.ndarray:
    """Features of perturbed copies of an utterance.

    Args:
      samples: float32 [n] in [-1, 1] at the recipe's rate, n >= 1.
      spec: The recipe.
      factors: Warp factors [V].
      mode: `textbook` (warped filterbank) or `nlpaug` (warped waveform).

    Returns:
      float32 [V, T, F, C] with the T of the unperturbed utterance.

    Raises:
      ValueError: Unknown mode, or `samples` is not a non-empty vector.
    """
    if mode not in MODES:
        raise ValueError(f"expected a VTLP mode of {MODES}, got {mode!r}")
    if not len(factors):
        shape = (0, spec.num_frames(samples.size), spec.num_bands, spec.num_channels)
        return np.zeros(shape, np.float32)
    if mode == "textbook":
        static = offline.static_of_log(recording_log(samples, spec, factors)[1:], spec)
    else:
        static = [
            offline.static(
                nlpaug_warp(samples, float(alpha), spec.sample_rate_hz), spec
            )
            for alpha in factors
        ]
    return np.stack([offline.channels(copy, spec) for copy in static])


def recording_log(
    samples: np.ndarray, spec: FeatureSpec, factors: np.ndarray
) -> np.ndarray:
    """Logarithms before `top_db`, all from one power spectrogram.

    Args:
      samples: float32 [n] in [-1, 1] at the recipe's rate, n >= 1.
      spec: The recipe.
      factors: Warp factors [V] of `textbook` copies.

    Returns:
      float32 [1 + V, T, `num_filters`]: the recording itself, then its copies.
    """
    banks = [filters.filterbank(spec)]
    banks += [warped_filterbank(spec, float(alpha)) for alpha in factors]
    power = offline.power_spectrum(samples, spec)
    return offline.log_energy(power, np.stack(banks), spec)


def recording_features(
    path: str,
    spec: FeatureSpec,
    factors: np.ndarray,
    mode: str,
    min_duration_s: float,
    with_samples: bool = False,
) -> dict[str, np.ndarray]:
    """Everything a builder stores of one recording; runs in worker processes.

    Args:
      path: Recording.
      spec: The recipe.
      factors: Warp factors [V].
      mode: `textbook` or `nlpaug`.
      min_duration_s: Shorter recordings are refused.
      with_samples: Whether to keep the samples themselves, for `waveform`.

    Returns:
      `log_mel` [T, F, C], whatever the recipe's kind, `vtlp` [V, T, F, C] and
      `num_samples`; `with_samples` also `samples` int16 [n], rounded and clipped, and
      `log_peak`, the largest logarithm of the recording before `top_db`.

    Raises:
      AudioError: The recording cannot be used.
    """
    samples, _ = audio.load(path, spec.sample_rate_hz, min_duration_s)
    textbook = mode == "textbook"
    log = recording_log(samples, spec, factors if textbook else factors[:0])
    own, *warped = offline.static_of_log(log, spec)
    found = {"log_mel": offline.channels(own, spec), "num_samples": samples.size}
    if textbook and warped:
        found["vtlp"] = np.stack([offline.channels(copy, spec) for copy in warped])
    else:
        found["vtlp"] = vtlp_copies(samples, spec, factors, mode)
    if with_samples:
        whole = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
        found |= {"samples": whole, "log_peak": log[0].max()}
    return found
