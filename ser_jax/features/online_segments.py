"""Features of segments, computed from samples inside a compiled step.

A segment reads the samples under it and as many on either side as its deltas need, so
its features equal those cut from the whole recording, with or without a warp.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ser_jax.features.spec import FeatureSpec

DELTA_REACH = 2  # frames on either side that one order of deltas looks at


class Reach(NamedTuple):
    """What a segment needs of the samples, in rows of one hop."""

    frames: int  # on either side, which its deltas look at
    before: int  # rows before the row at which its first frame would start
    skip: int  # samples of the first row that no frame reads
    rows: int  # of all


def reach(spec: FeatureSpec, channels: int, num_frames: int) -> Reach:
    """What a segment of `num_frames` frames with `channels` channels needs."""
    hop = spec.hop_samples
    frames = DELTA_REACH * (channels - 1)
    ahead = spec.lead_samples + (spec.preemphasis > 0)  # that reads one sample more
    lead_rows = -(-ahead // hop)
    skip = lead_rows * hop - spec.lead_samples
    end = skip + (num_frames + 2 * frames - 1) * hop + spec.win_samples
    return Reach(frames, frames + lead_rows, skip, -(-end // hop))


class Cut(NamedTuple):
    """Samples under a batch of segments."""

    # float32 [B, N] in [-1, 1], from `reach(...).before` hops before each segment on;
    # what lies outside its recording may be anything.
    samples: jax.Array
    first_frame: jax.Array  # int32 [B], of each segment inside its recording
    num_samples: jax.Array  # int32 [B], of the whole recording
    log_peak: jax.Array  # float32 [B], likewise; read by recipes with `top_db`


def features(
    cut: Cut,
    num_frames: int,
    spec: FeatureSpec,
    channels: int,
    alpha: Float[Array, " B"] | None = None,
) -> Float[Array, "B T F C"]:
    """Features of segments, as if cut from those of the whole warped recordings.

    Args:
      cut: The samples.
      num_frames: T; frames behind a recording's last repeat it.
      spec: The recipe.
      channels: C.
      alpha: Warp factors of `vtlp.textbook_map`; None = none.
    """
    from ser_jax.features import online

    log = _log_energies(cut, num_frames, spec, channels, alpha)
    if spec.top_db:
        log = jnp.maximum(log, (cut.log_peak - spec.top_db)[:, None, None])
    static = online.coefficients(log, spec)
    first, last = _ends(cut, spec, channels)
    frames = online.with_deltas(static, first, last, channels)
    margin = reach(spec, channels, num_frames).frames
    return frames[:, margin : margin + num_frames]


def log_peaks(
    cut: Cut, num_frames: int, spec: FeatureSpec, channels: int
) -> Float[Array, " B"]:
    """The largest log energy of each segment's real frames; -inf if it has none."""
    log = _log_energies(cut, num_frames, spec, channels)
    first, last = _ends(cut, spec, channels)
    at = jnp.arange(log.shape[1])
    real = (at >= first[:, None]) & (at <= last[:, None])
    return jnp.max(jnp.where(real[..., None], log, -jnp.inf), axis=(1, 2))


def _log_energies(cut: Cut, num_frames, spec, channels, alpha=None):
    """Of the segment's frames and those on either side that its deltas look at."""
    from ser_jax.features import online  # librosa: needed by few trainings

    need = reach(spec, channels, num_frames)
    first = (cut.first_frame - need.before) * spec.hop_samples
    at = first[:, None] + jnp.arange(cut.samples.shape[1])
    real = (at >= 0) & (at < cut.num_samples[:, None])
    samples = online.prepare_samples(cut.samples, real, spec)[:, need.skip :]
    frames = online.cut_frames(samples, num_frames + 2 * need.frames, spec)
    return online.log_energy(online.power(frames, spec), spec, alpha)


def _ends(cut: Cut, spec, channels):
    """Where a recording's first and last frame are on the axis of `_log_energies`."""
    first = DELTA_REACH * (channels - 1) - cut.first_frame
    return first, first + spec.num_frames(cut.num_samples) - 1
