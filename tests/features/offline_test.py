import librosa
import numpy as np
import pytest

from ser_jax.features import offline
from ser_jax.features.spec import RECIPES
from tests.reference import features as reference


def noise(num_samples, seed=0):
    generator = np.random.default_rng(seed)
    return (0.1 * generator.standard_normal(num_samples)).astype(np.float32)


@pytest.mark.parametrize(("recipe", "bands"), [("logmel128", 128), ("logmel64", 64)])
def test_log_mel_is_librosas_mel_spectrogram_with_a_floor(recipe, bands):
    samples = noise(12345)
    mel = librosa.feature.melspectrogram(
        y=samples, sr=16000, n_fft=800, hop_length=400, n_mels=bands
    )
    expected = np.log10(np.maximum(mel, 1e-10)).T
    got = offline.log_mel(samples, RECIPES[recipe])
    assert got.shape == (31, bands) and got.dtype == np.float32
    # Same float32 numbers summed in another order.
    np.testing.assert_allclose(got, expected, atol=2e-6)


def test_logmel40_is_a_librosa_composition():
    samples = noise(9000)
    emphasized = np.append(samples[:1], samples[1:] - np.float32(0.97) * samples[:-1])
    # 55 frames need 400 + 54 * 160 = 9040 samples; 56 zeros put the window of 400 in
    # the middle of the FFT frame of 512.
    padded = np.pad(emphasized, (56, 40 + 56))
    mel = librosa.feature.melspectrogram(
        y=padded,
        sr=16000,
        n_fft=512,
        hop_length=160,
        win_length=400,
        window="hamming",
        center=False,
        n_mels=40,
        htk=True,
        norm=None,
    )
    expected = np.log(np.maximum(mel / 512, np.finfo(np.float64).eps)).T
    got = offline.log_mel(samples, RECIPES["logmel40_3d"])
    assert got.shape == (55, 40)
    # Same float32 numbers summed in another order.
    np.testing.assert_allclose(got, expected, atol=5e-6)


@pytest.mark.parametrize("num_samples", [1, 399, 400, 401, 2000, 2001])
def test_logmel40_follows_the_written_definition(num_samples):
    samples = noise(num_samples)
    got = offline.log_mel(samples, RECIPES["logmel40_3d"])
    # float32 against float64; single bands of one or two bins lose digits.
    np.testing.assert_allclose(got, reference.logmel40(samples), atol=2e-3)


@pytest.mark.parametrize("recipe", sorted(RECIPES))
@pytest.mark.parametrize("num_samples", [1, 777, 3200, 3999, 4000])
def test_number_of_frames_is_the_recipes(recipe, num_samples):
    spec = RECIPES[recipe]
    got = offline.log_mel_3d(noise(num_samples), spec)
    assert got.shape == (spec.num_frames(num_samples), spec.n_mels, 3)


@pytest.mark.parametrize(
    ("recipe", "floor"),
    [("logmel128", -10.0), ("logmel64", -10.0), ("logmel40_3d", -52 * np.log(2.0))],
)
def test_silence_is_the_logarithm_of_the_floor(recipe, floor):
    got = offline.log_mel_3d(np.zeros(5000, np.float32), RECIPES[recipe])
    np.testing.assert_allclose(got[..., 0], floor, rtol=1e-6)
    assert not got[..., 1:].any()


@pytest.mark.parametrize("shape", [(0,), (2, 800)])
def test_other_than_a_vector_of_samples_is_refused(shape):
    with pytest.raises(ValueError, match="expected samples"):
        offline.log_mel(np.zeros(shape, np.float32), RECIPES["logmel64"])


def test_delta_of_a_ramp_is_its_slope():
    ramp = 3.0 * np.arange(9.0)[:, None]
    got = offline.deltas(ramp)[:, 0]
    np.testing.assert_allclose(got[2:-2], 3.0)
    # At the edge: (1 * (3 - 0) + 2 * (6 - 0)) / 10.
    np.testing.assert_allclose(got[0], 1.5)


def test_delta_kernel():
    impulse = np.zeros((9, 1))
    impulse[4] = 1.0
    # An impulse at t shows the kernel mirrored: weight of offset +2 comes first.
    np.testing.assert_allclose(
        offline.deltas(impulse)[:, 0], [0, 0, 0.2, 0.1, 0, -0.1, -0.2, 0, 0]
    )
    twice = offline.with_deltas(np.pad(impulse, ((4, 4), (0, 0))))[4:13, 0, 2]
    np.testing.assert_allclose(
        twice, [0.04, 0.04, 0.01, -0.04, -0.10, -0.04, 0.01, 0.04, 0.04], atol=1e-15
    )


@pytest.mark.parametrize("frames", [1, 2, 3, 17])
def test_deltas_follow_the_formula_at_any_length(frames):
    x = np.random.default_rng(1).standard_normal((frames, 5))
    np.testing.assert_allclose(offline.deltas(x), reference.deltas(x), atol=1e-15)


def test_deltas_are_librosas_with_width_5_and_nearest_edges():
    x = np.random.default_rng(2).standard_normal((23, 7))
    first = librosa.feature.delta(x, width=5, order=1, mode="nearest", axis=0)
    second = librosa.feature.delta(first, width=5, order=1, mode="nearest", axis=0)
    got = offline.with_deltas(x)
    np.testing.assert_allclose(got[..., 1], first, atol=1e-14)
    np.testing.assert_allclose(got[..., 2], second, atol=1e-14)
