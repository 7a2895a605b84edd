import pytest

from ser_jax.features.spec import RECIPES


@pytest.mark.parametrize(
    ("recipe", "num_samples", "frames"),
    [
        # Centred: 1 + n // 400; AACNN's 2 s segment has 81 frames.
        ("logmel128", 32000, 81),
        ("logmel128", 31999, 80),
        ("logmel128", 1, 1),
        # 1 + ceil((n - 400) / 160); 300 frames need at least 48081 samples.
        ("logmel40_3d", 48000, 299),
        ("logmel40_3d", 48080, 299),
        ("logmel40_3d", 48081, 300),
        ("logmel40_3d", 400, 1),
        ("logmel40_3d", 401, 2),
        ("logmel40_3d", 1, 1),
        # 1 + n // 512; head fusion's 2 s segment has 63 frames.
        ("mfcc26", 32000, 63),
        # MSCNN-SPU's 7.5 s: one more than the paper's 750, as librosa centres frames.
        ("mfcc32_3d", 120000, 751),
        ("spectrogram200", 48000, 301),
    ],
)
def test_frame_counts_follow_the_formulas(recipe, num_samples, frames):
    assert RECIPES[recipe].num_frames(num_samples) == frames


def test_stored_shapes():
    shapes = {name: (s.num_bands, s.num_channels) for name, s in RECIPES.items()}
    assert shapes == {
        "logmel128": (128, 3),
        "logmel64": (64, 3),
        "logmel40_3d": (40, 3),
        "logmel40_psf": (40, 3),
        "mfcc26": (26, 1),
        "mfcc32_3d": (32, 3),
        "spectrogram200": (200, 1),
        "spectrogram400": (400, 1),
    }
