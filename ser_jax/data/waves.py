"""Training windows made from samples inside a compiled step, warped as it pleases."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ser_jax.data import samples
from ser_jax.data.batches import Index, Tables
from ser_jax.features.spec import FeatureSpec


class Cut(NamedTuple):
    """Samples under a batch of windows; JAX arrays.

    Attributes:
      rows: int16 [B, rows, 1, hop].
      first_frame: int32 [B], first frame of each window inside its recording.
      num_samples: int32 [B], of the whole recording.
      log_peak: float32 [B], likewise.
    """

    rows: jax.Array
    first_frame: jax.Array
    num_samples: jax.Array
    log_peak: jax.Array


def cut(
    tables: Tables,
    index: Index,
    window: int,
    spec: FeatureSpec,
    channels: int,
    *,
    own: bool,
) -> Cut:
    """Gathers the samples under windows.

    Args:
      tables: `samples` and `recordings` are read.
      index: Windows [B], as places in the table of frames of the whole corpus.
      window: T.
      spec: The recipe.
      channels: C that the model sees.
      own: Whether `samples` holds the rows of these windows alone, one window after
        the other.
    """
    at = jax.tree.map(lambda x: x[index.utterance], tables.recordings)
    first_frame = index.start - at.first_frame
    need = samples.reach(spec, channels, window)
    if own:
        first = jnp.arange(len(first_frame)) * need.rows
    else:
        first = at.first_row + first_frame - need.before

    def one(start):
        return jax.lax.dynamic_slice_in_dim(tables.samples, start, need.rows, axis=0)

    return Cut(jax.vmap(one)(first), first_frame, at.num_samples, at.log_peak)


def features(
    batch: Cut,
    alpha: Float[Array, " B"],
    window: int,
    spec: FeatureSpec,
    channels: int,
) -> Float[Array, "B T F C"]:
    """Features of windows, as if cut from those of the whole warped recordings.

    Args:
      batch: What `cut` gave.
      alpha: Warp factors, see `features.vtlp.textbook_map`.
      window: T; frames behind a recording's last repeat it.
      spec: The recipe.
      channels: C.
    """
    from ser_jax.features import online  # librosa: needed by few trainings

    need = samples.reach(spec, channels, window)
    values = batch.rows.reshape(len(batch.rows), -1).astype(jnp.float32) / 32768.0
    first = (batch.first_frame - need.before) * spec.hop_samples
    place = first[:, None] + jnp.arange(values.shape[1])
    real = (place >= 0) & (place < batch.num_samples[:, None])
    values = online.prepared(values, real, spec)[:, need.skip :]
    frames = online.cut_frames(values, window + 2 * need.frames, spec)
    log = online.log_energy(online.power(frames, spec), spec, alpha)
    if spec.top_db:
        log = online.above_peak(log, batch.log_peak, spec)
    static = online.coefficients(log, spec)
    # Where the recording's first and last frame are on this axis, or would be.
    begin = need.frames - batch.first_frame
    end = begin + online.num_frames(batch.num_samples, spec) - 1
    found = online.with_deltas(static, begin, end, channels)
    return found[:, need.frames : need.frames + window]
