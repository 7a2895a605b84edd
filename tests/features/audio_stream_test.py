"""A recording in blocks is the recording."""

import numpy as np
import pytest
import soundfile

from ser_jax.features import audio, audio_stream
from ser_jax.features.audio import AudioError
from ser_jax.features.audio_stream import AudioStream


@pytest.mark.parametrize(
    ("rate_hz", "channels", "size"),
    [(16_000, 1, 50_000), (44_100, 2, 100_001), (8_000, 3, 7_777), (22_050, 1, 3)],
)
def test_blocks_joined_are_the_whole_to_the_bit(
    rate_hz, channels, size, tmp_path, monkeypatch
):
    monkeypatch.setattr(audio_stream, "BLOCK_S", 0.37)
    rng = np.random.default_rng(size)
    path = tmp_path / "x.wav"
    soundfile.write(path, 0.1 * rng.normal(size=(size, channels)), rate_hz)
    whole, _ = audio.load(path, 16_000)
    stream = AudioStream(path, 16_000)
    assert stream.num_samples == len(whole) and stream.rate_hz == rate_hz
    for _ in range(2):  # it can be read again
        blocks = list(stream)
        assert size < 20_000 or len(blocks) > 5
        np.testing.assert_array_equal(np.concatenate(blocks), whole)


def _nan(path):
    samples = np.zeros(40_000, np.float32)
    samples[30_000] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


def _truncated(path):
    soundfile.write(path, np.zeros(40_000), 16_000)
    path.write_bytes(path.read_bytes()[:50_000])


def _cut_flac(path):
    rng = np.random.default_rng(0)
    soundfile.write(path, 0.1 * rng.normal(size=40_000), 16_000, format="FLAC")
    path.write_bytes(path.read_bytes()[:30_000])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_nan, "non-finite samples"),
        (_truncated, "truncated audio"),
        (_cut_flac, "truncated audio"),
        (lambda path: path.write_bytes(b""), "empty audio"),
        (lambda path: path.write_text("not sound"), "unreadable"),
        (lambda path: soundfile.write(path, np.zeros(0), 16_000), "empty audio"),
        (lambda path: None, "unreadable"),
    ],
)
def test_a_bad_recording_says_why(make, reason, tmp_path):
    path = tmp_path / "x.wav"
    make(path)
    with pytest.raises(AudioError) as error:
        list(AudioStream(path, 16_000))
    assert error.value.reason == reason


def test_resample_ends_like_librosa_for_any_blocks():
    import librosa

    rng = np.random.default_rng(3)
    samples = rng.normal(size=9_999).astype(np.float32)
    expected = librosa.resample(samples, orig_sr=22_050, target_sr=16_000)
    for cuts in ([], [1], range(500, 9_999, 333)):
        blocks = audio_stream.resample(np.split(samples, cuts), 22_050, 16_000)
        np.testing.assert_array_equal(np.concatenate(list(blocks)), expected)


@pytest.mark.parametrize("name", ["x.raw", "x\0.wav"])
def test_names_that_libsndfile_or_the_system_refuse(name, tmp_path):
    (tmp_path / "x.raw").write_bytes(bytes(99))
    with pytest.raises(AudioError) as error:
        AudioStream(f"{tmp_path}/{name}", 16_000)
    assert error.value.reason == "unreadable"


@pytest.mark.parametrize("size", [0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_stream_s_header_does_not_know_the_size(size, tmp_path):
    """What recorders write into a pipe, before they know where it will end."""
    path = tmp_path / "x.wav"
    soundfile.write(path, np.full(4_000, 0.25), 16_000)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    assert sum(map(len, AudioStream(path, 16_000))) == 4_000
