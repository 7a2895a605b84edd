"""Recordings, read whole and in blocks, and why bad ones are refused."""

import os
import pickle
import struct
import uuid

import librosa
import numpy as np
import pytest
import soundfile

from ser_jax.features import audio, containers, offline
from ser_jax.features.audio import AudioError, AudioStream
from ser_jax.features.spec import RECIPES

PSF = RECIPES["logmel40_psf"]  # scales samples up, and sums the most power


def noise(*shape):
    return 0.1 * np.random.default_rng(0).standard_normal(shape)


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(8000), 16000, subtype="PCM_16")
    return path


def test_sound_recording_comes_back_as_it_was(wav):
    samples = audio.load(wav, 16000, 0.1)
    assert samples.dtype == np.float32
    # 16 bits: half a step.
    np.testing.assert_allclose(samples, noise(8000), atol=1 / 32768)


def test_channels_are_averaged(tmp_path):
    stereo = noise(5000, 2)
    path = tmp_path / "s.flac"
    soundfile.write(path, stereo, 16000, subtype="PCM_24")
    samples = audio.load(path, 16000, 0.1)
    np.testing.assert_allclose(samples, stereo.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("rate_hz", [22_050, 48_000])
def test_resampled_blocks_are_librosas_whole_to_the_bit(rate_hz):
    samples = np.random.default_rng(3).normal(size=9_999).astype(np.float32)
    expected = librosa.resample(samples, orig_sr=rate_hz, target_sr=16_000)
    for cuts in ([], [1], range(500, 9_999, 333)):
        blocks = audio.resample(np.split(samples, cuts), rate_hz, 16_000)
        np.testing.assert_array_equal(np.concatenate(list(blocks)), expected)


@pytest.mark.parametrize(
    ("rate_hz", "channels", "size"),
    [(16_000, 1, 50_000), (44_100, 2, 100_001), (8_000, 3, 7_777), (22_050, 1, 3)],
)
def test_a_stream_is_the_whole_recording_to_the_bit(
    rate_hz, channels, size, tmp_path, monkeypatch
):
    monkeypatch.setattr(audio, "BLOCK_S", 0.37)
    path = tmp_path / "x.wav"
    soundfile.write(path, noise(size, channels), rate_hz)
    whole = audio.load(path, 16_000)
    own, own_hz = audio.read(path)
    expected = librosa.resample(own, orig_sr=own_hz, target_sr=16_000)
    np.testing.assert_array_equal(whole, expected)
    stream = AudioStream(path, 16_000)
    assert stream.num_samples == len(whole) and stream.rate_hz == rate_hz
    for _ in range(2):  # it can be read again
        blocks = list(stream)
        assert size < 20_000 or len(blocks) > 5
        np.testing.assert_array_equal(np.concatenate(blocks), whole)


def _non_finite(path):
    samples = noise(40_000)
    samples[[5, 17, 99]] = np.nan, np.inf, -np.inf
    soundfile.write(path, samples, 16_000, format="WAV", subtype="FLOAT")


def _cut_wav(path):
    soundfile.write(path, noise(8000), 16_000, format="WAV", subtype="PCM_16")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _cut_flac(path):
    soundfile.write(path, noise(40_000), 16_000, format="FLAC")
    path.write_bytes(path.read_bytes()[:30_000])


def _header_alone(path):
    soundfile.write(path, np.zeros(0), 16_000, format="WAV")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("name", "make", "reason", "detail"),
    [
        ("x.wav", _non_finite, "non-finite samples", "got 3 NaN or Inf of 40000"),
        # 8000 samples of 2 bytes; half of 16044 bytes less the header of 44.
        ("x.wav", _cut_wav, "truncated audio", "expected 16000 bytes"),
        ("x.wav", _cut_wav, "truncated audio", "got 7978"),
        ("x.flac", _cut_flac, "truncated audio", "expected 40000 samples, got"),
        ("x.wav", lambda path: path.touch(), "empty audio", "got a file of 0 bytes"),
        ("x.wav", _header_alone, "empty audio", "got a file without any"),
        ("x.wav", lambda path: path.write_text("no sound"), "unreadable", "WAV, FLAC"),
        ("x.wav", lambda path: None, "unreadable", "No such file"),
        # Names that libsndfile and the system refuse.
        ("x.raw", lambda path: path.write_bytes(bytes(99)), "unreadable", "WAV, FLAC"),
        ("x\0.wav", lambda path: None, "unreadable", "null byte"),
    ],
)
def test_a_bad_recording_says_why(name, make, reason, detail, streamed, tmp_path):
    path = tmp_path / name
    make(path)
    with pytest.raises(AudioError) as caught:
        list(AudioStream(path, 16_000)) if streamed else audio.load(path, 16_000)
    assert caught.value.reason == reason and detail in caught.value.detail
    assert str(caught.value) == f"{reason}: {caught.value.detail}"


