"""Filterbanks of the recipes, at the FFT bins' own places or at warped ones."""

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
    bank.setflags(write=False)  # cached: nobody may change it
    return bank


@functools.cache
def bin_frequencies(spec: FeatureSpec) -> np.ndarray:
    """Frequencies of the FFT bins in Hz, float64 [1 + n_fft / 2]."""
    return librosa.fft_frequencies(sr=spec.sample_rate_hz, n_fft=spec.n_fft)


def filterbank_at(spec: FeatureSpec, places_hz: np.ndarray) -> np.ndarray:
    """The filterbank for a spectrum whose bins lie elsewhere.

    Args:
      spec: The recipe.
      places_hz: Where each FFT bin lies, increasing [1 + n_fft / 2].

    Returns:
      float32 [`num_filters`, 1 + n_fft / 2]. Mel: the weight of a bin is the height of
      the triangle at its place. Spectrogram: row m reads the spectrum at the frequency
      of bin m by linear interpolation between the two bins around it.
    """
    if spec.kind == "spectrogram":
        return _interpolation(spec, places_hz)
    edges = edges_hz(spec)
    gap = np.diff(edges)
    # A bin between corners g and g + 1 is on the falling side of triangle g - 1 and on
    # the rising side of triangle g, and on no other.
    g = np.searchsorted(edges, places_hz, side="right") - 1
    inside = g < len(gap)  # half the sample rate is the last corner itself
    g, bins = g[inside], np.flatnonzero(inside)
    up = (places_hz[inside] - edges[g]) / gap[g]
    bank = np.zeros((spec.num_filters + 2, len(places_hz)))
    bank[g, bins] = 1.0 - up
    bank[g + 1, bins] = up
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


def _interpolation(spec: FeatureSpec, places_hz: np.ndarray) -> np.ndarray:
    """Rows that sum to 1, float32 [`num_filters`, 1 + n_fft / 2]."""
    rows = np.arange(spec.num_filters)
    wanted_hz = bin_frequencies(spec)[: spec.num_filters]
    position = np.interp(wanted_hz, places_hz, np.arange(len(places_hz)))
    below = np.minimum(position.astype(np.int64), len(places_hz) - 2)
    bank = np.zeros((spec.num_filters, len(places_hz)), np.float32)
    bank[rows, below] = 1.0 - (position - below)
    bank[rows, below + 1] = position - below
    return bank
