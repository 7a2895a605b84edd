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


def deltas(x):
    """Regression deltas, N = 2, one frame and one offset at a time."""
    last = len(x) - 1
    out = np.zeros_like(x)
    for t in range(len(x)):
        for n in (1, 2):
            out[t] += n * (x[min(t + n, last)] - x[max(t - n, 0)])
    return out / 10
