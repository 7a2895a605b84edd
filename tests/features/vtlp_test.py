import numpy as np
import pytest

from ser_jax.features import filters, offline, vtlp
from ser_jax.features.spec import RECIPES, VTLP_MODES

SPEC = RECIPES["logmel128"]


def sine(hz, num_samples=16000):
    return np.sin(2 * np.pi * hz * np.arange(num_samples) / 16000).astype(np.float32)


def copies(samples, spec, factors, mode="textbook"):
    """Features of perturbed copies of an utterance, [V, T, F, C]."""
    log = vtlp.log_energies(samples, spec, factors, mode)
    return offline.features_of_log(log, spec)[1:]


def loudest_hz(samples):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return np.argmax(spectrum) * 16000 / samples.size


@pytest.mark.parametrize(
    ("alpha", "hz", "moved"),
    [
        (1.2, 1000.0, 1200.0),
        (0.8, 1000.0, 800.0),
        # The knee: b = 4800 min(alpha, 1), reached from b / alpha.
        (1.2, 4000.0, 4800.0),
        (0.8, 4800.0, 3840.0),
        # Above it: 8000 - 3200 / 4000 (8000 - 6000).
        (1.2, 6000.0, 6400.0),
        (1.2, 8000.0, 8000.0),
        (0.8, 8000.0, 8000.0),
    ],
)
def test_textbook_map(alpha, hz, moved):
    assert vtlp.textbook_map(np.array(hz), alpha, 16000) == pytest.approx(moved)


@pytest.mark.parametrize(
    ("alpha", "moved_hz", "moved_4000_hz"),
    [(0.8, 696, 3478), (0.9, 837, 3721), (1.1, 1170, 4255), (1.2, 1333, 4444)],
)
def test_nlpaug_map_moves_more_than_its_factor_says(alpha, moved_hz, moved_4000_hz):
    place = vtlp.nlpaug_map(1025, alpha, 16000)
    bin_hz = 8000 / 1024
    assert round(place[128] * bin_hz) == moved_hz  # bin 128 lies at 1000 Hz
    assert round(place[512] * bin_hz) == moved_4000_hz
    assert place[0] == 0 and place[-1] == 1024


@pytest.mark.parametrize("alpha", [0.8, 1.0, 1.2])
def test_maps_increase(alpha):
    hz = np.linspace(0, 8000, 4001)
    assert (np.diff(vtlp.textbook_map(hz, alpha, 16000)) > 0).all()
    assert (np.diff(vtlp.nlpaug_map(1025, alpha, 16000)) > 0).all()


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_factor_one_is_the_recipes_filterbank(recipe):
    spec = RECIPES[recipe]
    # float32 rounding of weights up to 0.03 (slaney) or 1 (the others).
    np.testing.assert_allclose(
        vtlp.warped_filterbank(spec, 1.0), filters.filterbank(spec), atol=1e-6
    )


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_no_band_is_blind(recipe):
    for alpha in (0.8, 1.2):
        assert vtlp.warped_filterbank(RECIPES[recipe], alpha).sum(axis=1).min() > 0


@pytest.mark.parametrize("recipe", ["logmel128", "spectrogram200"])
def test_textbook_copy_of_a_tone_looks_like_the_moved_tone(recipe):
    spec, factors = RECIPES[recipe], (0.8, 0.9, 1.1, 1.2)
    for alpha, copy in zip(factors, copies(sine(1000), spec, factors), strict=True):
        moved = offline.features(sine(1000 * alpha), spec)[..., 0]
        assert np.argmax(copy[20, :, 0]) == np.argmax(moved[20])
        if spec.kind == "spectrogram":  # rows read between bins, no louder or softer
            bank = vtlp.warped_filterbank(spec, alpha)
            np.testing.assert_allclose(bank.sum(axis=1), 1.0)


@pytest.mark.parametrize(
    ("alpha", "moved_hz"), [(0.8, 696), (0.9, 837), (1.1, 1170), (1.2, 1333)]
)
def test_nlpaug_moves_a_tone(alpha, moved_hz):
    warped = vtlp.nlpaug_warp(sine(1000), alpha, 16000)
    assert warped.shape == (16000,)
    # Bins are 7.8 Hz wide; the window smears a tone over four of them, which move by
    # different whole bins. The published map is 63 Hz away or more.
    assert loudest_hz(warped) == pytest.approx(moved_hz, abs=20)


@pytest.mark.parametrize("mode", VTLP_MODES)
@pytest.mark.parametrize("num_samples", [801, 3999])
def test_copies_have_the_frames_of_their_source(mode, num_samples):
    samples = sine(440, num_samples)
    got = copies(samples, SPEC, np.array([0.9, 1.1, 1.2]), mode)
    assert got.shape == (3, SPEC.num_frames(num_samples), 128, 3)
    assert got.dtype == np.float32 and np.isfinite(got).all()


@pytest.mark.parametrize(
    ("recipe", "mode"),
    [("logmel128", "nlpaug"), *((recipe, "textbook") for recipe in sorted(RECIPES))],
)
def test_unit_factor_copies_the_source(recipe, mode):
    spec = RECIPES[recipe]
    samples = np.random.default_rng(0).standard_normal(6000).astype(np.float32)
    copy = copies(samples, spec, np.array([1.0]), mode)[0]
    # Weights rounded elsewhere: 1e-6 of them; MFCC add 128 logs in dB; nlpaug passes
    # through an STFT and back, in float32.
    np.testing.assert_allclose(copy, offline.features(samples, spec), atol=1e-3)


@pytest.mark.parametrize("mode", VTLP_MODES)
def test_silence_stays_at_the_floor(mode):
    got = copies(np.zeros(4000, np.float32), SPEC, np.array([0.9]), mode)
    np.testing.assert_allclose(got[..., 0], -10.0, rtol=1e-6)  # 1e-10 in float32


def test_no_copies():
    got = copies(sine(440, 4000), SPEC, np.zeros(0), "textbook")
    assert got.shape == (0, 11, 128, 3)
    got = copies(sine(440, 4000), RECIPES["mfcc26"], np.zeros(0), "nlpaug")
    assert got.shape == (0, 8, 26, 1)


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="expected a VTLP mode"):
        copies(sine(440, 4000), SPEC, np.array([1.0]), "vocoder")


def test_factors_belong_to_the_utterance():
    factors = vtlp.warp_factors("Ses01F_impro01_F000", 7, 0.8, 1.2)
    again = vtlp.warp_factors("Ses01F_impro01_F000", 7, 0.8, 1.2)
    np.testing.assert_array_equal(factors, again)
    # Golden: another process, Python version or machine draws the same.
    assert factors.dtype == np.float32 and factors.shape == (7,)
    assert round(float(factors[0]), 4) == 0.8698
    assert not np.array_equal(factors, vtlp.warp_factors("b", 7, 0.8, 1.2))


def test_factors_fill_their_range():
    drawn = np.concatenate(
        [vtlp.warp_factors(f"u{n}", 7, 0.8, 1.2) for n in range(300)]
    )
    assert drawn.min() >= 0.8 and drawn.max() <= 1.2
    # Mean of 2100 uniform numbers: standard error 0.0025.
    assert drawn.mean() == pytest.approx(1.0, abs=0.01)
    assert drawn.min() < 0.81 and drawn.max() > 1.19
