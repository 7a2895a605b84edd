"""The sound of videos: which channel is heard, and what is refused."""

import sys

import numpy as np
import pytest

from ser_jax.features import audio
from ser_jax.features.audio import AudioError, AudioStream

RATE_HZ = 48_000


def tone(hz, seconds=1.0):
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return 0.4 * np.sin(2 * np.pi * hz * time_s)


def write(path, channels, layout, **options):
    """An MP4 with AAC, as MELD's clips are, at the front of which stands what it holds."""
    av = pytest.importorskip("av")
    samples = np.asarray(channels, np.float32)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        track = container.add_stream("aac", rate=RATE_HZ, layout=layout, **options)
        for start in range(0, samples.shape[1], 1024):
            block = np.ascontiguousarray(samples[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.rate, frame.pts = RATE_HZ, start
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path


def share(samples, hz):
    """Of the power, at one frequency."""
    power = np.abs(np.fft.rfft(samples * np.hanning(samples.size))) ** 2
    at = round(hz * samples.size / RATE_HZ)
    return power[at - 3 : at + 4].sum() / power.sum()


def test_the_centre_of_a_surround_track_is_heard(tmp_path):
    music, dialogue = tone(3000), tone(440)
    channels = [music, music, dialogue, 0 * music, music, music]  # FL FR FC LFE BL BR
    samples, rate_hz = audio.read(write(tmp_path / "a.mp4", channels, "5.1"))
    assert rate_hz == RATE_HZ and samples.dtype == np.float32
    # The last block of AAC is padded to 1,024 samples.
    assert 0 <= samples.size - RATE_HZ < 1024
    assert share(samples, 440) > 0.99


def test_two_channels_are_averaged(tmp_path):
    path = write(tmp_path / "a.mp4", [tone(440), tone(3000)], "stereo")
    samples, _ = audio.read(path)
    # Half each; AAC loses little of a tone.
    assert share(samples, 440) == pytest.approx(0.5, abs=0.02)
    assert share(samples, 3000) == pytest.approx(0.5, abs=0.02)
    assert audio.header_note(path) == ""


def test_a_stream_of_a_video_is_the_whole_to_the_bit(tmp_path):
    path = write(tmp_path / "a.mp4", [tone(440)], "mono")
    whole = audio.load(path, 16_000)
    stream = AudioStream(path, 16_000)
    assert np.array_equal(np.concatenate([*stream]), whole)
    assert stream.num_samples == whole.size


def test_a_video_cut_off_is_not_silently_shortened(tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, 3 * RATE_HZ))
    path = write(tmp_path / "a.mp4", noise, "mono")
    content = path.read_bytes()
    for share_kept in (0.05, 0.5, 0.9):
        path.write_bytes(content[: int(share_kept * len(content))])
        with pytest.raises(AudioError, match="truncated audio: expected 3.0"):
            audio.read(path)


def test_no_sound_and_no_video_are_told(tmp_path):
    av = pytest.importorskip("av")
    silent, broken = tmp_path / "a.mp4", tmp_path / "b.mp4"
    with av.open(str(silent), "w") as container:
        track = container.add_stream("mpeg4", rate=25)
        track.width = track.height = 32
        picture = np.zeros((32, 32, 3), np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    broken.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(99))
    for path, reason in ((silent, "empty audio"), (broken, "unreadable")):
        with pytest.raises(AudioError) as caught:
            audio.read(path)
        assert caught.value.reason == reason and "\n" not in str(caught.value)


def test_without_pyav_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "dia0_utt0.mp4"
    path.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(99))
    with pytest.raises(AudioError, match=r"'\.\[video\]'.*ffmpeg -i dia0_utt0.mp4"):
        audio.read(path)
