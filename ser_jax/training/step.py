"""One step of one run. Nothing here knows about folds, seeds or devices."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from ser_jax.layers import center_loss, dropout
from ser_jax.models import Pretrained
from ser_jax.predict import forward
from ser_jax.training import losses, optim, run_numbers
from ser_jax.training.run_numbers import is_on
from ser_jax.training.state import Totals, TrainState


def make_train_step(
    graphdef: nnx.GraphDef,
    config,
    make_batch: Callable,
    make_optimizer: Callable = optim.make_optimizer,
) -> Callable:
    """Returns `train_step(tables, state, totals, index, constants, pretrained)`.

    `state` and `totals` come back updated. Randomness is a function of the run's seed
    and its own step. A step without examples (a shorter fold waiting for the others,
    a run that stopped early) changes nothing. `make_batch` is that of `batch` with its
    keyword arguments bound; `pretrained` are the weights that no run changes, if any.
    Numbers that `constants` hold of a sweep stand in place of the config's.
    """

    def train_step(
        tables,
        state: TrainState,
        totals: Totals,
        index,
        constants,
        pretrained=forward.NOTHING,
    ):
        # Of the run's own step: neither resuming nor the runs beside it change draws.
        key = jax.random.fold_in(jax.random.key(constants.seed), state.step)
        dropout_key, augment_key = jax.random.split(key)
        batch = make_batch(tables, index, constants, augment_key)
        train = run_numbers.of_group(config, "train", constants.swept)
        kept = run_numbers.of_model(constants.swept)
        gradient = jax.grad(_make_loss(graphdef, train, kept), has_aux=True)
        optimizer = make_optimizer(train, config.encoder)
        grads, (total, logits, embedding, stats) = gradient(
            state.params, state, pretrained, batch, index, constants, dropout_key
        )
        direction, opt_state = optimizer.update(grads, state.opt_state, state.params)
        rate = optim.learning_rate(train, state.step, constants.steps_per_epoch)
        params = jax.tree.map(lambda p, u: p - rate * u, state.params, direction)
        centers = state.centers
        if is_on(train.center_weight):
            centers = center_loss.update_centers(
                centers, embedding, index.label, index.weight, train.center_rate
            )
        new = TrainState(params, stats, opt_state, state.step + 1, centers)
        if state.average is not None:
            average = optim.moving_average(
                state.average, new.weights, train.ema_decay, state.step
            )
            new = new._replace(average=average)
        count = jnp.sum(index.weight)
        live = count > 0  # a comparison, not a branch: vmap would run both anyway
        new = jax.tree.map(lambda a, b: jnp.where(live, a, b), new, state)
        correct = jnp.sum(index.weight * (jnp.argmax(logits, -1) == index.label))
        finite = jnp.isfinite(total) & jnp.isfinite(optax.tree.norm(grads))
        return new, _advance(totals, total, correct, count, finite | ~live)

    return train_step


def _make_loss(graphdef: nnx.GraphDef, train, kept: dict) -> Callable:
    """Returns the mean loss of a batch, and what else a step needs of the pass.

    `kept` are the shares that dropouts keep where a run has its own, by key.
    """

    def loss(params, state, pretrained, batch, index, constants, key):
        # A copy: NNX does not let a trace change variables of the trace around it, and
        # batch norm changes its statistics.
        model = nnx.merge(graphdef, params, pretrained, state.stats, copy=True)
        model.train()
        if kept:
            dropout.set_kept(model, kept)
        embedding = model.embed(batch, rngs=nnx.Rngs(key))
        logits = model.classify(embedding)
        example = losses.cross_entropy(logits, batch["targets"], constants.class_weight)
        example += _extra_losses(train, embedding, logits, batch, state, index)
        total = jnp.sum(index.weight * example)
        stats = nnx.split(model, nnx.Param, Pretrained, ...)[3]
        # At least 1: a step without examples must not divide 0 by 0.
        count = jnp.maximum(jnp.sum(index.weight), 1.0)
        return total / count, (total, logits, embedding, stats)

    return loss


def _extra_losses(train, embedding, logits, batch, state: TrainState, index):
    """What is added to the cross-entropy of each example; 0 unless switched on."""
    extra = jnp.zeros(len(logits))
    if train.squared_error_weight:
        error = losses.squared_error(logits, batch["targets"])
        extra += train.squared_error_weight * error
    if is_on(train.center_weight):
        distance = center_loss.center_loss(embedding, index.label, state.centers)
        extra += train.center_weight * distance
    return extra


def _advance(totals: Totals, loss, correct, count, finite) -> Totals:
    first_bad = (totals.bad_step < 0) & ~finite
    return Totals(
        loss=totals.loss + loss,
        correct=totals.correct + correct,
        count=totals.count + count,
        bad_step=jnp.where(first_bad, totals.step, totals.bad_step),
        step=totals.step + (count > 0),
    )
