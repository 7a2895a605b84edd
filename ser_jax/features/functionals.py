"""A recording as one vector: statistics over time of its spectrum, energy and pitch."""

import functools

import numpy as np
import scipy.fft

from ser_jax.features import offline, pitch
from ser_jax.features.spec import RECIPES

RATE_HZ = RECIPES["logmel40_3d"].sample_rate_hz
STATISTICS = ("mean", "std", "p10", "p50", "p90", "slope")
_CEPSTRA = 26
_FLOOR = 1e-10  # of a frame's power: silence stays finite
_LOWEST_NOTE_HZ = 27.5  # semitones count from here
_STRETCHES = ("voiced_s", "unvoiced_s")


def functionals(samples: np.ndarray) -> np.ndarray:
    """The `names()` of a recording, float64 [D], NaN where it has no voiced frame.

    The spectrum is `logmel40_3d`'s as 26 cepstra (its orthonormal DCT) with deltas.

    Args:
      samples: float32 [n] at `RATE_HZ`, n >= 1.
    """
    spec = RECIPES["logmel40_3d"]
    log_mel = offline.features(samples, spec)[..., :2].astype(np.float64)
    cepstra = scipy.fft.dct(log_mel, axis=1, norm="ortho")[:, :_CEPSTRA]
    f0_hz, periodicity, power = pitch.track(samples, RATE_HZ)
    energy = np.log10(power + _FLOOR)[:, None]
    contours = [energy, offline.deltas(energy), periodicity[:, None]]
    voiced = ~np.isnan(f0_hz)
    semitones = 12 * np.log2(f0_hz / _LOWEST_NOTE_HZ)[:, None]
    steps = np.abs(np.diff(semitones, axis=0))
    parts = [
        of_contours(cepstra.reshape(len(cepstra), -1), spec.hop_samples / RATE_HZ),
        of_contours(np.concatenate(contours, axis=1), pitch.HOP_S),
        of_contours(semitones, pitch.HOP_S, voiced),
        of_contours(steps, pitch.HOP_S, voiced[1:] & voiced[:-1]),
    ]
    duration_s = len(samples) / RATE_HZ
    timing = _timing(voiced, duration_s)
    return np.concatenate([*(part.ravel() for part in parts), timing])


@functools.cache
def names() -> tuple[str, ...]:
    """What each of the D numbers is, e.g. `cepstrum3_delta_p90`."""
    contours = [f"cepstrum{i}{d}" for i in range(_CEPSTRA) for d in ("", "_delta")]
    contours += ["energy", "energy_delta", "periodicity", "semitones", "pitch_step"]
    timing = ["voiced_share", "voiced_per_s", "log_duration"]
    timing += [f"{name}_{x}" for name in _STRETCHES for x in ("mean", "std")]
    return (*(f"{name}_{x}" for name in contours for x in STATISTICS), *timing)


def of_contours(
    values: np.ndarray, hop_s: float, chosen: np.ndarray | None = None
) -> np.ndarray:
    """`STATISTICS` of D contours [T, D], or of the chosen frames of them: [D, 6].

    Percentiles are interpolated; the slope, of the least-squares line, is per second, 0
    for a single frame. NaN where no frame is chosen.
    """
    times_s = hop_s * np.arange(len(values))
    if chosen is not None:
        values, times_s = values[chosen], times_s[chosen]
    if not len(values):
        return np.full((values.shape[1], len(STATISTICS)), np.nan)
    mean = values.mean(axis=0)
    percentiles = np.percentile(values, (10, 50, 90), axis=0)
    times_s = times_s - times_s.mean()
    slope = times_s @ (values - mean) / (np.square(times_s).sum() or 1.0)
    return np.stack([mean, values.std(axis=0), *percentiles, slope], axis=1)


def _timing(voiced: np.ndarray, duration_s: float) -> list[float]:
    """How much is voiced, in how many stretches, how long they and the others are."""
    edges = np.diff(voiced.astype(int), prepend=0, append=0)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    values = [voiced.mean(), len(starts) / duration_s, np.log(duration_s)]
    # Between voiced stretches; what comes before the first and behind the last is not
    # speech.
    for lengths in (ends - starts, starts[1:] - ends[:-1]):
        seconds = pitch.HOP_S * lengths if len(lengths) else np.zeros(1)
        values += [seconds.mean(), seconds.std()]
    return values
