"""Vocal tract length perturbation: the same words from another speaker's throat."""

import hashlib
import warnings

import librosa
import numpy as np

from ser_jax.features import audio, filters, offline
from ser_jax.features.spec import VTLP_MODES, FeatureSpec

# Below this frequency the axis is scaled by alpha (Jaitly & Hinton 2013; nlpaug too).
F_HI_HZ = 4800.0

# librosa's default STFT, which nlpaug warps.
_NLPAUG_STFT = {"n_fft": 2048, "hop_length": 512}


def warp_factors(utterance_id: str, num: int, low: float, high: float) -> np.ndarray:
    """Factors of an utterance's copies, float32 [num] in [low, high); a hash of its id."""
    digest = hashlib.sha256(utterance_id.encode()).digest()
    generator = np.random.default_rng([int.from_bytes(digest[:8], "little"), 0])
    return generator.uniform(low, high, num).astype(np.float32)


def textbook_map(
    frequency_hz: np.ndarray, alpha: float, sample_rate_hz: int
) -> np.ndarray:
    """Where energy at a frequency moves (Jaitly & Hinton 2013, section 3).

    With S half the sample rate and b = F_hi min(alpha, 1):
    G(f) = alpha f for f <= b / alpha, else S - (S - b) / (S - b / alpha) (S - f).

    Frequencies in [0, S] stay in [0, S] and in order; factor 1.2 moves 1000 Hz to
    1200 Hz. The sample rate must be more than 2 F_hi / min(alpha, 1).
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
    """Position that each bin of 0 ... S moves to in nlpaug's VTLP, float64 [num_bins].

    Differs from the paper, as nlpaug does: the bins are laid on an axis of 0 ... 2 S and
    the map is rescaled to its own maximum, so alpha 1.2 moves 1000 Hz to 1333 Hz.
    """
    axis_hz = np.linspace(0.0, sample_rate_hz, num_bins)
    warped = textbook_map(axis_hz, alpha, sample_rate_hz)
    return warped * (num_bins - 1) / warped.max()


def warped_filterbank(spec: FeatureSpec, alpha: float) -> np.ndarray:
    """The recipe's filterbank on the spectrum warped by `textbook_map`.

    Energy at f counts where G(f) lies, so one STFT serves any number of factors.
    """
    bins_hz = filters.bin_frequencies(spec)
    warped_hz = textbook_map(bins_hz, alpha, spec.sample_rate_hz)
    return filters.filterbank_at(spec, warped_hz)


def nlpaug_warp(samples: np.ndarray, alpha: float, sample_rate_hz: int) -> np.ndarray:
    """nlpaug's VTLP of a waveform [n], for comparison with the published one.

    Every complex STFT bin but the first and the last is shared between the two bins
    around its new position; the inverse STFT gives the wave.

    Differs from nlpaug: the wave keeps its length (nlpaug drops up to one hop).
    """
    with warnings.catch_warnings():
        # librosa warns of clips shorter than its FFT; here they are meant to be padded.
        warnings.filterwarnings("ignore", message="n_fft=")
        stft = librosa.stft(samples, **_NLPAUG_STFT)
    num_bins = stft.shape[0]
    position = nlpaug_map(num_bins, alpha, sample_rate_hz)[1:-1]
    below = np.minimum(position.astype(np.int64), num_bins - 2)
    share = (position - below).astype(np.float32)[:, None]
    warped = np.zeros_like(stft)
    warped[0], warped[-1] = stft[0], stft[-1]
    np.add.at(warped, below, (1 - share) * stft[1:-1])
    np.add.at(warped, below + 1, share * stft[1:-1])
    return librosa.istft(warped, **_NLPAUG_STFT, length=samples.size)


def log_energies(
    samples: np.ndarray,
    spec: FeatureSpec,
    factors: np.ndarray | tuple[float, ...] = (),
    mode: str = "textbook",
) -> np.ndarray:
    """Log energies, before `top_db`, of an utterance and of its perturbed copies.

    Args:
      samples, spec: See `offline.features`; raises ValueError likewise.
      factors: Warp factors [V].
      mode: `textbook` (warped filterbank) or `nlpaug` (warped waveform).

    Returns float32 [1 + V, T, `num_filters`]: the utterance itself, then its copies.
    """
    if mode not in VTLP_MODES:
        raise ValueError(f"expected a VTLP mode of {VTLP_MODES}, got {mode!r}")
    factors = [float(alpha) for alpha in factors]
    if mode == "nlpaug":
        waves = [nlpaug_warp(samples, alpha, spec.sample_rate_hz) for alpha in factors]
        logs = [log_energies(wave, spec) for wave in (samples, *waves)]
        return np.concatenate(logs)
    banks = [filters.filterbank(spec)]
    banks += [warped_filterbank(spec, alpha) for alpha in factors]
    power = offline.power_spectrum(samples, spec)
    return offline.log_energy(power, np.stack(banks), spec)


def recording_features(
    path: str,
    spec: FeatureSpec,
    factors: np.ndarray,
    mode: str,
    min_duration_s: float,
    with_samples: bool = False,
    unit_level: bool = False,
) -> dict[str, np.ndarray]:
    """Everything a builder stores of one recording; runs in worker processes.

    Arguments as for `log_energies` and `audio.read`, whose AudioError it raises.

    Returns:
      `log_mel` [T, F, C], whatever the recipe's kind, and `num_samples`; if V > 0
      `vtlp` [V, T, F, C] and `warp_factors` [V]; `with_samples`, for online VTLP, also
      `samples` int16 [n], rounded and clipped, and `log_peak`, the largest logarithm of
      the recording before `top_db`. With `unit_level` the recording is scaled to zero
      mean and unit variance first.
    """
    samples = audio.load(path, spec.sample_rate_hz, min_duration_s)
    if unit_level:
        mean, std = audio.level([samples])
        samples = ((samples - mean) / std).astype(np.float32)
    log = log_energies(samples, spec, factors, mode)
    own, *copies = offline.features_of_log(log, spec)
    values = {"log_mel": own, "num_samples": samples.size}
    if copies:
        values |= {"vtlp": np.stack(copies), "warp_factors": factors}
    if with_samples:
        pcm = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
        values |= {"samples": pcm, "log_peak": log[0].max()}
    return values
