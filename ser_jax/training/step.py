"""One step of one run. Nothing here knows about folds, seeds or devices."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float

from ser_jax.data import normalize
from ser_jax.data.batches import Index
from ser_jax.training import augment, losses, optim
from ser_jax.training.state import Totals, TrainState


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
    buffer: Float[Array, "M F C"], constants: Constants, index: Index, window: int
) -> dict[str, jax.Array]:
    """Cuts a batch of windows from the buffer, normalises, then pads with zeros."""

    def cut(start):
        return jax.lax.dynamic_slice_in_dim(buffer, start, window, axis=0)

    cuts = jax.vmap(cut)(index.start)
    frames = normalize.zscore(cuts, constants.mean, constants.std)
    mask = jnp.arange(window) < index.num_frames[:, None]
    frames = jnp.where(mask[:, :, None, None], frames, 0.0)
    return {"frames": frames, "frame_mask": mask}


def make_train_step(
    graphdef: nnx.GraphDef, optimizer: optax.GradientTransformation, config
) -> Callable:
    """Returns `train_step(state, totals, batch, index, constants)`.

    `state` and `totals` come back updated. Randomness is a function of the run's seed
    and its own step. A step without examples (a shorter fold waiting for the others,
    a run that stopped early) changes nothing.
    """

    def train_step(state: TrainState, totals: Totals, batch, index, constants):
        key = jax.random.fold_in(jax.random.key(constants.seed), state.step)
        dropout_key, augment_key = jax.random.split(key)
        targets = losses.soft_targets(
            index.label, len(constants.class_weight), config.train.label_smoothing
        )
        batch, targets = _augmented(batch, targets, config.augment, augment_key)
        count = jnp.sum(index.weight)

        def loss_fn(params):
            model = nnx.merge(graphdef, params, state.stats, copy=True)
            model.train()
            logits = model(batch, rngs=nnx.Rngs(dropout_key))
            loss = losses.cross_entropy(logits, targets, constants.class_weight)
            total = jnp.sum(index.weight * loss)
            stats = nnx.split(model, nnx.Param, ...)[2]
            return total / jnp.maximum(count, 1.0), (total, logits, stats)

        grads, (total, logits, stats) = jax.grad(loss_fn, has_aux=True)(state.params)
        direction, opt_state = optimizer.update(grads, state.opt_state, state.params)
        rate = optim.learning_rate(config.train, state.step, constants.steps_per_epoch)
        params = jax.tree.map(lambda p, u: p - rate * u, state.params, direction)
        new = TrainState(params, stats, opt_state, state.step + 1)
        live = count > 0
        new = jax.tree.map(lambda a, b: jnp.where(live, a, b), new, state)
        correct = jnp.sum(index.weight * (jnp.argmax(logits, -1) == index.label))
        finite = jnp.isfinite(total) & jnp.isfinite(optax.tree.norm(grads))
        return new, _advance(totals, total, correct, count, finite | ~live)

    return train_step


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
    return {"frames": frames, "frame_mask": mask}, targets


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
        model = nnx.merge(graphdef, params, stats, copy=True)
        model.eval()
        return jax.nn.softmax(model(batch))

    return predict_step
