"""Pitch by autocorrelation (Boersma, 1993): F0 and how periodic a frame is. NumPy only.

As fast as `librosa.yin`, which does not say what is voiced; `librosa.pyin`, which does,
takes thirty times as long.
"""

import numpy as np
import scipy.fft
import scipy.signal

LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0
HOP_S = 0.01
_PERIODS = 3  # of the lowest pitch, that a window holds
_VOICED = 0.45  # Praat's thresholds: of periodicity, and of the recording's peak
_SILENT = 0.03
_OCTAVE_COST = 0.01  # per octave, for the higher of two equally good candidates
_BLOCK = 1000  # frames at once, against the memory of an hour


def track(samples: np.ndarray, rate_hz: int) -> tuple[np.ndarray, ...]:
    """Follows the pitch of a recording, a frame every `HOP_S`, centred there.

    Args:
      samples: float32 [n], n >= 1.
      rate_hz: Of `samples`.

    Returns:
      F0 in Hz, NaN where a frame is unvoiced; periodicity in [0, 1], the height of the
      normalised autocorrelation's peak; power, mean square. Each float64 [T].
    """
    size, hop = round(_PERIODS / LOWEST_HZ * rate_hz), round(HOP_S * rate_hz)
    # The mean of the recording, not of a frame: low voices have no whole periods there.
    centred = np.pad(np.asarray(samples, np.float64) - np.mean(samples), size // 2)
    centred = np.pad(centred, (0, size))
    count = 1 + len(samples) // hop
    frames = np.lib.stride_tricks.sliding_window_view(centred, size)[::hop][:count]
    blocks = [frames[at : at + _BLOCK] for at in range(0, count, _BLOCK)]
    found = [_candidates(block, rate_hz) for block in blocks]
    f0_hz, periodicity, power, peak = map(np.concatenate, zip(*found, strict=True))
    voiced = (periodicity > _VOICED) & (peak > _SILENT * peak.max())
    return np.where(voiced, f0_hz, np.nan), periodicity, power


def _candidates(frames: np.ndarray, rate_hz: int) -> tuple[np.ndarray, ...]:
    """F0, periodicity, power and peak [T] of frames [T, size]."""
    size = frames.shape[1]
    window = scipy.signal.get_window("hann", size)
    first, last = int(rate_hz / HIGHEST_HZ), int(np.ceil(rate_hz / LOWEST_HZ))
    own = _autocorrelation(window[None], last + 2)
    correlation = _autocorrelation(frames * window, last + 2)
    energy = correlation[:, :1]
    # Divided by the window's own: else a long lag would look less periodic.
    correlation = correlation / np.where(energy > 0, energy, 1.0) / (own / own[:, :1])
    lags = np.arange(first, last + 1)
    before, here, behind = (correlation[:, lags + by] for by in (-1, 0, 1))
    cost = _OCTAVE_COST * np.log2(lags / first)
    is_peak = (here >= before) & (here > behind)
    best = np.where(is_peak, here - cost, -np.inf).argmax(axis=1)
    at = np.arange(len(frames)), best
    # The vertex of the parabola through the peak and its neighbours.
    bend = before[at] - 2 * here[at] + behind[at]
    shift = 0.5 * (before[at] - behind[at]) / np.where(is_peak[at], bend, 1.0)
    shift = np.where(is_peak[at], shift, 0.0)
    height = here[at] - 0.25 * (before[at] - behind[at]) * shift
    height = np.where(is_peak[at], height.clip(0.0, 1.0), 0.0)
    power = np.square(frames).mean(axis=1)
    return rate_hz / (lags[best] + shift), height, power, np.abs(frames).max(axis=1)


def _autocorrelation(frames: np.ndarray, num_lags: int) -> np.ndarray:
    length = scipy.fft.next_fast_len(frames.shape[1] + num_lags, real=True)
    spectrum = scipy.fft.rfft(frames, length)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return scipy.fft.irfft(power, length)[:, :num_lags]
