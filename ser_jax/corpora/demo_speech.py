"""Speaks a list of sentences with espeak NG; run as a program by `demo.make`.

The same call twice in one process differs by a few samples, because espeak keeps global
state, but fresh processes that speak the same list give the same bytes. So one process
speaks a whole corpus: `python -m ser_jax.corpora.demo_speech jobs.json`.
"""

import ctypes
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile

SAMPLE_RATE_HZ = 16000  # IEMOCAP's

_ESPEAK_RATE_HZ = 22050
_SYNCHRONOUS, _UTF8 = 2, 1
_PARAMETERS = (1, 3, 4, 7)  # espeak's ids of rate, pitch, range and word gap
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclasses.dataclass(frozen=True)
class Job:
    """One sentence and how it is spoken and recorded."""

    wav: str  # path of the file to write
    text: str
    voice: str  # espeak voice with variant, e.g. `en-us+f2`
    rate_wpm: int  # words per minute, 80 to 450
    pitch: int  # 0 to 99, espeak's scale
    pitch_range: int  # 0 (monotone) to 100
    word_gap: int  # extra pause between words, units of 10 ms
    level_db: float  # RMS of the speech below full scale
    tilt: float  # first-order high-frequency emphasis (> 0) or damping, in (-1, 1)
    snr_db: float  # level of the speech above that of the room noise
    noise_seed: int


class Synthesiser:
    """The espeak library; one per process."""

    def __init__(self):
        import espeakng_loader  # extra `demo`; imported in this process only

        self._library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        self._chunks: list[np.ndarray] = []
        self._callback = _CALLBACK(self._collect)  # espeak holds only a raw pointer
        parent = Path(espeakng_loader.get_data_path()).parent
        path = str(parent).encode()
        rate_hz = self._library.espeak_Initialize(_SYNCHRONOUS, 0, path, 0)
        if rate_hz != _ESPEAK_RATE_HZ:
            raise RuntimeError(f"espeak: expected {_ESPEAK_RATE_HZ} Hz, got {rate_hz}")
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples, count: int, events) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, job: Job) -> np.ndarray:
        """Returns float64 samples [n] in [-1, 1] at `SAMPLE_RATE_HZ`."""
        if self._library.espeak_SetVoiceByName(job.voice.encode()):
            raise RuntimeError(f"espeak has no voice {job.voice}")
        values = (job.rate_wpm, job.pitch, job.pitch_range, job.word_gap)
        for parameter, value in zip(_PARAMETERS, values, strict=True):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        text = job.text.encode() + b"\0"
        size = ctypes.c_size_t(len(text))
        self._library.espeak_Synth(text, size, 0, 0, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        samples = np.concatenate(self._chunks) / 32768.0
        return scipy.signal.resample_poly(samples, 320, 441)  # 22050 -> 16000 Hz


def record(speech: np.ndarray, job: Job) -> np.ndarray:
    """Adds the room: spectral tilt, level, noise. [n] -> [n], clipped to [-1, 1]."""
    speech = scipy.signal.lfilter([1.0, -job.tilt], [1.0], speech)
    rms = 10.0 ** (job.level_db / 20.0)
    speech *= rms / max(float(np.sqrt(np.mean(speech**2))), 1e-6)
    noise = np.random.default_rng(job.noise_seed).standard_normal(len(speech))
    noise = scipy.signal.lfilter([1.0], [1.0, -0.9], noise)  # rooms rumble
    noise *= rms * 10.0 ** (-job.snr_db / 20.0) / np.sqrt(np.mean(noise**2))
    return np.clip(speech + noise, -1.0, 1.0)


if __name__ == "__main__":
    synthesiser = Synthesiser()
    for fields in json.loads(Path(sys.argv[1]).read_text("utf-8")):
        job = Job(**fields)
        samples = record(synthesiser.speak(job), job)
        pcm = np.round(samples * 32767.0).astype(np.int16)
        soundfile.write(job.wav, pcm, SAMPLE_RATE_HZ, subtype="PCM_16")
