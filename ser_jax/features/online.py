"""The features of `offline.py` in JAX: batched, inside jit, with traced warp factors.

Shapes follow from the number of samples alone; a recording's features do not depend on
what its row holds behind its own length.
"""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jaxtyping import Array, Bool, Float, Int

from ser_jax.features import filters, offline, vtlp
from ser_jax.features.online_segments import DELTA_REACH
from ser_jax.features.spec import FeatureSpec


def features(
    samples: Float[Array, "B N"],
    lengths: Int[Array, " B"],
    spec: FeatureSpec,
    alpha: Float[Array, " B"] | None = None,
    *,
    fft: bool = True,
) -> tuple[Float[Array, "B T F C"], Bool[Array, "B T"]]:
    """Features of whole recordings, as `offline.features` gives them.

    Args:
      samples: Recordings in [-1, 1] at the recipe's rate, each padded with anything.
      lengths: Samples of each recording, 1 ... N.
      alpha: Warp factors of `vtlp.textbook_map`; None = none, the same as 1.
      fft: See `power`.

    Returns (frames with T = `spec.num_frames(N)`, zero where a recording has none;
    which frames it has).
    """
    lead = spec.lead_samples
    total = _total_frames(samples.shape[1], spec)
    real = jnp.arange(samples.shape[1]) < lengths[:, None]
    waves = prepare_samples(samples, real, spec)
    behind = (total - 1) * spec.hop_samples + spec.win_samples
    waves = jnp.pad(waves, ((0, 0), (lead, behind)))
    frames = cut_frames(waves, total, spec)
    last = spec.num_frames(lengths) - 1
    mask = jnp.arange(total) <= last[:, None]
    log = log_energy(power(frames, spec, fft=fft), spec, alpha)
    if spec.top_db:
        peak = jnp.max(jnp.where(mask[..., None], log, -jnp.inf), axis=(1, 2))
        log = jnp.maximum(log, (peak - spec.top_db)[:, None, None])
    static = coefficients(log, spec)
    channels = with_deltas(static, jnp.zeros_like(last), last, spec.num_channels)
    return jnp.where(mask[..., None, None], channels, 0.0), mask


def _total_frames(num_samples, spec: FeatureSpec):
    """`spec.num_frames` of a size, which may be symbolic."""
    if spec.centered:
        return 1 + num_samples // spec.hop_samples
    beyond = jax.core.max_dim(0, num_samples - spec.win_samples)
    return 1 + (beyond + spec.hop_samples - 1) // spec.hop_samples


def prepare_samples(
    samples: Float[Array, "B N"], real: Bool[Array, "B N"], spec: FeatureSpec
) -> Float[Array, "B N"]:
    """Scaled, emphasised samples; zero where a recording has none."""
    samples = jnp.where(real, samples * spec.sample_scale, 0.0)
    if not spec.preemphasis:
        return samples
    before = jnp.pad(samples[:, :-1], ((0, 0), (1, 0)))
    return jnp.where(real, samples - spec.preemphasis * before, 0.0)


def cut_frames(
    waves: Float[Array, "B N"], num: int, spec: FeatureSpec
) -> Float[Array, "B T W"]:
    """The first `num` windows of each wave, one per hop, without a gather.

    Waves have `(num - 1) * hop_samples + win_samples` samples or more.
    """
    hop, win = spec.hop_samples, spec.win_samples
    parts = []
    for at in range(0, win, hop):
        width = min(hop, win - at)
        # A reshape puts every hop into a row; the last row may be less than a hop.
        rows = waves[:, at : at + (num - 1) * hop + width]
        rows = jnp.pad(rows, ((0, 0), (0, hop - width)))
        parts.append(rows.reshape(waves.shape[0], num, hop)[:, :, :width])
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def power(
    frames: Float[Array, "B T W"], spec: FeatureSpec, *, fft: bool = True
) -> Float[Array, "B T bins"]:
    """Power spectra of windows of `win_samples`.

    Without `fft` two matrix products take its place, equal to 1e-6 of the largest value:
    some export formats have no FFT.
    """
    window = offline.window(spec).astype(np.float32)
    if fft:
        bins = jnp.fft.rfft(frames * window, n=spec.n_fft)
        real, imaginary = bins.real, bins.imag
    else:
        real, imaginary = (
            jnp.matmul(frames, basis, precision="highest")
            for basis in _fourier_basis(spec)
        )
    spectrum = jnp.square(real) + jnp.square(imaginary)
    return spectrum if spec.centered else spectrum / spec.n_fft


