import pickle

import numpy as np
import pytest
import soundfile

from ser_jax.features import audio


def noise(*shape):
    return 0.1 * np.random.default_rng(0).standard_normal(shape)


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(8000), 16000, subtype="PCM_16")
    return path


def reason(path, min_duration_s=0.1):
    with pytest.raises(audio.AudioError) as caught:
        audio.load(path, 16000, min_duration_s)
    assert str(caught.value) == f"{caught.value.reason}: {caught.value.detail}"
    return caught.value.reason, caught.value.detail


def test_sound_recording_comes_back_as_it_was(wav):
    samples, resampled = audio.load(wav, 16000, 0.1)
    assert samples.dtype == np.float32 and not resampled
    # 16 bits: half a step.
    np.testing.assert_allclose(samples, noise(8000), atol=1 / 32768)


def test_channels_are_averaged(tmp_path):
    stereo = noise(5000, 2)
    path = tmp_path / "s.flac"
    soundfile.write(path, stereo, 16000, subtype="PCM_24")
    samples, _ = audio.load(path, 16000, 0.1)
    np.testing.assert_allclose(samples, stereo.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000])
def test_other_rates_are_resampled(tmp_path, rate_hz):
    path = tmp_path / "r.wav"
    seconds = np.arange(rate_hz) / rate_hz
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * seconds), rate_hz)
    samples, resampled = audio.load(path, 16000, 0.1)
    assert resampled and samples.shape == (16000,) and samples.dtype == np.float32
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    # The resampler rings at both ends; 16-bit steps inside.
    np.testing.assert_allclose(samples[800:-800], expected[800:-800], atol=2e-3)


def test_missing_file(tmp_path):
    assert reason(tmp_path / "none.wav")[0] == "unreadable"


def test_not_audio(tmp_path):
    path = tmp_path / "text.wav"
    path.write_text("this is no recording, whatever its name says")
    assert reason(path)[0] == "unreadable"


def test_empty_file(tmp_path):
    path = tmp_path / "empty.wav"
    path.touch()
    assert reason(path)[0] == "empty audio"


def test_header_without_samples(tmp_path):
    path = tmp_path / "header.wav"
    soundfile.write(path, np.zeros(0), 16000)
    assert reason(path)[0] == "empty audio"


def test_truncated_wav_names_both_sizes(wav):
    whole = wav.read_bytes()
    wav.write_bytes(whole[: len(whole) // 2])
    got = reason(wav)
    assert got[0] == "truncated audio"
    # 8000 samples of 2 bytes; half of 16044 bytes less the header of 44.
    assert "expected 16000 bytes" in got[1] and "got 7978" in got[1]


def test_stream_of_unknown_length_is_read(wav):
    whole = bytearray(wav.read_bytes())
    whole[40:44] = b"\xff" * 4  # what a recorder that writes to a pipe leaves
    wav.write_bytes(whole)
    assert audio.load(wav, 16000, 0.1)[0].shape == (8000,)


def test_truncated_flac(tmp_path):
    path = tmp_path / "cut.flac"
    soundfile.write(path, noise(80000), 16000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert reason(path)[0] == "truncated audio"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_samples_are_counted(tmp_path, bad):
    samples = noise(4000)
    samples[[5, 17, 99]] = bad
    path = tmp_path / "bad.wav"
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    got = reason(path)
    assert got[0] == "non-finite samples" and "got 3 NaN or Inf of 4000" in got[1]


def test_clip_of_30_ms_is_too_short(tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, noise(480), 16000)
    assert reason(path) == ("too short", "expected at least 0.1 s, got 0.030 s")
    assert audio.load(path, 16000, 0.03)[0].shape == (480,)


def test_error_survives_the_way_back_from_a_worker():
    error = pickle.loads(pickle.dumps(audio.AudioError("too short", "why")))
    assert (error.reason, error.detail) == ("too short", "why")
