"""Pitch of sounds whose pitch is known, and beside librosa's YIN."""

import librosa
import numpy as np
import pytest

from ser_jax.features import pitch

RATE_HZ = 16_000


def _seconds(seconds):
    return np.arange(round(seconds * RATE_HZ)) / RATE_HZ


@pytest.mark.parametrize("f0_hz", [65.0, 110.0, 200.0, 441.0])
@pytest.mark.parametrize("harmonics", [(1,), (1, 2, 3), (2, 3, 4)])
def test_a_tone_has_its_pitch_though_the_fundamental_is_missing(f0_hz, harmonics):
    t = _seconds(0.5)
    tone = sum(np.sin(2 * np.pi * n * f0_hz * t) / n for n in harmonics)
    found, periodicity, _ = pitch.track(tone.astype(np.float32), RATE_HZ)
    assert len(found) == 51  # every 10 ms, both ends
    # A window reaches 25 ms to either side; zeros lie behind the ends.
    np.testing.assert_allclose(found[3:-3], f0_hz, rtol=2e-3)
    assert periodicity[3:-3].min() > 0.98


def test_power_is_the_mean_square():
    tone = 0.3 * np.sin(2 * np.pi * 200 * _seconds(0.5)).astype(np.float32)
    *_, power = pitch.track(tone, RATE_HZ)
    np.testing.assert_allclose(power[3:-3], 0.3**2 / 2, rtol=1e-3)


@pytest.mark.parametrize("samples", [0.0, 0.5, "noise", "one"])
def test_what_has_no_period_is_unvoiced(samples):
    if samples == "noise":
        samples = np.random.default_rng(0).standard_normal(RATE_HZ)
    elif samples == "one":
        samples = np.ones(1)
    else:
        samples = np.full(RATE_HZ // 4, samples)
    found, periodicity, power = pitch.track(samples.astype(np.float32), RATE_HZ)
    assert np.isnan(found).all() or np.isnan(found).mean() > 0.98
    assert np.isfinite(periodicity).all() and np.isfinite(power).all()


def test_a_glide_is_followed_as_yin_follows_it():
    t = _seconds(1.0)
    glide_hz = 120 + 160 * t
    phase = 2 * np.pi * np.cumsum(glide_hz) / RATE_HZ
    wave = sum(np.sin(n * phase) / n for n in (1, 2, 3, 4)).astype(np.float32)
    found, _, _ = pitch.track(wave, RATE_HZ)
    options = {"frame_length": 1024, "hop_length": 160}
    yin = librosa.yin(wave, fmin=60, fmax=500, sr=RATE_HZ, **options)
    np.testing.assert_allclose(found[5:-5], glide_hz[::160][5:-4], rtol=0.01)
    # YIN's own accuracy decides: its window is longer.
    np.testing.assert_allclose(found[5:-5], yin[5:-5], rtol=0.05)


def test_long_recordings_go_block_by_block(monkeypatch):
    t = _seconds(0.5)
    wave = np.sin(2 * np.pi * 150 * t * (1 + t)).astype(np.float32)
    whole = pitch.track(wave, RATE_HZ)
    monkeypatch.setattr(pitch, "_BLOCK", 7)
    for a, b in zip(whole, pitch.track(wave, RATE_HZ), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
