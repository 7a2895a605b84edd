"""Refuses a config that cannot work, before anything is built, claimed or trained."""

import functools

import jax
from flax import nnx

from ser_jax.data import batches, protocols, side_inputs
from ser_jax.datasets import build
from ser_jax.errors import InputError
from ser_jax.features import segments
from ser_jax.features.spec import RECIPES
from ser_jax.models import MODELS
from ser_jax.predict import forward
from ser_jax.scoring import voting
from ser_jax.training import experiment, feeder, optim, runs

CHOICES = {
    "augment.vtlp": ("all", "one", "online", "none"),
    "data.channels": (1, 2, 3),
    "data.normalize": forward.NORMALIZERS,
    "data.frames_on": feeder.FRAMES_ON,
    "data.pad": ("after_norm", "before_norm"),
    "model.dtype": ("float32", "bfloat16"),
    "model.name": tuple(MODELS),
    **{f"protocol.{key}": values for key, values in protocols.CHOICES.items()},
    "segment.rule": segments.RULES,
    "segment.short": segments.SHORT,
    "segment.vote": voting.RULES,
    "train.class_weights": ("none", "balanced"),
    "train.runs_per_device": runs.MODES,
    "train.sampling": batches.SAMPLING,
    "train.schedule": optim.SCHEDULES,
}
AT_LEAST = {
    "augment.freq_mask_bands": 0,
    "augment.mixup_alpha": 0,
    "augment.time_mask_frames": 0,
    "data.max_words": 1,
    "data.num_workers": 0,
    "protocol.groups": 0,
    "segment.buckets": 1,
    "train.batch_size": 1,
    "train.center_rate": 0,
    "train.center_weight": 0,
    "train.checkpoint_epochs": 1,
    "train.decay_epochs": 1,
    "train.devices": 0,
    "train.early_stop_epochs": 0,
    "train.epochs": 1,
    "train.eval_batch_size": 1,
    "train.grad_clip_norm": 0,
    "train.label_smoothing": 0,
    "train.per_class": 0,
    "train.profile_steps": 0,
    "train.runs_per_call": 0,
    "train.squared_error_weight": 0,
    "train.steps_per_call": 0,
    "train.warmup_epochs": 0,
    "train.weight_decay": 0,
}
ABOVE_ZERO = (
    "model.width",
    "data.device_share",
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
    side_inputs.check(config.data)
    _check_together(config)
    _check_model(config)


def _check_together(config) -> None:
    train = config.train
    if config.data.device_share > 1:
        _refuse("data.device_share", "at most 1", config.data.device_share)
    if train.label_smoothing >= 1:
        _refuse("train.label_smoothing", "less than 1", train.label_smoothing)
    for key in ("beta1", "beta2"):
        if not 0 <= train[key] < 1:
            _refuse(f"train.{key}", "0 or more and less than 1", train[key])
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
    if config.train.center_rate > 1:
        _refuse("train.center_rate", "at most 1", config.train.center_rate)
    if config.data.corpus == "manifest" and config.protocol.split == "session5_script":
        _refuse(
            "protocol.split",
            "another rule with data.corpus=manifest, such as group with "
            "protocol.group_by=text",
            config.protocol.split,
        )
    _check_segment(config)
    _check_augment(config)


def _check_segment(config) -> None:
    segment = config.segment
    if segment.dense_classes and segment.rule != "first_last":
        _refuse(
            "segment.dense_classes",
            "() unless segment.rule=first_last",
            tuple(segment.dense_classes),
        )
    if segment.rule == "tile":
        for key in ("train_step_s", "test_step_s"):
            if segment[key] > segment.window_s:
                _refuse(
                    f"segment.{key}",
                    f"at most segment.window_s ({segment.window_s}) with "
                    "segment.rule=tile, which covers the utterance",
                    segment[key],
                )
    if segment.rule == "whole" and config.data.pad == "before_norm":
        _refuse(
            "data.pad",
            "after_norm with segment.rule=whole, whose padding varies",
            config.data.pad,
        )
    if segment.rule == "whole" and config.train.sampling == "balanced":
        _refuse(
            "train.sampling",
            "all with segment.rule=whole (train.class_weights=balanced weighs classes)",
            config.train.sampling,
        )


def _check_augment(config) -> None:
    augment = config.augment
    if augment.vtlp == "online" and config.data.vtlp_mode != "textbook":
        raise InputError(
            "data.vtlp_mode: expected textbook with augment.vtlp=online, because "
            f"nlpaug's way goes through another waveform; got {config.data.vtlp_mode}. "
            "Set --config.data.vtlp_mode=textbook or --config.augment.vtlp=one."
        )
    masks = augment.freq_mask_bands or augment.time_mask_frames
    if masks and config.data.normalize == "none":
        raise InputError(
            "augment.freq_mask_bands, augment.time_mask_frames: expected "
            "data.normalize=fold, because masks write the mean, 0; got none. Set "
            "--config.data.normalize=fold."
        )
    if augment.mixup_alpha and (config.data.text != "none"):
        _refuse("augment.mixup_alpha", "0 where words are read", augment.mixup_alpha)
    if augment.mixup_alpha and config.train.center_weight:
        _refuse(
            "augment.mixup_alpha",
            "0 with center loss, which needs one class per example",
            augment.mixup_alpha,
        )


def _check_model(config) -> None:
    """Builds and calls the model on shapes alone."""
    spec = RECIPES[config.data.recipe]
    if config.data.channels > spec.num_channels:
        _refuse(
            "data.channels",
            f"at most {spec.num_channels}, which data.recipe={spec.name} stores",
            config.data.channels,
        )
    model_class = MODELS[config.model.name]
    for key, off, field in (
        ("text", "none", "words"),
        ("speaker_embeddings", "", "speaker_embedding"),
    ):
        if config.data[key] != off and field not in model_class.INPUTS:
            _refuse(
                f"data.{key}",
                f"{off!r} with {config.model.name}, which reads none",
                config.data[key],
            )
    shapes = _shapes(config, spec)

    def call(frames):
        model = model_class(
            config.model,
            input_shapes=shapes,
            num_classes=2,
            rngs=nnx.Rngs(jax.random.key(0)),
        )
        model.train()
        shorter = shapes | {"frames": (frames, *shapes["frames"][1:])}
        batch = experiment.example_batch(shorter)
        return model(batch, rngs=nnx.Rngs(jax.random.key(1)))

    lengths = [shapes["frames"][0]]
    if config.segment.rule == "whole":  # buckets are shorter than the model's input
        lengths.append(lengths[0] - 8)
    _check_rates(config.model)
    try:
        for frames in lengths:
            jax.eval_shape(functools.partial(call, frames))
    except (IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        frames = shapes["frames"]
        raise InputError(
            f"config.model does not make a network for windows of {frames[0]} frames, "
            f"{frames[1]} bands, {frames[2]} channels: {error}"
        ) from error


def _check_rates(model) -> None:
    """Dropout rates and momenta, whatever a model calls them, are shares below 1."""
    for key, value in model.items():
        if key.endswith(("dropout", "momentum")) and not 0 <= value < 1:
            _refuse(f"model.{key}", "0 or more and less than 1", value)


def _shapes(config, spec) -> dict[str, tuple[int, ...]]:
    """Input shapes as far as the config tells; widths of vectors play no part."""
    frames = segments.window_frames(spec, config.segment.window_s)
    shapes = {"frames": (frames, spec.num_bands, config.data.channels)}
    if config.data.text != "none":
        shapes["words"] = (config.data.max_words, 2)
    if config.data.speaker_embeddings:
        shapes["speaker_embedding"] = (2,)
    return shapes


def _get(config, key: str):
    group, name = key.split(".")
    return config[group][name]


def _refuse(key: str, expected: str, value):
    raise InputError(
        f"{key}: expected {expected}; got {value!r}. Set --config.{key}=..."
    )
