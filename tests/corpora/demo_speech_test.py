"""The room that the synthetic speech is recorded in; needs no synthesiser."""

import dataclasses

import numpy as np
import pytest

from ser_jax.corpora.demo_speech import Job, record

JOB = Job(
    wav="",
    text="",
    voice="",
    rate_wpm=170,
    pitch=50,
    pitch_range=50,
    word_gap=0,
    level_db=-20.0,
    tilt=0.0,
    snr_db=30.0,
    noise_seed=1,
)


def tone(hz):
    return np.sin(2 * np.pi * hz * np.arange(8000) / 16000)


def test_level_and_noise_are_as_asked():
    speech = tone(440.0)
    recorded = record(speech.copy(), JOB)
    clean = 0.1 * np.sqrt(2.0) * speech  # RMS -20 dB is 0.1
    noise = recorded - clean
    # The noise is scaled to its own exact RMS; 1e-6 is float64 rounding and to spare.
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(0.1 * 10**-1.5, rel=1e-6)


def test_positive_tilt_favours_high_frequencies():
    speech = tone(200.0) + tone(4000.0)
    recorded = record(speech, dataclasses.replace(JOB, tilt=0.5))
    spectrum = np.abs(np.fft.rfft(recorded))  # 2 Hz a bin
    # |1 - 0.5 exp(-jw)|: 1.118 at 4 kHz, 0.502 at 200 Hz; noise moves it a little.
    assert spectrum[2000] / spectrum[100] == pytest.approx(2.23, rel=0.05)


def test_loud_speech_is_clipped_to_full_scale():
    recorded = record(tone(440.0), dataclasses.replace(JOB, level_db=6.0))
    assert np.abs(recorded).max() == 1.0
