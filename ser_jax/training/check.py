"""Refuses a config that cannot work, before anything is built, claimed or trained."""

import jax
import jax.numpy as jnp
from flax import nnx

from ser_jax.data import build, protocols, segments
from ser_jax.errors import InputError
from ser_jax.features.spec import RECIPES
from ser_jax.models import MODELS
from ser_jax.training import optim, runs

CHOICES = {
    "augment.vtlp": ("all", "one", "none"),
    "data.channels": (1, 2, 3),
    "data.normalize": ("none", "fold"),
    "model.dtype": ("float32", "bfloat16"),
    "model.name": tuple(MODELS),
    "segment.short": segments.SHORT,
    "segment.vote": ("mean", "max"),
    "train.class_weights": ("none", "balanced"),
    "train.runs_per_device": runs.MODES,
    "train.schedule": optim.SCHEDULES,
}
AT_LEAST = {
    "augment.freq_mask_bands": 0,
    "augment.mixup_alpha": 0,
    "augment.time_mask_frames": 0,
    "data.num_workers": 0,
    "protocol.groups": 0,
    "train.batch_size": 1,
    "train.checkpoint_epochs": 1,
    "train.decay_epochs": 1,
    "train.devices": 0,
    "train.early_stop_epochs": 0,
    "train.epochs": 1,
    "train.eval_batch_size": 1,
    "train.grad_clip_norm": 0,
    "train.label_smoothing": 0,
    "train.steps_per_call": 0,
    "train.warmup_epochs": 0,
    "train.weight_decay": 0,
}
ABOVE_ZERO = (
    "model.width",
    "segment.test_step_s",
    "segment.train_step_s",
    "segment.window_s",
    "train.learning_rate",
)


def check_config(config) -> None:
    """Checks every choice and range, and that the model fits its input.

    Raises:
      InputError: Names the key, what it takes and what came.
    """
    for key, allowed in CHOICES.items():
        value = _get(config, key)
        if value not in allowed:
            names = ", ".join(map(str, allowed))
            _refuse(key, f"one of {names}", value)
    for key, least in AT_LEAST.items():
        if _get(config, key) < least:
            _refuse(key, f"{least} or more", _get(config, key))
    for key in ABOVE_ZERO:
        if _get(config, key) <= 0:
            _refuse(key, "more than 0", _get(config, key))
    build.check_data(config.data)
    protocols.check_protocol(config.protocol)
    _check_together(config)
    _check_model(config)


def _check_together(config) -> None:
    train, augment = config.train, config.augment
    if train.label_smoothing >= 1:
        _refuse("train.label_smoothing", "less than 1", train.label_smoothing)
    if train.warmup_epochs >= train.epochs:
        _refuse(
            "train.warmup_epochs",
            f"less than train.epochs ({train.epochs})",
            train.warmup_epochs,
        )
    if train.early_stop_epochs and config.protocol.selection == "last":
        _refuse(
            "train.early_stop_epochs",
            "0 with protocol.selection=last, which chooses nothing",
            train.early_stop_epochs,
        )
    masks = augment.freq_mask_bands or augment.time_mask_frames
    if masks and config.data.normalize == "none":
        raise InputError(
            "augment.freq_mask_bands, augment.time_mask_frames: expected "
            "data.normalize=fold, because masks write the mean, 0; got none. Set "
            "--config.data.normalize=fold."
        )


def _check_model(config) -> None:
    """Builds and calls the model on shapes alone."""
    spec = RECIPES[config.data.recipe]
    frames = segments.window_frames(spec, config.segment.window_s)
    shape = (frames, spec.n_mels, config.data.channels)

    def call():
        model = MODELS[config.model.name](
            config.model,
            input_shape=shape,
            num_classes=2,
            rngs=nnx.Rngs(jax.random.key(0)),
        )
        model.train()
        batch = {
            "frames": jnp.zeros((2, *shape)),
            "frame_mask": jnp.ones((2, frames), bool),
        }
        return model(batch, rngs=nnx.Rngs(jax.random.key(1)))

    try:
        jax.eval_shape(call)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"config.model does not make a network for windows of {shape[0]} frames, "
            f"{shape[1]} bands, {shape[2]} channels: {error}"
        ) from error


def _get(config, key: str):
    group, name = key.split(".")
    return config[group][name]


def _refuse(key: str, expected: str, value):
    raise InputError(
        f"{key}: expected {expected}; got {value!r}. Set --config.{key}=..."
    )
