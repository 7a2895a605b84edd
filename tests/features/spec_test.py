import pytest

from ser_jax.features.spec import RECIPES


@pytest.mark.parametrize(
    ("recipe", "num_samples", "frames"),
    [
        # Centred: 1 + n // 400; AACNN's 2 s segment has 81 frames.
        ("logmel128", 32000, 81),
        ("logmel128", 31999, 80),
        ("logmel128", 1, 1),
        ("logmel64", 32000, 81),
        # 1 + ceil((n - 400) / 160); 300 frames need at least 48081 samples.
        ("logmel40_3d", 48000, 299),
        ("logmel40_3d", 48080, 299),
        ("logmel40_3d", 48081, 300),
        ("logmel40_3d", 48240, 300),
        ("logmel40_3d", 400, 1),
        ("logmel40_3d", 401, 2),
        ("logmel40_3d", 1, 1),
    ],
)
def test_frame_counts_follow_the_formulas(recipe, num_samples, frames):
    assert RECIPES[recipe].num_frames(num_samples) == frames


def test_recipes_are_stored_under_their_names():
    assert {name: spec.name for name, spec in RECIPES.items()} == {
        "logmel128": "logmel128",
        "logmel64": "logmel64",
        "logmel40_3d": "logmel40_3d",
    }
