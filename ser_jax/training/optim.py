"""Adam's direction and the learning rate, from the config's `train` group."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from ser_jax import models
from ser_jax.encoders.spec import read_spec
from ser_jax.training import lengths
from ser_jax.training.run_numbers import is_on

SCHEDULES = ("constant", "time_decay", "cosine", "step")


def make_optimizer(train, encoder=None) -> optax.GradientTransformation:
    """Adam's update direction; the step multiplies it by the learning rate.

    Weight decay is decoupled (AdamW) and spares biases and scales; `l2` is part of the
    gradient and spares nothing, as `weight_decay` of PyTorch's Adam. `encoder` is
    `config.encoder`: a tuned encoder has other rates than the head (`rate_factors`).
    Inside of a step numbers of `train` may be a run's own (`run_numbers`).
    """
    parts = []
    if is_on(train.grad_clip_norm):  # before Adam: its moments must not see an outlier
        parts.append(optax.clip_by_global_norm(train.grad_clip_norm))
    if train.l2:
        parts.append(optax.add_decayed_weights(train.l2))
    parts.append(optax.scale_by_adam(train.beta1, train.beta2, nesterov=train.nesterov))
    if is_on(train.weight_decay):
        parts.append(optax.add_decayed_weights(train.weight_decay, mask=_kernels))
    if encoder is not None and encoder.tuning != "frozen":

        def scaled(direction, params):
            factors = rate_factors(direction, encoder)
            return jax.tree.map(lambda x, factor: factor * x, direction, factors)

        parts.append(optax.stateless(scaled))
    return optax.chain(*parts)


def rate_factors(params, encoder):
    """What the learning rate of each parameter is multiplied by, a tree of floats.

    1 for the head. Of the encoder `learning_rate_factor`, times `layer_decay` to the
    power of n - i in layer i of n that learn; what lies before them has i = 0, a norm
    that ends them n (ULMFiT's discriminative fine-tuning, Howard and Ruder, 2018, section 3.2).
    """
    prefix = models.ENCODER_PATH
    ends = getattr(read_spec(encoder.weights).config, "pre_norm", True)  # their norm

    def path_of(path) -> tuple:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return tuple(name.split("/"))

    def layer_of(path) -> int | None:
        own = path[len(prefix) :]
        if path[: len(prefix)] != prefix:
            return None
        return int(own[1]) + 1 if own[0] == "layers" else 0

    paths = [path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    last = max((layer_of(path) or 0 for path in paths), default=0)

    def factor(path, _) -> float:
        path = path_of(path)
        layer = layer_of(path)
        if ends and path[: len(prefix) + 1] == (*prefix, "norm"):
            layer = last
        if layer is None:
            return 1.0
        return encoder.learning_rate_factor * encoder.layer_decay ** (last - layer)

    return jax.tree_util.tree_map_with_path(factor, params)


def moving_average(average, new, decay: float, step: Int[Array, ""] | int):
    """Of a tree over the updates: `decay` of what was, the rest of what is new.

    Running statistics of batch norm are averaged like the weights that made them. As in
    TensorFlow's ExponentialMovingAverage, the decay is at most (1 + step) / (10 + step),
    or the first weights, which are random, would last.
    """
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return optax.incremental_update(new, average, 1.0 - decay)


def _kernels(params):
    def is_kernel(path, leaf):
        # By name as well: recurrent layers stack the biases of their gates to [2, 4 D].
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return leaf.ndim > 1 and not {"bias", "scale"} & set(name.split("/"))

    return jax.tree_util.tree_map_with_path(is_kernel, params)


def learning_rate(
    train, step: Int[Array, ""] | int, steps_per_epoch: Int[Array, ""] | int
) -> Float[Array, ""]:
    """The rate at a step, which is the number of updates before it.

    `time_decay` is Keras's lr / (1 + decay_rate * step), which Xu et al. 2021 (AACNN)
    train with, `cosine` falls to zero at the end, `step` divides by ten every
    `decay_epochs` or `decay_updates`. Folds differ in length: in epochs, a rate falls
    at the same share of each, in updates after as many.
    """
    epoch = step / steps_per_epoch  # a fraction, so that rates move within epochs
    rate = train.learning_rate
    if train.schedule == "time_decay":
        rate = rate / (1.0 + train.decay_rate * step)
    elif train.schedule == "cosine":
        done, warmup, length = epoch, train.warmup_epochs, train.epochs
        if train.updates:
            done, warmup, length = step, train.warmup_updates, train.updates
        progress = (done - warmup) / (length - warmup)
        rate = optax.cosine_decay_schedule(rate, 1.0)(jnp.clip(progress, 0.0, 1.0))
    elif train.schedule == "step":
        updates = train.decay_updates
        drops = step // updates if updates else epoch // train.decay_epochs
        rate = rate * 0.1**drops
    if train.warmup_epochs or train.warmup_updates:
        warmup_steps = lengths.in_updates(train, "warmup_updates", steps_per_epoch)
        rate = rate * jnp.minimum(1.0, (step + 1) / warmup_steps)
    return jnp.asarray(rate, jnp.float32)