CONTAINERS = [
    ("WAV", "x.wav"),
    ("WAVEX", "x.wav"),
    ("RF64", "x.rf64"),
    ("W64", "x.w64"),
    ("AIFF", "x.aiff"),
    ("AU", "x.au"),
    ("NIST", "x.sph"),
    ("CAF", "x.caf"),
    ("FLAC", "x.flac"),
    ("OGG", "x.ogg"),
    ("MP3", "x.mp3"),
]


@pytest.mark.parametrize(("container", "name"), CONTAINERS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_cut_off_is_not_silently_shortened(container, name, share, tmp_path):
    path = tmp_path / name
    soundfile.write(path, noise(40_000), 16_000, format=container)
    assert audio.load(path, 16_000).shape == (40_000,)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    for read in (audio.read, lambda path: list(AudioStream(path, 16_000))):
        with pytest.raises(AudioError) as caught:
            read(path)
        # libsndfile itself refuses such an MP3, if only for half of it is there.
        assert caught.value.reason == "truncated audio" or container == "MP3"


def _with_size(path, size):
    """Rewrites the size of the samples in a header."""
    with open(path, "rb") as file:
        where = containers.locate_samples(file)
    content = bytearray(path.read_bytes())
    struct.pack_into(where.size_format, content, where.size_at, size)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("container", "size"),
    [
        *(("WAV", size) for size in (0, 0x7F000024, 0x7FFFF000, 0x80000000, 2**32 - 1)),
        *(("RF64", size) for size in (0, 2**32 - 1, 2**64 - 1)),
        *((name, size) for name in ("AIFF", "AU") for size in (0, 2**32 - 1)),
        *(("W64", size) for size in (0, 24, 2**63 - 1, 2**64 - 1)),
        *(("CAF", size) for size in (0, 2**64 - 1)),
    ],
)
def test_a_recorders_header_without_a_size_is_read(container, size, tmp_path):
    """What recorders write into a pipe, before they know where it will end."""
    path = tmp_path / "x"
    soundfile.write(path, noise(8000), 16_000, format=container, subtype="PCM_16")
    _with_size(path, size)
    np.testing.assert_allclose(audio.load(path, 16_000), noise(8000), atol=1 / 32768)
    assert sum(map(len, AudioStream(path, 16_000))) == 8000
    assert audio.header_note(path) == ""


@pytest.mark.parametrize("container", ["CAF", "AIFF", "RF64", "AU"])
def test_a_size_that_counts_the_header_is_read_in_every_container(container, tmp_path):
    path = tmp_path / "x"
    soundfile.write(path, noise(8000), 16_000, format=container, subtype="PCM_16")
    with open(path, "rb") as file:
        samples = containers.locate_samples(file)
    _with_size(path, samples.declared + 44)
    assert len(audio.load(path, 16_000)) == 8000
    assert audio.header_note(path).startswith("its header declares 44 bytes more")


