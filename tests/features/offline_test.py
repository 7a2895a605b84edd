import librosa
import numpy as np
import pytest

from ser_jax.features import offline
from ser_jax.features.spec import RECIPES
from tests.reference import features as reference


def noise(num_samples, seed=0):
    generator = np.random.default_rng(seed)
    return (0.1 * generator.standard_normal(num_samples)).astype(np.float32)


def static(samples, spec):
    return offline.features(samples, spec)[..., 0]


@pytest.mark.parametrize(("recipe", "bands"), [("logmel128", 128), ("logmel64", 64)])
def test_log_mel_is_librosas_mel_spectrogram_with_a_floor(recipe, bands):
    samples = noise(12345)
    mel = librosa.feature.melspectrogram(
        y=samples, sr=16000, n_fft=800, hop_length=400, n_mels=bands
    )
    expected = np.log10(np.maximum(mel, 1e-10)).T
    got = static(samples, RECIPES[recipe])
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
    got = static(samples, RECIPES["logmel40_3d"])
    assert got.shape == (55, 40)
    # Same float32 numbers summed in another order.
    np.testing.assert_allclose(got, expected, atol=5e-6)


@pytest.mark.parametrize("num_samples", [1, 399, 400, 401, 2000, 2001])
def test_logmel40_follows_the_written_definition(num_samples):
    samples = noise(num_samples)
    got = static(samples, RECIPES["logmel40_3d"])
    # float32 against float64; single bands of one or two bins lose digits.
    np.testing.assert_allclose(got, reference.logmel40(samples), atol=2e-3)


@pytest.mark.parametrize("recipe", sorted(RECIPES))
@pytest.mark.parametrize("num_samples", [1, 777, 3200, 3999, 4000])
def test_number_of_frames_is_the_recipes(recipe, num_samples):
    spec = RECIPES[recipe]
    got = offline.features(noise(num_samples), spec)
    frames = spec.num_frames(num_samples)
    assert got.shape == (frames, spec.num_bands, spec.num_channels)
    assert got.dtype == np.float32 and np.isfinite(got).all()


@pytest.mark.parametrize("num_samples", [1, 400, 401, 3000])
def test_logmel40_psf_is_python_speech_features(num_samples):
    generator = np.random.default_rng(4)
    speech = (2000 * generator.standard_normal(num_samples)).astype(np.int16)
    speech[num_samples // 3 : num_samples // 2] = 0  # silence meets the floor
    samples = speech.astype(np.float32) / np.float32(32768)
    got = static(samples, RECIPES["logmel40_psf"])
    # float32 against float64; single bands of one or two bins lose digits.
    np.testing.assert_allclose(got, reference.psf_logfbank(speech), atol=1e-4)


def test_mfcc26_is_librosas_default_with_26_coefficients():
    samples = noise(32000)
    samples[9000:20000] *= 1e-6  # more than 80 dB below the loudest cell
    expected = librosa.feature.mfcc(y=samples, sr=16000, n_mfcc=26).T
    got = offline.features(samples, RECIPES["mfcc26"])
    assert got.shape == (63, 26, 1)
    # Equal bit for bit here; values reach 1000 and another BLAS may sum them otherwise.
    np.testing.assert_allclose(got[..., 0], expected, atol=1e-4, rtol=1e-6)


def test_mfcc32_is_librosas_with_a_short_window_and_regression_deltas():
    samples = noise(5000)
    expected = librosa.feature.mfcc(
        y=samples, sr=16000, n_mfcc=32, win_length=400, hop_length=160
    ).T
    got = offline.features(samples, RECIPES["mfcc32_3d"])
    assert got.shape == (32, 32, 3)
    # Equal bit for bit here; values reach 1000 and another BLAS may sum them otherwise.
    np.testing.assert_allclose(got[..., 0], expected, atol=1e-4, rtol=1e-6)
    first = reference.deltas(got[..., 0].astype(np.float64))
    np.testing.assert_allclose(got[..., 1], first, atol=1e-4)
    np.testing.assert_allclose(got[..., 2], reference.deltas(first), atol=1e-4)


@pytest.mark.parametrize(("bands", "n_fft"), [(200, 800), (400, 1600)])
def test_spectrogram_is_a_librosa_composition(bands, n_fft):
    samples = noise(4321)
    stft = librosa.stft(
        librosa.effects.preemphasis(samples, coef=0.97, zi=[0.0]),
        n_fft=n_fft,
        hop_length=160,
        win_length=640,
        window="hamming",
    )
    expected = np.log10(np.maximum(np.abs(stft[:bands]) ** 2, 1e-10)).T
    got = offline.features(samples, RECIPES[f"spectrogram{bands}"])
    assert got.shape == (28, bands, 1)
    # Equal bit for bit here; another FFT may round bins near zero otherwise.
    np.testing.assert_allclose(got[..., 0], expected, atol=1e-4)


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_silence_is_the_logarithm_of_the_floor(recipe):
    spec = RECIPES[recipe]
    got = offline.features(np.zeros(5000, np.float32), spec)
    log = {"log10": np.log10, "ln": np.log, "db": lambda x: 10 * np.log10(x)}[spec.log]
    expected = np.full((len(got), spec.num_bands), log(spec.floor))
    if spec.kind == "mfcc":  # the DCT of a constant: all in the first coefficient
        expected = np.zeros_like(expected)
        expected[:, 0] = log(spec.floor) * np.sqrt(spec.num_filters)
    np.testing.assert_allclose(got[..., 0], expected, rtol=1e-6, atol=1e-3)
    assert not got[..., 1:].any()


@pytest.mark.parametrize("shape", [(0,), (2, 800)])
def test_other_than_a_vector_of_samples_is_refused(shape):
    with pytest.raises(ValueError, match="expected samples"):
        static(np.zeros(shape, np.float32), RECIPES["logmel64"])


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