def _fourier_basis(spec: FeatureSpec) -> tuple[np.ndarray, np.ndarray]:
    # Windowed cosines and sines of every bin, [W, bins].
    turns = np.outer(np.arange(spec.win_samples), np.arange(spec.n_fft // 2 + 1))
    angles = 2 * np.pi * (turns % spec.n_fft) / spec.n_fft
    window = offline.window(spec)[:, None]
    return tuple(
        (window * wave(angles)).astype(np.float32) for wave in (np.cos, np.sin)
    )


def log_energy(
    power: Float[Array, "B T bins"],
    spec: FeatureSpec,
    alpha: Float[Array, " B"] | None = None,
) -> Float[Array, "B T M"]:
    """Filterbank, the recipe's own or warped per recording, and logarithm."""
    if alpha is None:
        energy = jnp.matmul(power, filters.filterbank(spec).T, precision="highest")
    else:
        banks = jax.vmap(lambda a: warped_filterbank(spec, a))(alpha)
        energy = jnp.einsum("btk,bmk->btm", power, banks, precision="highest")
    energy = jnp.maximum(energy, spec.floor)
    if spec.log == "ln":
        return jnp.log(energy)
    return jnp.log10(energy) * (10.0 if spec.log == "db" else 1.0)


def coefficients(
    log: Float[Array, "B T M"], spec: FeatureSpec
) -> Float[Array, "B T F"]:
    """Static features: logarithms as they are, or their lowest DCT coefficients."""
    if spec.kind != "mfcc":
        return log
    basis = scipy.fft.dct(np.eye(spec.num_filters), axis=0, norm="ortho")
    basis = basis[: spec.num_coefficients].T.astype(np.float32)
    return jnp.matmul(log, basis, precision="highest")


def with_deltas(
    static: Float[Array, "B T F"],
    first: Int[Array, " B"],
    last: Int[Array, " B"],
    num_channels: int,
) -> Float[Array, "B T F C"]:
    """Static, delta and delta-delta; frames outside first ... last repeat those two.

    `first` and `last` are a recording's on axis T, and may lie outside of it.
    """
    inside = jnp.clip(jnp.arange(static.shape[1]), first[:, None], last[:, None])
    inside = jnp.clip(inside, 0, static.shape[1] - 1)[..., None]
    channels = [jnp.take_along_axis(static, inside, axis=1)]
    for _ in range(num_channels - 1):
        delta = _deltas(channels[-1])
        channels.append(jnp.take_along_axis(delta, inside, axis=1))
    return jnp.stack(channels, axis=-1)


def _deltas(x: Float[Array, "B T F"]) -> Float[Array, "B T F"]:
    # Not jnp.pad: its empty slices of the other axes become ONNX that no runtime loads.
    first, last = [x[:, :1]] * DELTA_REACH, [x[:, -1:]] * DELTA_REACH
    padded = jnp.concatenate([*first, x, *last], axis=1)
    num = x.shape[1]
    near = padded[:, 3 : num + 3] - padded[:, 1 : num + 1]
    far = padded[:, 4 : num + 4] - padded[:, :num]
    return (near + 2.0 * far) / 10.0


def _shift_hz(
    frequency_hz: np.ndarray, alpha: Float[Array, ""], sample_rate_hz: int
) -> Float[Array, " bins"]:
    """How far `vtlp.textbook_map` moves frequencies: G(f) - f.

    In float32 G(f) itself would be known to 5e-4 Hz only, too coarse beside the edge of
    a narrow triangle; what does not depend on the factor comes from NumPy in float64.
    With S half the sample rate and b = F_hi min(alpha, 1) it is (alpha - 1) f up to
    b / alpha and b (alpha - 1) / (alpha S - b) (S - f) beyond.
    """
    nyquist = sample_rate_hz / 2
    bound = vtlp.F_HI_HZ * jnp.minimum(alpha, 1.0)
    more = alpha - 1.0
    beyond = bound * more / (alpha * nyquist - bound)
    return jnp.where(
        frequency_hz.astype(np.float32) <= bound / alpha,
        more * frequency_hz.astype(np.float32),
        beyond * (nyquist - frequency_hz).astype(np.float32),
    )


def warped_filterbank(
    spec: FeatureSpec, alpha: Float[Array, ""]
) -> Float[Array, "M bins"]:
    """`vtlp.warped_filterbank` for a traced factor, equal to 1e-6 (spectrogram: 1e-5)."""
    if spec.kind == "spectrogram":
        return _interpolation(spec, alpha)
    bins = filters.bin_frequencies(spec)
    shift = _shift_hz(bins, alpha, spec.sample_rate_hz)
    edges = filters.edges_hz(spec)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    height = 2.0 / (high - low) if spec.mel_scale == "slaney" else np.ones_like(low)
    up, down = (np.float32(height / w) for w in (mid - low, high - mid))
    rising = np.float32(height * (bins - low) / (mid - low)) + shift * up
    falling = np.float32(height * (high - bins) / (high - mid)) - shift * down
    return jnp.maximum(0.0, jnp.minimum(rising, falling))


def _interpolation(
    spec: FeatureSpec, alpha: Float[Array, ""]
) -> Float[Array, "M bins"]:
    # Row m weighs bin k by the triangle over the positions of bins k - 1, k, k + 1.
    num = 1 + spec.n_fft // 2
    bin_hz = spec.sample_rate_hz / spec.n_fft
    bins = np.arange(-1, num + 1)  # one more on either side
    shift = _shift_hz(bins * bin_hz, alpha, spec.sample_rate_hz) / np.float32(bin_hz)
    rows = np.arange(spec.num_filters)[:, None]
    distance = (bins - rows).astype(np.float32) + shift  # from row m, in bins
    gap = 1.0 + jnp.diff(shift)
    rising = -distance[:, :-2] / gap[:-1]
    falling = distance[:, 2:] / gap[1:]
    return jnp.maximum(0.0, jnp.minimum(rising, falling))
