"""Sounds inside the page are the corpus's, bounded, or a reason."""

import base64
import io

import numpy as np
import soundfile

from ser_jax.report import clips
from ser_jax.workdir.predictions import Recording

RATE_HZ = 8000


def _write(path, samples, duration_s=None):
    soundfile.write(path, samples, RATE_HZ, subtype="PCM_16")
    seconds = len(samples) / RATE_HZ if duration_s is None else duration_s
    return Recording(path.stem, seconds, str(path))


def _noise(samples, channels=1):
    values = np.random.default_rng(5).uniform(-0.5, 0.5, (samples, channels))
    return np.round(values * 32768) / 32768


def test_the_sound_is_the_whole_recording_without_loss(tmp_path):
    samples = _noise(700)
    item = _write(tmp_path / "a.wav", samples)
    (cell,) = clips.clips(["a"], {"a": item})
    kind, data = cell.uri.split(",")
    assert kind == "data:audio/flac;base64" and cell.name == "a"
    heard, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(data)), always_2d=True)
    assert rate_hz == RATE_HZ
    np.testing.assert_array_equal(heard, samples)


def test_channels_are_averaged_as_for_the_model(tmp_path):
    samples = _noise(600, channels=2)
    (cell,) = clips.clips(["b"], {"b": _write(tmp_path / "b.wav", samples)})
    data = base64.b64decode(cell.uri.split(",")[1])
    heard, _ = soundfile.read(io.BytesIO(data))
    # A mean may lie between two 16-bit values.
    np.testing.assert_allclose(heard, samples.mean(axis=1), atol=1 / 32768)


def test_what_cannot_be_heard_says_why(tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    recordings = {
        "gone": Recording("gone", 1.0, str(tmp_path / "gone.wav")),
        "folder": Recording("folder", 1.0, str(tmp_path)),
        "text": Recording("text", 1.0, str(tmp_path / "text.wav")),
        "changed": _write(tmp_path / "changed.wav", _noise(800), duration_s=0.2),
        "long": _write(tmp_path / "long.wav", np.zeros(61 * RATE_HZ)),
    }
    cells = clips.clips([*recordings, "unheard of"], recordings)
    assert not any(cell.uri for cell in cells)
    assert [cell.text for cell in cells] == [
        "file not here",
        "file not here",
        "unreadable (AudioError)",
        "another recording now: 0.10 s, tested 0.20 s",
        "longer than 60 s",
        "not in recordings.csv",
    ]


def test_the_page_holds_no_more_than_the_limit(tmp_path):
    sizes = {"a": 900, "b": 30_000, "c": 500}
    recordings = {n: _write(tmp_path / f"{n}.wav", _noise(s)) for n, s in sizes.items()}
    first, second, third = clips.clips(list(recordings), recordings, total_bytes=9000)
    assert first.uri and third.uri and len(first.uri) + len(third.uri) <= 9000
    assert not second.uri and second.text == "the page holds no more sound"