@pytest.mark.parametrize("surplus", [36, 44])
def test_a_size_that_counts_the_header_is_read_with_a_note(wav, surplus):
    assert audio.header_note(wav) == ""
    _with_size(wav, 16_000 + surplus)
    np.testing.assert_allclose(audio.load(wav, 16_000), noise(8000), atol=1 / 32768)
    note = f"its header declares {surplus} bytes more than there are"
    assert audio.header_note(wav).startswith(note)


@pytest.mark.parametrize("lost", [1, 100, 4000])
@pytest.mark.parametrize(
    ("container", "subtype"),
    [("CAF", "PCM_16"), ("CAF", "ULAW"), ("CAF", "ALAC_16"), ("AIFF", "ULAW")],
)
def test_a_few_bytes_less_are_noticed(container, subtype, lost, tmp_path):
    path = tmp_path / "x"
    soundfile.write(path, noise(40_000), 16_000, format=container, subtype=subtype)
    assert len(audio.load(path, 16_000)) == 40_000
    whole = path.read_bytes()
    with open(path, "rb") as file:
        samples = containers.locate_samples(file)
    end = samples.start + samples.declared
    path.write_bytes(whole[: end - lost])
    with pytest.raises(AudioError, match="truncated audio"):
        audio.load(path, 16_000)


def test_bw64_is_rf64_by_another_name(tmp_path):
    path = tmp_path / "x"
    soundfile.write(path, noise(8000), 16_000, format="RF64", subtype="PCM_16")
    whole = b"BW64" + path.read_bytes()[4:]
    path.write_bytes(whole)
    np.testing.assert_allclose(audio.load(path, 16_000), noise(8000), atol=1 / 32768)
    path.write_bytes(whole[:-2])
    with pytest.raises(AudioError, match="truncated audio"):
        audio.load(path, 16_000)


def test_several_ogg_streams_in_one_file_are_refused(tmp_path):
    for name in "ab":
        soundfile.write(tmp_path / name, noise(8000), 16_000, format="OGG")
    first, second = ((tmp_path / name).read_bytes() for name in "ab")
    assert first[14:18] != second[14:18]
    for several in (first + second, first + first, first + second + first):
        (tmp_path / "c").write_bytes(several)
        with pytest.raises(AudioError, match="unreadable: expected one stream"):
            audio.load(tmp_path / "c", 16_000)


def test_what_a_header_leaves_out_is_noted(wav, tmp_path):
    _with_size(wav, 12_000)
    assert len(audio.load(wav, 16_000)) == 6000
    assert audio.header_note(wav).startswith("its header leaves out the last 4000 byt")
    _with_size(wav, 16_000)
    with wav.open("ab") as file:  # tags
        file.write(b"id3 " + (2000).to_bytes(4, "little") + bytes(2000))
    assert audio.header_note(wav) == ""
    soundfile.write(tmp_path / "x.voc", noise(8000), 16_000, format="VOC")
    assert "does not tell whether" in audio.header_note(tmp_path / "x.voc")


def test_pipes_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    for name in ("pipe.wav", "folder.wav"):
        with pytest.raises(AudioError, match="got a folder, pipe or device"):
            audio.load(tmp_path / name, 16_000)


