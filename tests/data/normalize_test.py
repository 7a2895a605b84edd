"""Fold statistics: equal to NumPy's, and blind to everything but training."""

import numpy as np
import pytest

from ser_jax.data import normalize
from ser_jax.features.segments import Segments
from ser_jax.predict import forward


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    return [
        rng.normal(-7.0, 2.0, (num, 5, 3)).astype(np.float32) for num in (11, 4, 7, 9)
    ]


def test_equal_to_numpy_on_all_training_frames(frames):
    trains = ((0, 2, 3), (3, 1), (2, 0, 3))
    found = normalize.fold_statistics(frames, trains)
    for train, got in zip(trains, found, strict=True):
        joined = np.concatenate([frames[i] for i in train]).astype(np.float64)
        for result, expected in zip(got, (joined.mean(0), joined.std(0)), strict=True):
            assert result.shape == (5, 3)
            assert result.dtype == np.float32
            # One rounding to float32 of a float64 result.
            np.testing.assert_allclose(result, expected, rtol=2e-7)


def test_blind_to_validation_and_test(frames):
    before = normalize.fold_statistics(frames, [(0, 2)])[0]
    frames[1] = frames[1] * 100
    frames[3] = frames[3] + np.float32(1e6)
    after = normalize.fold_statistics(frames, [(0, 2)])[0]
    np.testing.assert_array_equal(before, after)
    other = normalize.fold_statistics(frames, [(0, 3)])[0]
    assert not np.allclose(before[0], other[0])


def test_zscore_of_training_frames_is_standard_and_constant_bands_stay_finite(frames):
    for utterance in frames:
        utterance[:, 2, 1] = -10.0
    mean, std = normalize.fold_statistics(frames, [(0, 1)])[0]
    assert std[2, 1] == 0.0
    scored = forward.zscore(np.concatenate(frames[:2]), mean, std)
    assert scored.dtype == np.float32
    # 15 frames in float32; epsilon 1e-5 against a deviation of about 2.
    np.testing.assert_allclose(scored.mean(0), 0.0, atol=1e-5)
    varying = np.arange(15).reshape(5, 3) != 7
    np.testing.assert_allclose(scored.std(0)[varying], 1.0, atol=1e-4)
    np.testing.assert_allclose(scored[:, 2, 1], 0.0)


def test_padded_windows_enter_the_statistics_when_padding_comes_first(frames):
    """Against NumPy on arrays that are really padded."""
    windows = Segments(
        utterance=np.array([0, 1, 3]),
        start_frame=np.array([5, 0, 2]),
        num_frames=np.array([6, 4, 6]),
        padded=np.array([1]),
    )
    got = normalize.padded_statistics(frames, windows, 6)
    rows = [frames[0][5:11], np.pad(frames[1], ((0, 2), (0, 0), (0, 0)))]
    joined = np.concatenate([*rows, frames[3][2:8]]).astype(np.float64)
    for result, expected in zip(got, (joined.mean(0), joined.std(0)), strict=True):
        np.testing.assert_allclose(result, expected, rtol=2e-7)


def test_an_empty_training_part_is_refused(frames):
    with pytest.raises(ValueError, match="training part"):
        normalize.fold_statistics(frames, [(0,), ()])
