"""Recordings inside the page: FLAC in `data:` addresses, bounded in number and size.

FLAC loses nothing, every current browser plays it, and 16 kHz speech takes some 25 kB
per second of page.
"""

import base64
import io
import os
from collections.abc import Mapping, Sequence

import soundfile

from ser_jax.features import audio
from ser_jax.report.document import Cell
from ser_jax.workdir.predictions import Recording

TOTAL_BYTES = 3_000_000  # of all clips of a page, as the page holds them
LONGEST_S = 60.0
TOLERANCE_S = 0.05  # resampling and rounding stay far below


def clips(
    utterances: Sequence[str],
    recordings: Mapping[str, Recording],
    total_bytes: int = TOTAL_BYTES,
) -> list[Cell]:
    """A cell per utterance id, in order: to be heard, or the reason why not.

    A clip that would not fit into `total_bytes` any more is left out.
    """
    cells = []
    for name in utterances:
        try:
            uri, text = _encode(recordings.get(name), total_bytes)
        except (OSError, RuntimeError, audio.AudioError) as error:
            uri, text = "", f"unreadable ({type(error).__name__})"
        total_bytes -= len(uri)
        cells.append(Cell(text, uri=uri, name=name))
    return cells


def _encode(recording: Recording | None, total_bytes: int) -> tuple[str, str]:
    """The address and the cell's text, which is the reason if there is no address."""
    if recording is None:
        return "", "not in recordings.csv"
    if not os.path.isfile(recording.wav):
        return "", "file not here"
    with audio.open_recording(recording.wav) as file:
        rate_hz, tested_s = file.samplerate, recording.duration_s
        seconds = file.frames / rate_hz
        if seconds > LONGEST_S:
            return "", f"longer than {LONGEST_S:.0f} s"
        if abs(seconds - tested_s) > TOLERANCE_S:
            lengths = f"{seconds:.2f} s, tested {tested_s:.2f} s"
            return "", f"another recording now: {lengths}"
        samples = file.read(dtype="float32", always_2d=True)
    flac = io.BytesIO()
    mono = samples.mean(axis=1)  # what the model heard
    soundfile.write(flac, mono, rate_hz, format="FLAC", subtype="PCM_16")
    uri = "data:audio/flac;base64," + base64.b64encode(flac.getvalue()).decode()
    if len(uri) > total_bytes:
        return "", "the page holds no more sound"
    return uri, "in report.html"
