"""The sound of a video (MP4, MOV, Matroska, WebM), as a WAV in memory; needs PyAV."""

import io
import os

import numpy as np
import soundfile

# A decoder's delay may be left in the duration that the file states: 2,112 samples of AAC
# are 0.05 s.
_TOLERANCE_S = 0.1
_MATROSKA = b"\x1a\x45\xdf\xa3"


class Fault(Exception):
    """A video cannot be used; its arguments are (reason, detail) of an AudioError."""


def is_video(head: bytes) -> bool:
    """Whether a file with these first 8 bytes or more is one of the containers above."""
    return head[4:8] == b"ftyp" or head[:4] == _MATROSKA


def sound(path: str) -> io.BytesIO:
    """Decodes the first audio track to a WAV of float32, one channel, its own rate.

    Of a surround track the centre is taken, where films have their dialogue: the mean
    of six channels would bury it under music and effects. Otherwise, as everywhere, it
    is the mean of the channels.

    Raises Fault if PyAV is missing, or the track is, cannot be decoded or is cut off.
    """
    try:
        import av
    except ImportError as error:
        name = os.path.basename(path)
        detail = (
            "the sound of a video needs PyAV: pip install '.[video]', or turn it into a "
            f"WAV: ffmpeg -i {name} -vn -ac 1 {os.path.splitext(name)[0]}.wav"
        )
        raise Fault("unreadable", detail) from error
    try:
        with av.open(path, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise Fault("empty audio", "expected a video with sound, got none")
            samples, rate_hz = _decode(av, container, container.streams.audio[0])
    except (av.FFmpegError, ValueError) as error:
        raise Fault("unreadable", f"expected a video, got: {error}") from error
    wav = io.BytesIO()
    soundfile.write(wav, samples, rate_hz, format="WAV", subtype="FLOAT")
    wav.seek(0)
    return wav


def _decode(av, container, track) -> tuple[np.ndarray, int]:
    """(Samples float32 [n], rate in Hz) of a track, no shorter than the file states."""
    stated_s = float((track.duration or 0) * (track.time_base or 0))
    rate_hz, blocks = track.rate, [np.zeros(0, np.float32)]
    try:
        for frame in _frames(av, container, track):
            blocks.append(_mono(frame))
    except av.FFmpegError:
        # Clips cut out of a film may end within a packet: what is stated decides.
        if not stated_s:
            raise
    samples = np.concatenate(blocks)
    if samples.size < (stated_s - _TOLERANCE_S) * rate_hz:
        got_s = samples.size / rate_hz
        detail = f"expected {stated_s:.2f} s as the header says, got {got_s:.2f} s"
        raise Fault("truncated audio", detail)
    return samples, rate_hz


def _frames(av, container, track):
    """Decoded frames, each channel a row of float32."""
    planar = av.AudioResampler(format="fltp")  # layout and rate stay
    for frame in container.decode(track):
        yield from planar.resample(frame)
    yield from planar.resample(None)


def _mono(frame) -> np.ndarray:
    samples = frame.to_ndarray()
    names = [channel.name for channel in frame.layout.channels]
    if "FC" in names:
        return samples[names.index("FC")]
    return samples.mean(axis=0)
