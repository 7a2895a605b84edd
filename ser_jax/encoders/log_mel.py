"""Whisper's log-mel spectrogram in JAX, of utterances padded to one length."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

N_FFT, HOP = 400, 160  # samples at 16 kHz
HALF = N_FFT // 2
# The shortest utterance whose start can be reflected: its end is padded up to it.
SHORTEST = HALF + 1
# Slaney's mel scale: linear up to 1 kHz (mel 15), then 27 mels for a factor of 6.4.
HZ_PER_MEL, BREAK_HZ = 200 / 3, 1000.0
LOG_STEP = np.log(6.4) / 27


def log_mel(
    samples: Float[Array, "B N"], lengths: Int[Array, " B"], num_mels: int
) -> tuple[Float[Array, "B T F"], Int[Array, " B"]]:
    """What Whisper's encoder reads of each utterance alone, and frames per utterance.

    Power spectrogram of frames of 25 ms every 10 ms (Hann), Slaney's mel filters, log10
    of at least 1e-10, nothing more than 8 below the utterance's maximum, (x + 4) / 4.
    The first frame's center is the first sample; both ends are reflected, each
    utterance at its own end; the last frame is dropped, so n samples make n // 160.

    Source: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision,
    2022 (arXiv 2212.04356), and the code released with it, which pads or cuts all
    speech to 30 s first; the maximum is of the 30 s there.

    Args:
        samples: At 16 kHz, in [-1, 1]. What stands behind an utterance has no
            influence.
        lengths: Samples of each utterance; those below 201 are lengthened to that with
            zeros.
        num_mels: Filters, 80 or 128.

    Returns:
        In float32, 0 behind an utterance's frames; T = max(N, 201) // 160.
    """
    samples = jnp.pad(samples, ((0, 0), (0, max(0, SHORTEST - samples.shape[1]))))
    at = jnp.arange(samples.shape[1])
    samples = jnp.where(at < lengths[:, None], samples.astype(jnp.float32), 0)
    lengths = jnp.maximum(lengths, SHORTEST)
    power = _power(_reflected(samples, lengths))
    # A GPU would round the factors to ten bits otherwise.
    mel = jnp.matmul(power, mel_filters(num_mels), precision=jax.lax.Precision.HIGHEST)
    logs = jnp.log10(jnp.maximum(mel, 1e-10))
    frames = lengths // HOP
    valid = (jnp.arange(logs.shape[1]) < frames[:, None])[..., None]
    loudest = jnp.max(logs, axis=(1, 2), keepdims=True, where=valid, initial=-10.0)
    return jnp.where(valid, (jnp.maximum(logs, loudest - 8) + 4) / 4, 0), frames


def _reflected(
    samples: Float[Array, "B N"], lengths: Int[Array, " B"]
) -> Float[Array, "B M"]:
    """Every utterance with half a window of its mirror image before and behind it."""
    at = jnp.abs(jnp.arange(-HALF, samples.shape[1] + HALF))
    last = lengths[:, None] - 1
    at = jnp.where(at > last, jnp.maximum(2 * last - at, 0), at)
    return jnp.take_along_axis(samples, at, axis=1)


def _power(padded: Float[Array, "B M"]) -> Float[Array, "B T K"]:
    """|DFT|^2 of the windowed frames but the last one."""
    count = (padded.shape[1] - N_FFT) // HOP
    # 80 samples divide the window and the hop, so frames are runs of five such blocks.
    block = N_FFT - 2 * HOP
    blocks = padded[:, : (padded.shape[1] // block) * block].reshape(
        padded.shape[0], -1, block
    )
    ends = 2 * count - 1
    frames = jnp.concatenate([blocks[:, i : i + ends : 2] for i in range(5)], axis=-1)
    spectrum = jnp.fft.rfft(frames * _hann())
    return jnp.square(spectrum.real) + jnp.square(spectrum.imag)


def _hann() -> np.ndarray:
    """The periodic Hann window."""
    return np.float32(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT))


@functools.cache
def mel_filters(num_mels: int) -> np.ndarray:
    """Triangles of area 1 over 0 to 8 kHz on Slaney's scale: float32 [201, F]."""
    top = _mel(8000.0)
    edges = _hz(np.linspace(0.0, top, num_mels + 2))
    bins = np.arange(HALF + 1) * (16_000 / N_FFT)
    rising = (bins[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins[:, None]) / np.diff(edges)[1:]
    height = 2.0 / (edges[2:] - edges[:-2])
    filters = np.float32(np.maximum(0.0, np.minimum(rising, falling)) * height)
    filters.setflags(write=False)  # all callers share the cached array
    return filters


def _mel(hz: float) -> float:
    """Of a frequency above the break."""
    return BREAK_HZ / HZ_PER_MEL + np.log(hz / BREAK_HZ) / LOG_STEP


def _hz(mels: np.ndarray) -> np.ndarray:
    above = mels - BREAK_HZ / HZ_PER_MEL
    return np.where(above < 0, mels * HZ_PER_MEL, BREAK_HZ * np.exp(LOG_STEP * above))
