"""One step of one run. Nothing here knows about folds, seeds or devices."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import PRNGKeyArray

from ser_jax.data.batches import Index, Tables
from ser_jax.features import online_segments
from ser_jax.features.spec import RECIPES
from ser_jax.layers import center_loss
from ser_jax.predict import forward
from ser_jax.training import augment, losses, optim
from ser_jax.training.state import Totals, TrainState

# Folded into a step's key for VTLP, so that other draws are the same without it.
_WARP = 7


class Constants(NamedTuple):
    """What a run keeps fixed.

    Attributes:
      mean: float32 [F, C], of the fold's training part; 0 without normalisation.
      std: float32 [F, C], likewise; 1 without normalisation.
      class_weight: float32 [K].
      steps_per_epoch: int32.
      seed: uint32, the run's own random seed.
    """

    mean: jax.Array
    std: jax.Array
    class_weight: jax.Array
    steps_per_epoch: jax.Array
    seed: jax.Array


def gather(
    tables: Tables, constants: Constants, index: Index, window: int, data
) -> dict[str, jax.Array]:
    """Makes a batch: cuts windows, normalises and pads them, looks up words.

    Args:
      tables: What the model reads; `words` [B, L, E] with `word_mask` [B, L] and
        `speaker_embedding` [B, X] are in the batch if their tables are there.
      constants: Of the run.
      index: Which windows.
      window: T, frames to which they are padded.
      data: `config.data`, see `forward.model_inputs`.
    """

    def cut(start):
        return jax.lax.dynamic_slice_in_dim(tables.frames, start, window, axis=0)

    frames = jax.vmap(cut)(index.start)
    batch = forward.model_inputs(
        frames, index.num_frames, constants.mean, constants.std, data
    )
    if tables.tokens is not None:
        tokens = tables.tokens[index.utterance]
        batch |= {"words": tables.word_vectors[tokens], "word_mask": tokens > 0}
    if tables.speaker_embeddings is not None:
        batch["speaker_embedding"] = tables.speaker_embeddings[index.utterance]
    return batch


def warped(
    batch: dict, constants: Constants, index: Index, config, key: PRNGKeyArray
) -> dict:
    """A batch with frames made anew from its samples, a warp factor per example.

    Args:
      batch: With `samples`, see `sample_table.cut`; it has none afterwards.
      constants: Of the run.
      index: Which windows.
      config: `data.recipe`, `data.channels`, `data.pad`, `data.vtlp_low` and
        `data.vtlp_high` are read.
      key: Random key.
    """
    data = config.data
    batch = dict(batch)
    cut, shape = batch.pop("samples"), batch["frames"].shape
    low, high = data.vtlp_low, data.vtlp_high
    alpha = jax.random.uniform(key, shape[:1], minval=low, maxval=high)
    spec = RECIPES[data.recipe]
    frames = online_segments.features(cut, alpha, shape[1], spec, data.channels)
    made = forward.model_inputs(
        frames, index.num_frames, constants.mean, constants.std, data
    )
    return batch | {"frames": made["frames"]}


def make_train_step(
    graphdef: nnx.GraphDef, optimizer: optax.GradientTransformation, config
) -> Callable:
    """Returns `train_step(state, totals, batch, index, constants)`.

    `state` and `totals` come back updated. Randomness is a function of the run's seed
    and its own step. A step without examples (a shorter fold waiting for the others,
    a run that stopped early) changes nothing.
    """
    train = config.train

    def train_step(state: TrainState, totals: Totals, batch, index, constants):
        key = jax.random.fold_in(jax.random.key(constants.seed), state.step)
        dropout_key, augment_key = jax.random.split(key)
        targets = losses.soft_targets(
            index.label, len(constants.class_weight), train.label_smoothing
        )
        if config.augment.vtlp == "online":
            warp_key = jax.random.fold_in(augment_key, _WARP)
            batch = warped(batch, constants, index, config, warp_key)
        batch, targets = _augmented(batch, targets, config.augment, augment_key)
        count = jnp.sum(index.weight)

        def loss_fn(params):
            model = nnx.merge(graphdef, params, state.stats, copy=True)
            model.train()
            embedding = model.embed(batch, rngs=nnx.Rngs(dropout_key))
            logits = model.classify(embedding)
            loss = losses.cross_entropy(logits, targets, constants.class_weight)
            loss += _extra_losses(train, embedding, logits, targets, state, index)
            total = jnp.sum(index.weight * loss)
            stats = nnx.split(model, nnx.Param, ...)[2]
            return total / jnp.maximum(count, 1.0), (total, logits, embedding, stats)

        grads, aux = jax.grad(loss_fn, has_aux=True)(state.params)
        total, logits, embedding, stats = aux
        direction, opt_state = optimizer.update(grads, state.opt_state, state.params)
        rate = optim.learning_rate(train, state.step, constants.steps_per_epoch)
        params = jax.tree.map(lambda p, u: p - rate * u, state.params, direction)
        centers = _updated_centers(train, embedding, state, index)
        new = TrainState(params, stats, opt_state, state.step + 1, centers)
        live = count > 0
        new = jax.tree.map(lambda a, b: jnp.where(live, a, b), new, state)
        correct = jnp.sum(index.weight * (jnp.argmax(logits, -1) == index.label))
        finite = jnp.isfinite(total) & jnp.isfinite(optax.tree.norm(grads))
        return new, _advance(totals, total, correct, count, finite | ~live)

    return train_step


def _extra_losses(train, embedding, logits, targets, state: TrainState, index):
    """What is added to the cross-entropy of each example; 0 unless switched on."""
    extra = jnp.zeros(len(logits))
    if train.squared_error_weight:
        extra += train.squared_error_weight * losses.squared_error(logits, targets)
    if train.center_weight:
        distance = center_loss.center_loss(embedding, index.label, state.centers)
        extra += train.center_weight * distance
    return extra


def _updated_centers(train, embedding, state: TrainState, index):
    if not train.center_weight:
        return state.centers
    return center_loss.update_centers(
        state.centers, embedding, index.label, index.weight, train.center_rate
    )


def _augmented(batch, targets, config, key):
    frames, mask = batch["frames"], batch["frame_mask"]
    mixup_key, band_key, time_key = jax.random.split(key, 3)
    if config.freq_mask_bands:
        frames = augment.mask_stretch(
            frames, axis=2, widest=config.freq_mask_bands, key=band_key
        )
    if config.time_mask_frames:
        frames = augment.mask_stretch(
            frames, axis=1, widest=config.time_mask_frames, key=time_key
        )
    if config.mixup_alpha:
        frames, mask, targets = augment.mixup(
            frames, mask, targets, alpha=config.mixup_alpha, key=mixup_key
        )
    return {**batch, "frames": frames, "frame_mask": mask}, targets


def _advance(totals: Totals, loss, correct, count, finite) -> Totals:
    first_bad = (totals.bad_step < 0) & ~finite
    return Totals(
        loss=totals.loss + loss,
        correct=totals.correct + correct,
        count=totals.count + count,
        bad_step=jnp.where(first_bad, totals.step, totals.bad_step),
        step=totals.step + 1,
    )


def make_predict_step(graphdef: nnx.GraphDef) -> Callable:
    """Returns `predict_step(params, stats, batch) -> posteriors [B, K]`."""

    def predict_step(params, stats, batch):
        return forward.posteriors(forward.merge(graphdef, params, stats), batch)

    return predict_step
