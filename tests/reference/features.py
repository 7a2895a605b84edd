"""Slow, obvious NumPy versions of the features, written from the formulas alone."""

import numpy as np


def hz_to_htk_mel(hz):
    return 2595.0 * np.log10(1.0 + np.asarray(hz) / 700.0)


def htk_mel_to_hz(mel):
    return 700.0 * (10.0 ** (np.asarray(mel) / 2595.0) - 1.0)


def logmel40(samples):
    """The uncentred 25/10 ms, 40 band log-mel of one utterance, frame by frame.

    Args:
      samples: [n] at 16 kHz.

    Returns:
      float64 [T, 40].
    """
    x = np.asarray(samples, np.float64)
    x = np.concatenate([x[:1], x[1:] - 0.97 * x[:-1]])
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 400)
    edges = htk_mel_to_hz(np.linspace(0, hz_to_htk_mel(8000.0), 42))
    frames = []
    start = 0
    while True:
        frame = x[start : start + 400]
        frame = np.concatenate([frame, np.zeros(400 - len(frame))])
        power = np.abs(np.fft.rfft(frame * window, 512)) ** 2 / 512
        energies = []
        for low, mid, high in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
            energy = 0.0
            for k in range(257):
                f = k * 16000 / 512
                energy += power[k] * max(
                    0.0, min((f - low) / (mid - low), (high - f) / (high - mid))
                )
            energies.append(energy)
        frames.append(np.log(np.maximum(energies, np.finfo(np.float64).eps)))
        start += 160
        if start + 240 >= len(x):  # every sample has been in a frame
            return np.array(frames)


def psf_filterbank(nfilt=40, nfft=512, rate=16000):
    """Triangles of python_speech_features, float64 [nfilt, nfft // 2 + 1]."""
    mel = np.linspace(0.0, hz_to_htk_mel(rate / 2), nfilt + 2)
    corner = np.floor((nfft + 1) * htk_mel_to_hz(mel) / rate).astype(int)
    bank = np.zeros((nfilt, nfft // 2 + 1))
    for m in range(nfilt):
        low, mid, high = corner[m : m + 3]
        for k in range(low, mid):
            bank[m, k] = (k - low) / (mid - low)
        for k in range(mid, high):
            bank[m, k] = (high - k) / (high - mid)
    return bank


def psf_logfbank(signal, nfilt=40, nfft=512, rate=16000):
    """What `python_speech_features.logfbank(signal, rate, nfilt=40)` returns.

    Held against version 0.6 of the package once, on noise, tones, silence and single
    steps of the converter, 1 to 48241 samples: 4e-15 apart at most, triangles equal.

    Args:
      signal: [n], 16-bit numbers.

    Returns:
      float64 [T, nfilt].
    """
    x = np.asarray(signal, np.float64)
    x = np.concatenate([x[:1], x[1:] - 0.97 * x[:-1]])
    bank = psf_filterbank(nfilt, nfft, rate)
    count = 1 if len(x) <= 400 else 1 + -(-(len(x) - 400) // 160)
    rows = []
    for t in range(count):
        frame = x[160 * t : 160 * t + 400]  # a short last one is as good as padded
        power = np.abs(np.fft.rfft(frame, nfft)) ** 2 / nfft
        energy = bank @ power
        rows.append(np.log(np.where(energy == 0, np.finfo(np.float64).eps, energy)))
    return np.array(rows)


def deltas(x):
    """Regression deltas, N = 2, one frame and one offset at a time."""
    last = len(x) - 1
    out = np.zeros_like(x)
    for t in range(len(x)):
        for n in (1, 2):
            out[t] += n * (x[min(t + n, last)] - x[max(t - n, 0)])
    return out / 10
