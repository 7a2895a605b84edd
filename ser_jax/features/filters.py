"""Filterbanks of the recipes, for FFT bins at their own frequencies or at warped ones."""

import functools

import librosa
import numpy as np

from ser_jax.features.spec import FeatureSpec


@functools.cache
def filterbank(spec: FeatureSpec) -> np.ndarray:
    """The recipe's own filterbank, float32 [`num_filters`, 1 + n_fft / 2].

    librosa's for `slaney` and `htk`; a spectrogram's picks the lowest bins.
    """
    if spec.mel_scale in ("slaney", "htk"):
        bank = librosa.filters.mel(
            sr=spec.sample_rate_hz,
            n_fft=spec.n_fft,
            n_mels=spec.num_filters,
            htk=spec.mel_scale == "htk",
            norm="slaney" if spec.mel_scale == "slaney" else None,
        )
    else:
        bank = filterbank_at(spec, bin_frequencies(spec))
    bank.setflags(write=False)  # all callers share the cached array
    return bank


@functools.cache
def bin_frequencies(spec: FeatureSpec) -> np.ndarray:
    """Frequencies of the FFT bins in Hz, float64 [1 + n_fft / 2]."""
    return librosa.fft_frequencies(sr=spec.sample_rate_hz, n_fft=spec.n_fft)


def filterbank_at(spec: FeatureSpec, bins_hz: np.ndarray) -> np.ndarray:
    """The filterbank for a spectrum whose bins lie at other frequencies, increasing.

    Shapes as in `filterbank`. Mel: the weight of a bin is the height of the triangle at
    its frequency. Spectrogram: row m reads the spectrum at the frequency of bin m by
    linear interpolation between the two bins around it.
    """
    if spec.kind == "spectrogram":
        return _interpolation(spec, bins_hz)
    edges = edges_hz(spec)
    width = np.diff(edges)
    # A bin between edges e and e + 1 is on the falling side of triangle e - 1 and on
    # the rising side of triangle e, and on no other.
    e = np.searchsorted(edges, bins_hz, side="right") - 1
    inside = e < len(width)  # half the sample rate is the last edge itself
    e, bins = e[inside], np.flatnonzero(inside)
    rising = (bins_hz[inside] - edges[e]) / width[e]
    bank = np.zeros((spec.num_filters + 2, len(bins_hz)))
    bank[e, bins] = 1.0 - rising
    bank[e + 1, bins] = rising
    bank = bank[1:-1]
    if spec.mel_scale == "slaney":
        bank *= 2.0 / (edges[2:, None] - edges[:-2, None])  # every triangle has area 1
    return bank.astype(np.float32)


@functools.cache
def edges_hz(spec: FeatureSpec) -> np.ndarray:
    """Corners of the mel triangles, float64 [`num_filters` + 2]."""
    edges = librosa.mel_frequencies(
        spec.num_filters + 2,
        fmin=0.0,
        fmax=spec.sample_rate_hz / 2,
        htk=spec.mel_scale != "slaney",
    )
    if spec.mel_scale != "psf":
        return edges
    bins = np.floor((spec.n_fft + 1) * edges / spec.sample_rate_hz)
    return bins * spec.sample_rate_hz / spec.n_fft


def _interpolation(spec: FeatureSpec, bins_hz: np.ndarray) -> np.ndarray:
    rows = np.arange(spec.num_filters)
    rows_hz = bin_frequencies(spec)[: spec.num_filters]
    position = np.interp(rows_hz, bins_hz, np.arange(len(bins_hz)))
    below = np.minimum(position.astype(np.int64), len(bins_hz) - 2)
    bank = np.zeros((spec.num_filters, len(bins_hz)), np.float32)
    bank[rows, below] = 1.0 - (position - below)
    bank[rows, below + 1] = position - below
    return bank
