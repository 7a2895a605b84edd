"""Statistics that can be recomputed by hand."""

import numpy as np
import pytest

from ser_jax.features import functionals

RATE_HZ = functionals.RATE_HZ


def _of(samples):
    values = functionals.functionals(np.asarray(samples, np.float32))
    return dict(zip(functionals.names(), values, strict=True))


def _tone(f0_hz=220.0, seconds=1.0):
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return 0.3 * np.sin(2 * np.pi * f0_hz * t)


def test_a_ramp_by_hand():
    # 0 1 2 3 every half second: 2 per second; variance (9 + 1 + 1 + 9) / 4 / 4.
    ramp = functionals.of_contours(np.arange(4.0)[:, None], 0.5)
    assert functionals.STATISTICS == ("mean", "std", "p10", "p50", "p90", "slope")
    np.testing.assert_allclose(ramp, [[1.5, 1.25**0.5, 0.3, 1.5, 2.7, 2.0]])


def test_chosen_frames_keep_their_times():
    values = np.array([[0.0], [9.0], [9.0], [6.0]])
    chosen = np.array([True, False, False, True])
    found = functionals.of_contours(values, 0.5, chosen)
    np.testing.assert_allclose(found[0, [0, -1]], [3.0, 6.0 / 1.5])
    assert np.isnan(functionals.of_contours(values, 0.5, ~np.ones(4, bool))).all()
    assert functionals.of_contours(values[:1], 0.5)[0, -1] == 0


def test_a_tone_by_hand():
    found = _of(_tone())
    assert len(found) == 349
    assert found["semitones_p50"] == pytest.approx(36, abs=0.05)  # 3 octaves over 27.5
    assert found["energy_p50"] == pytest.approx(np.log10(0.045), abs=1e-3)
    assert found["log_duration"] == 0
    assert found["voiced_per_s"] == 1 and found["unvoiced_s_mean"] == 0


def test_pauses_between_voiced_stretches_by_hand():
    # 0.3 s, 0.2 s of silence, 0.3 s: two stretches in 0.8 s. Zeros hide half a window,
    # so that a stretch may be some frames shorter or longer.
    silence = np.zeros(round(0.2 * RATE_HZ))
    found = _of(np.concatenate([_tone(seconds=0.3), silence, _tone(seconds=0.3)]))
    assert found["voiced_per_s"] == pytest.approx(2 / 0.8)
    assert found["voiced_s_mean"] == pytest.approx(0.3, abs=0.03)
    assert found["unvoiced_s_mean"] == pytest.approx(0.2, abs=0.05)


def test_a_gain_moves_the_level_alone():
    rng = np.random.default_rng(0)
    wave = _tone() + 0.01 * rng.standard_normal(RATE_HZ)
    loud, quiet = _of(wave), _of(0.1 * wave)
    moved = {n for n in loud if not np.isclose(loud[n], quiet[n], rtol=1e-3, atol=1e-4)}
    level = {
        f"{x}_{p}"
        for x in ("energy", "cepstrum0")
        for p in ("mean", "p10", "p50", "p90")
    }
    assert moved == level
    assert quiet["energy_mean"] - loud["energy_mean"] == pytest.approx(-2, abs=1e-3)


@pytest.mark.parametrize("samples", [np.zeros(4000), np.ones(1), np.zeros(3)])
def test_without_voice_pitch_is_unknown_and_the_rest_finite(samples):
    found = _of(samples)
    unknown = {name for name, value in found.items() if np.isnan(value)}
    assert unknown == {
        f"{name}_{x}"
        for name in ("semitones", "pitch_step")
        for x in functionals.STATISTICS
    }
