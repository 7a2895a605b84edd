"""From index arrays to the model's inputs: the only place where a batch is made.

Runs on the device, inside the compiled step, for training and evaluation alike.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, Real

from ser_jax.data.batches import Index, Tables
from ser_jax.features import online_segments
from ser_jax.features.spec import RECIPES
from ser_jax.predict import forward
from ser_jax.training import augment, losses
from ser_jax.training.state import Constants

# Folded into a step's key for VTLP, so that other draws are the same without it.
_WARP = 7


def make_batch(
    tables: Tables,
    index: Index,
    constants: Constants,
    key: PRNGKeyArray | None = None,
    *,
    config,
    window_frames: int,
) -> dict[str, jax.Array]:
    """Cuts segments, normalises and pads them, looks up side inputs, and augments.

    Args:
      tables: `words` [B, L, E] with `word_mask` [B, L] and `speaker_embedding` [B, X]
        are in the batch if their tables are there.
      index: Which segments, arrays [B].
      constants: Of the run.
      key: Draws warp factors, masks and mixup; None for evaluation.
      config: `data`, `augment` and `train.label_smoothing` are read.
      window_frames: T, frames to which segments are padded.

    Returns:
      The model's inputs and, with a key, `targets` [B, K], the soft labels.
    """
    frames = _frames(tables, index, key, config, window_frames)
    mean, std = constants.mean, constants.std
    if tables.owner is not None:
        owner = tables.owner[index.utterance]
        mean, std = tables.owner_mean[owner, None], tables.owner_std[owner, None]
    batch = forward.model_inputs(frames, index.num_frames, mean, std, config.data)
    batch |= tables.side_inputs(index.utterance)
    if key is None:
        return batch
    num_classes = len(constants.class_weight)
    batch["targets"] = losses.soft_targets(
        index.label, num_classes, config.train.label_smoothing
    )
    return augment.augment(batch, config.augment, key)


def _frames(tables, index, key, config, window_frames) -> Real[Array, "B T F C"]:
    if key is not None and config.augment.vtlp == "online":
        data = config.data
        samples = cut_samples(tables, index, data, window_frames)
        alpha = jax.random.uniform(
            jax.random.fold_in(key, _WARP),
            (len(index.start),),
            minval=data.vtlp_low,
            maxval=data.vtlp_high,
        )
        spec = RECIPES[data.recipe]
        return online_segments.features(
            samples, window_frames, spec, data.channels, alpha
        )
    if index.frames is not None:
        return index.frames
    return _cut(tables.frames, index.start, window_frames)


def example_batch(input_shapes: dict[str, tuple[int, ...]]) -> dict[str, jax.Array]:
    """Two examples of zeros, none of it padding; for shapes only."""
    batch = {name: jnp.zeros((2, *shape)) for name, shape in input_shapes.items()}
    batch["frame_mask"] = jnp.ones((2, input_shapes["frames"][0]), bool)
    if "words" in input_shapes:
        batch["word_mask"] = jnp.ones((2, input_shapes["words"][0]), bool)
    return batch


def cut_samples(
    tables: Tables, index: Index, data, window_frames: int
) -> online_segments.Cut:
    """The samples under segments [B] of T = `window_frames` frames."""
    recording = jax.tree.map(lambda x: x[index.utterance], tables.recordings)
    first_frame = index.start - recording.first_frame
    rows = index.samples
    if rows is None:
        spec = RECIPES[data.recipe]
        reach = online_segments.reach(spec, data.channels, window_frames)
        first_row = recording.first_row + first_frame - reach.before
        rows = _cut(tables.samples, first_row, reach.rows)
    samples = rows.reshape(len(rows), -1).astype(jnp.float32) / 32768.0
    return online_segments.Cut(
        samples, first_frame, recording.num_samples, recording.log_peak
    )


def _cut(table, start, num: int):
    """Rows start ... start + num - 1 for every start [B]: [B, num, ...]."""
    # Slices stay contiguous copies; gathering by a [B, num] index would not.
    return jax.vmap(lambda x: jax.lax.dynamic_slice_in_dim(table, x, num))(start)
