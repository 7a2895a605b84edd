"""Features of segments, computed from samples inside a compiled step.

A segment reads the samples under it and as many on either side as its deltas need, so
its features equal those cut from the whole recording, with or without a warp.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ser_jax.features.spec import FeatureSpec

_DELTA_REACH = 2  # frames on either side that a delta looks at


class Reach(NamedTuple):
    """What a window of frames needs of the samples, in rows of one hop."""

    frames: int  # on either side, which its deltas look at
    before: int  # rows before the row at which its first frame would start
    skip: int  # samples of the first row that no frame reads
    rows: int  # of all


def reach(spec: FeatureSpec, channels: int, window: int) -> Reach:
    """What a window of `window` frames with `channels` channels needs."""
    hop = spec.hop_samples
    frames = _DELTA_REACH * (channels - 1)
    ahead = spec.lead_samples + (spec.preemphasis > 0)  # that reads one sample more
    lead_rows = -(-ahead // hop)
    skip = lead_rows * hop - spec.lead_samples
    end = skip + (window + 2 * frames - 1) * hop + spec.win_samples
    return Reach(frames, frames + lead_rows, skip, -(-end // hop))


class Cut(NamedTuple):
    """Samples under a batch of windows."""

    rows: jax.Array  # int16 [B, rows, 1, hop]
    first_frame: jax.Array  # int32 [B], of each window inside its recording
    num_samples: jax.Array  # int32 [B], of the whole recording
    log_peak: jax.Array  # float32 [B], likewise


def features(
    batch: Cut,
    alpha: Float[Array, " B"],
    window: int,
    spec: FeatureSpec,
    channels: int,
) -> Float[Array, "B T F C"]:
    """Features of windows, as if cut from those of the whole warped recordings.

    `alpha` are warp factors of `vtlp.textbook_map`; the others as in
    `features_of_samples`.
    """
    values = batch.rows.reshape(len(batch.rows), -1).astype(jnp.float32) / 32768.0
    return features_of_samples(values, batch, window, spec, channels, alpha)


def features_of_samples(
    values: Float[Array, "B N"],
    place: Cut,
    window: int,
    spec: FeatureSpec,
    channels: int,
    alpha: Float[Array, " B"] | None = None,
) -> Float[Array, "B T F C"]:
    """As `features`, from samples in [-1, 1] instead of `place.rows`.

    Args:
      values: Samples under the windows, from `reach(...).before` hops before each on;
        what lies outside a recording may be anything.
      place: Of the windows; its rows are not read.
      window: T; frames behind a recording's last repeat it.
      spec: The recipe.
      channels: C.
      alpha: Warp factors; None = none.
    """
    from ser_jax.features import online

    need = reach(spec, channels, window)
    log = _log_energies(values, place, window, spec, channels, alpha)
    if spec.top_db:
        log = jnp.maximum(log, (place.log_peak - spec.top_db)[:, None, None])
    static = online.coefficients(log, spec)
    frames = online.with_deltas(static, *_ends(place, spec, channels, window), channels)
    return frames[:, need.frames : need.frames + window]


def log_peaks(
    values: Float[Array, "B N"],
    place: Cut,
    window: int,
    spec: FeatureSpec,
    channels: int,
) -> Float[Array, " B"]:
    """The largest log energy of each window's real frames; -inf if it has none."""
    log = _log_energies(values, place, window, spec, channels)
    begin, end = _ends(place, spec, channels, window)
    at = jnp.arange(log.shape[1])
    real = (at >= begin[:, None]) & (at <= end[:, None])
    return jnp.max(jnp.where(real[..., None], log, -jnp.inf), axis=(1, 2))


def _log_energies(values, place: Cut, window, spec, channels, alpha=None):
    """Of the window's frames and those on either side that its deltas look at."""
    from ser_jax.features import online  # librosa: needed by few trainings

    need = reach(spec, channels, window)
    first = (place.first_frame - need.before) * spec.hop_samples
    at = first[:, None] + jnp.arange(values.shape[1])
    real = (at >= 0) & (at < place.num_samples[:, None])
    values = online.prepare_samples(values, real, spec)[:, need.skip :]
    frames = online.cut_frames(values, window + 2 * need.frames, spec)
    return online.log_energy(online.power(frames, spec), spec, alpha)


def _ends(place: Cut, spec, channels, window):
    """Where a recording's first and last frame are on the axis of `_log_energies`."""
    from ser_jax.features import online

    begin = reach(spec, channels, window).frames - place.first_frame
    return begin, begin + online.num_frames(place.num_samples, spec) - 1
