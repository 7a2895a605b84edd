"""What features cost without this package, and recordings to try it on.

`librosa_features` is what scripts around these systems do, file by file: `soundfile`
reads, for each VTLP copy the waveform is warped (librosa's STFT with 2048 / 512
samples, every bin added to the two bins around its new place, bin by bin as nlpaug
does, inverse STFT) and `librosa.feature.melspectrogram` or `mfcc` computed of the new
waveform; `librosa.feature.delta` twice (width 5, edges repeated). `psf_features` does
the same with `python_speech_features.logfbank` and `.delta`.
"""

import os
from pathlib import Path

import librosa
import numpy as np
import python_speech_features as psf
import soundfile

from benchmarks import measure
from ser_jax.corpora import manifest
from ser_jax.features import vtlp

RATE_HZ = 16_000


def recordings(folder: Path, num: int) -> tuple[str, list[str], float]:
    """A manifest, the files of its first `num` recordings, and hours of all of it."""
    given = os.environ.get(measure.MANIFEST)
    path = Path(given) if given else _synthetic(folder, num)
    files = [utterance.wav for utterance in manifest.read(path)]
    hours = sum(soundfile.info(f).duration for f in files) / 3600
    return str(path), files[:num], hours


def _synthetic(folder: Path, num: int) -> Path:
    """Noise with a moving spectrum, as long as IEMOCAP's turns (median 3.6 s)."""
    rng = np.random.default_rng(0)
    lines = ["path,emotion,speaker"]
    for i in range(num):
        seconds = float(np.clip(rng.lognormal(np.log(3.6), 0.6), 0.6, 20.0))
        wave = rng.standard_normal(int(seconds * RATE_HZ))
        wave *= 0.1 * np.sin(np.arange(wave.size) / rng.uniform(1500, 4000)) ** 2
        soundfile.write(folder / f"{i}.wav", np.cumsum(wave) / 50, RATE_HZ)
        lines.append(f"{i}.wav,{'happy' if i % 2 else 'sad'},s{i % 4}")
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def resynthesised(samples: np.ndarray, alpha: float) -> np.ndarray:
    """A VTLP copy of a waveform; the same numbers as `vtlp.nlpaug_warp`."""
    stft = librosa.stft(samples).T
    num = stft.shape[1]
    place = vtlp.nlpaug_map(num, alpha, RATE_HZ)
    warped = np.zeros_like(stft)
    warped[:, 0], warped[:, -1] = stft[:, 0], stft[:, -1]
    for k in range(1, num - 1):
        below = min(int(place[k]), num - 2)
        share = np.float32(place[k] - below)
        warped[:, below] += (1 - share) * stft[:, k]
        warped[:, below + 1] += share * stft[:, k]
    return librosa.istft(warped.T, length=samples.size)


def librosa_static(samples: np.ndarray, recipe: str) -> np.ndarray:
    """[F, T] of a waveform, straight from librosa's functions."""
    if recipe == "logmel128":
        mel = librosa.feature.melspectrogram(
            y=samples, sr=RATE_HZ, n_fft=800, hop_length=400, n_mels=128
        )
        return np.log10(np.maximum(mel, 1e-10))
    if recipe == "mfcc32_3d":
        return librosa.feature.mfcc(
            y=samples, sr=RATE_HZ, n_mfcc=32, win_length=400, hop_length=160
        )
    emphasised = librosa.effects.preemphasis(samples, coef=0.97, zi=[0.0])
    frames = 1 + -(-max(0, samples.size - 400) // 160)
    behind = 400 + (frames - 1) * 160 - samples.size + 56
    mel = librosa.feature.melspectrogram(
        y=np.pad(emphasised, (56, behind)),
        sr=RATE_HZ,
        n_fft=512,
        hop_length=160,
        win_length=400,
        window="hamming",
        center=False,
        n_mels=40,
        htk=True,
        norm=None,
    )
    return np.log(np.maximum(mel / 512, 2.0**-52))


def librosa_features(path: str, recipe: str, factors: np.ndarray) -> np.ndarray:
    """[1 + V, T, F, 3] of a file and its copies."""
    samples, _ = soundfile.read(path, dtype="float32")
    found = []
    for wave in (samples, *(resynthesised(samples, float(a)) for a in factors)):
        static = librosa_static(wave, recipe)
        first = librosa.feature.delta(static, width=5, mode="nearest")
        second = librosa.feature.delta(first, width=5, mode="nearest")
        found.append(np.stack([static, first, second], axis=-1).transpose(1, 0, 2))
    return np.stack(found)


def psf_features(path: str, factors: np.ndarray) -> np.ndarray:
    """[1 + V, T, 40, 3], the recipe `logmel40_psf`."""
    samples, _ = soundfile.read(path, dtype="float32")
    found = []
    for wave in (samples, *(resynthesised(samples, float(a)) for a in factors)):
        static = psf.logfbank(wave * 32768, RATE_HZ, nfilt=40)
        first = psf.delta(static, 2)
        found.append(np.stack([static, first, psf.delta(first, 2)], axis=-1))
    return np.stack(found).astype(np.float32)
