"""Warnings of recordings that a person would not trust an answer for."""

import numpy as np
import pytest

from ser_jax.features.signal_quality import SignalQuality

RATE_HZ = 8_000
RNG = np.random.default_rng(0)
T = np.arange(2 * RATE_HZ) / RATE_HZ
# Syllables: 4 a second, 20 dB and more between loud and soft.
SPEECHLIKE = 0.3 * RNG.normal(size=len(T)) * np.sin(2 * np.pi * 2 * T) ** 4


@pytest.mark.parametrize(
    ("samples", "distance", "expected"),
    [
        (np.clip(SPEECHLIKE, -0.9, 0.9), 1.0, []),
        (np.clip(SPEECHLIKE, -0.9, 0.9), 3.4, ["unlike the training speech"]),
        (np.clip(SPEECHLIKE, -0.9, 0.9), float("nan"), []),
        (np.zeros(len(T)), 9.0, ["silent"]),
        (5e-4 * np.sin(T), 9.0, ["silent"]),
        (np.clip(0.02 * SPEECHLIKE, -9e-3, 9e-3), 1.0, ["quiet"]),
        (np.clip(40 * SPEECHLIKE, -1, 1), 1.0, ["clipped"]),
        (
            np.r_[1e9, np.clip(SPEECHLIKE, -0.9, 0.9)],
            1.0,
            ["beyond full scale: peak 1"],
        ),
        (0.2 * RNG.normal(size=len(T)).clip(-4, 4), 1.0, ["steady"]),
        (0.5 * np.sin(2 * np.pi * 440 * T), 3.1, ["steady", "unlike"]),
        (np.clip(SPEECHLIKE, -0.9, 0.9)[:3_000], 1.0, ["short"]),
    ],
)
def test_warnings(samples, distance, expected):
    for cuts in ([], [1_600, 2_400]):  # whole frames of 50 ms in each block
        quality = SignalQuality(RATE_HZ)
        for block in np.split(samples.astype(np.float32), cuts):
            assert quality.add(block) is block
        warnings = quality.warnings(distance)
        assert len(warnings) == len(expected), warnings
        for text, start in zip(warnings, expected, strict=True):
            assert text.startswith(start)


def test_figures_are_in_the_text():
    quality = SignalQuality(RATE_HZ)
    samples = np.clip(SPEECHLIKE, -0.9, 0.9).astype(np.float32)
    samples[:160] = -1.0  # 1 % of 16,000
    quality.add(samples)
    assert quality.warnings(1.0) == ("clipped: 1.0% of the samples at full scale",)
