"""Warped filterbanks in JAX, for a warp factor that only the device knows.

`vtlp.warped_filterbank` works in float64. In float32 the frequency G(f) of a bin, up to
8000 Hz, would be known to 5e-4 Hz only, which is too coarse beside the edge of a narrow
triangle. So only the shift of a bin, G(f) - f, is computed here; what does not depend
on the factor comes from NumPy in float64.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ser_jax.features import filters, vtlp
from ser_jax.features.spec import FeatureSpec


def shift_hz(
    frequency_hz: np.ndarray, alpha: Float[Array, ""], sample_rate_hz: int
) -> Float[Array, " bins"]:
    """How far `vtlp.textbook_map` moves frequencies: G(f) - f.

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


def filterbank(spec: FeatureSpec, alpha: Float[Array, ""]) -> Float[Array, "M bins"]:
    """`vtlp.warped_filterbank` for a traced warp factor.

    Equal to it to 1e-6 for mel filters and to 1e-5 for a spectrogram's, whose weights
    are the fraction of a position among hundreds of bins.
    """
    if spec.kind == "spectrogram":
        return _interpolation(spec, alpha)
    bins = filters.bin_frequencies(spec)
    shift = shift_hz(bins, alpha, spec.sample_rate_hz)
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
    shift = shift_hz(bins * bin_hz, alpha, spec.sample_rate_hz) / np.float32(bin_hz)
    rows = np.arange(spec.num_filters)[:, None]
    distance = (bins - rows).astype(np.float32) + shift  # from row m, in bins
    gap = 1.0 + jnp.diff(shift)
    rising = -distance[:, :-2] / gap[:-1]
    falling = distance[:, 2:] / gap[1:]
    return jnp.maximum(0.0, jnp.minimum(rising, falling))