def test_a_flac_without_its_length_is_read(tmp_path):
    """As ffmpeg writes one into a pipe."""
    path = tmp_path / "x.flac"
    soundfile.write(path, noise(8000), 16_000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    np.testing.assert_allclose(audio.load(path, 16_000), noise(8000), atol=1 / 32768)
    assert sum(map(len, AudioStream(path, 16_000))) == 8000
    path.write_bytes(content[:-2000])
    with pytest.raises(AudioError):
        audio.load(path, 16_000)


def _sphere(start, count):
    fields = f"channel_count -i 1\nsample_n_bytes -i 2\nsample_count -i {count}\n"
    head = f"NIST_1A\n{start}\n{fields}sample_rate -i 16000\nend_head\n"
    return head.encode().ljust(1024) + bytes(800)


W64 = uuid.UUID("66666972-912E-CF11-A5D6-28DB04C10000").bytes_le


@pytest.mark.parametrize(("start", "count"), [("   1024", 0), ("garbage", 400)])
def test_a_sphere_header_without_a_size_is_read(start, count, tmp_path):
    (tmp_path / "x").write_bytes(_sphere(start, count))
    assert audio.load(tmp_path / "x", 16_000).shape == (400,)


@pytest.mark.parametrize(
    "content",
    [
        _sphere("   9999", 400),
        b".snd" + struct.pack(">5I", 999, 0, 3, 16_000, 1) + bytes(100),
        b".snd",
        # Chunks whose sizes lead nowhere.
        *(
            W64 + bytes(24) + b"fmt ".ljust(16, b"x") + struct.pack("<Q", size)
            for size in (0, 8, 2**63, 2**64 - 1)
        ),
        b"RIFF" + struct.pack("<I", 99) + b"WAVEjunk" + struct.pack("<I", 2**32 - 1),
        b"caff\0\1\0\0desc" + struct.pack(">Q", 2**64 - 9),
    ],
)
def test_headers_that_lead_nowhere_are_refused(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(AudioError):
        audio.load(tmp_path / "x", 16_000)


def test_notes_behind_an_empty_header_are_no_samples(wav):
    header = wav.read_bytes()[:40] + bytes(4)
    wav.write_bytes(header + b"LIST" + (12).to_bytes(4, "little") + b"INFOISFTxxxx")
    with pytest.raises(AudioError, match="got a file without any"):
        audio.load(wav, 16_000)


@pytest.mark.parametrize("rate_hz", [0, 1, 999, 768_001, 2**31])
def test_an_implausible_sample_rate_is_refused(wav, rate_hz):
    content = bytearray(wav.read_bytes())
    struct.pack_into("<I", content, 24, rate_hz)
    wav.write_bytes(content)
    for read in (audio.read, lambda path: AudioStream(path, 16_000)):
        with pytest.raises(AudioError, match=f"sample rate of {rate_hz} Hz") as caught:
            read(wav)
        assert caught.value.reason == "implausible sample rate"


@pytest.mark.parametrize("rate_hz", [1_000, 768_000])
def test_plausible_sample_rates_are_resampled(rate_hz, tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, noise(rate_hz // 10), rate_hz)
    assert audio.load(path, 16_000).shape == (1600,)


@pytest.mark.parametrize("largest", [1e10, 1e25, 3e38])
def test_samples_beyond_full_scale_integers_are_refused(largest, tmp_path):
    samples = noise(8000).astype(np.float32)
    samples[77] = -largest
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="unusable samples.* got one of"):
        audio.load(tmp_path / "x.wav", 16_000)
    samples[77] = 2.0**31  # integers stored as floats
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype="FLOAT")
    assert np.isfinite(
        offline.features(audio.load(tmp_path / "x.wav", 16_000), PSF)
    ).all()


@pytest.mark.parametrize("codec", ["GSM610", "G721_32", "NMS_ADPCM_32"])
def test_codecs_that_cannot_seek_are_read(codec, tmp_path):
    soundfile.write(tmp_path / "x.wav", noise(8000), 16_000, subtype=codec)
    whole = audio.load(tmp_path / "x.wav", 16_000)
    assert 8000 <= len(whole) < 8400  # whole blocks of the codec
    assert sum(map(len, AudioStream(tmp_path / "x.wav", 16_000))) == len(whole)


def test_clip_of_30_ms_is_too_short(tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, noise(480), 16000)
    with pytest.raises(
        AudioError, match=r"too short: expected at least 0\.1 s, got 0\.030 s"
    ):
        audio.load(path, 16000, 0.1)
    assert audio.load(path, 16000, 0.03).shape == (480,)


def test_error_survives_the_way_back_from_a_worker():
    error = pickle.loads(pickle.dumps(AudioError("too short", "why")))
    assert (error.reason, error.detail) == ("too short", "why")
