"""Refuses a config that cannot work, before anything is built, claimed or trained."""

import functools
import itertools

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
from ser_jax.training import feeder, optim, runs
from ser_jax.training.batch import example_batch

CHOICES = {
    "augment.vtlp": ("all", "one", "online", "none"),
    "data.channels": (1, 2, 3),
    "data.normalize": forward.NORMALIZERS,
    "data.frames_on": feeder.FRAMES_ON,
    "data.pad": ("after_norm", "before_norm"),
    **{f"data.{key}": values for key, values in build.CHOICES.items()},
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
# No number of these groups may be negative.
GROUPS = ("augment", "data", "protocol", "segment", "train")
AT_LEAST_1 = (
    *("data.max_words", "segment.buckets", "train.batch_size", "train.epochs"),
    *("train.checkpoint_epochs", "train.decay_epochs", "train.eval_batch_size"),
)
ABOVE_0 = (
    *("segment.test_step_s", "segment.train_step_s", "segment.window_s"),
    *("data.device_share", "model.width", "train.learning_rate"),
)
AT_MOST_1 = ("data.device_share", "train.center_rate")
BELOW_1 = ("train.beta1", "train.beta2", "train.label_smoothing")
RANGES = (
    (AT_LEAST_1, lambda x: x >= 1, "1 or more"),
    (ABOVE_0, lambda x: x > 0, "more than 0"),
    (AT_MOST_1, lambda x: x <= 1, "at most 1"),
    (BELOW_1, lambda x: x < 1, "less than 1"),
)


def check_config(config) -> None:
    """Checks every choice and range, and that the model fits its input.

    The only door: what is behind it takes its config as checked.

    Raises:
      InputError: Names the key, what it takes and what came.
    """
    for key, allowed in CHOICES.items():
        _require(config, key, _get(config, key) in allowed, f"one of {_join(allowed)}")
    for group in GROUPS:
        for name, value in config[group].items():
            number = isinstance(value, (int, float))
            _require(config, f"{group}.{name}", not number or value >= 0, "0 or more")
    for keys, contains, expected in RANGES:
        for key in keys:
            _require(config, key, contains(_get(config, key)), expected)
    side_inputs.check(config.data)
    rules = (_data_rules, _train_rules, _segment_rules, _augment_rules, _input_rules)
    for key, holds, expected in itertools.chain(*(rule(config) for rule in rules)):
        _require(config, key, holds, expected)
    _check_model(config)


def check_stored(config, path) -> None:
    """As `check_config`, for the config of the workdir at `path`.

    Raises:
      InputError: The config cannot work, or is of another version.
    """
    try:
        check_config(config)
    except (AttributeError, KeyError) as error:  # how ml_collections reports lost keys
        raise InputError(
            f"{path} was trained by an earlier version: expected a config with every key "
            f"of this one; {error}. Use that version (git_commit in its results.json) or "
            "train again in a new --workdir."
        ) from error


# Rules about several keys: (key, whether it holds, what is expected of the key). ------


def _data_rules(config):
    data = config.data
    yield (
        "data.vtlp_low",
        0 < data.vtlp_low <= data.vtlp_high,
        f"more than 0 and at most data.vtlp_high ({data.vtlp_high})",
    )
    yield (
        "data.manifest",
        data.corpus != "manifest" or data.manifest != "",
        "a CSV file with data.corpus=manifest",
    )
    yield (
        "data.recognizer",
        data.text != "asr" or data.recognizer != "",
        f"{_join(build.CHOICES['recognizer'][1:])} with data.text=asr, or transcript there",
    )


def _train_rules(config):
    train, last = config.train, config.protocol.selection == "last"
    yield (
        "train.warmup_epochs",
        train.warmup_epochs < train.epochs,
        f"less than train.epochs ({train.epochs})",
    )
    yield (
        "train.early_stop_epochs",
        not (train.early_stop_epochs and last),
        "0 with protocol.selection=last, which chooses nothing",
    )
    yield (
        "protocol.split",
        (config.data.corpus, config.protocol.split) != ("manifest", "session5_script"),
        "group (by text, say) or another rule with data.corpus=manifest",
    )


def _segment_rules(config):
    segment, whole = config.segment, config.segment.rule == "whole"
    yield (
        "segment.dense_classes",
        not segment.dense_classes or segment.rule == "first_last",
        "() unless segment.rule=first_last",
    )
    for key in ("train_step_s", "test_step_s"):
        yield (
            f"segment.{key}",
            segment.rule != "tile" or segment[key] <= segment.window_s,
            f"at most segment.window_s ({segment.window_s}) with segment.rule=tile",
        )
    yield (
        "data.pad",
        not (whole and config.data.pad == "before_norm"),
        "after_norm with segment.rule=whole, whose padding varies",
    )
    yield (
        "train.sampling",
        not (whole and config.train.sampling == "balanced"),
        "all with segment.rule=whole (train.class_weights=balanced weighs classes)",
    )


def _augment_rules(config):
    augment, data = config.augment, config.data
    yield (
        "data.vtlp_mode",
        augment.vtlp != "online" or data.vtlp_mode == "textbook",
        # nlpaug's way goes through another waveform.
        "textbook with augment.vtlp=online (or set --config.augment.vtlp=one)",
    )
    for key in ("freq_mask_bands", "time_mask_frames"):
        yield (
            f"augment.{key}",
            not augment[key] or data.normalize != "none",
            "0 without --config.data.normalize=fold, because masks write the mean, 0",
        )
    yield (
        "augment.mixup_alpha",
        not augment.mixup_alpha or data.text == "none",
        "0 where words are read",
    )
    yield (
        "augment.mixup_alpha",
        not (augment.mixup_alpha and config.train.center_weight),
        "0 with center loss, which needs one class per example",
    )


def _input_rules(config):
    spec, model = RECIPES[config.data.recipe], MODELS[config.model.name]
    yield (
        "data.channels",
        config.data.channels <= spec.num_channels,
        f"at most {spec.num_channels}, which data.recipe={spec.name} stores",
    )
    for key, off, field in (
        ("text", "none", "words"),
        ("speaker_embeddings", "", "speaker_embedding"),
    ):
        yield (
            f"data.{key}",
            config.data[key] == off or field in model.INPUTS,
            f"{off!r} with {config.model.name}, which reads none",
        )
    # Dropout rates and momenta, whatever a model calls them.
    for key, value in config.model.items():
        if key.endswith(("dropout", "momentum")):
            yield f"model.{key}", 0 <= value < 1, "0 or more and less than 1"


def _check_model(config) -> None:
    """Builds and calls the model on shapes alone."""
    shapes = _shapes(config)

    def call(frames):
        model = MODELS[config.model.name](
            config.model,
            input_shapes=shapes,
            num_classes=2,
            rngs=nnx.Rngs(jax.random.key(0)),
        )
        model.train()
        shorter = shapes | {"frames": (frames, *shapes["frames"][1:])}
        return model(example_batch(shorter), rngs=nnx.Rngs(jax.random.key(1)))

    frames, bands, channels = shapes["frames"]
    lengths = [frames]
    if config.segment.rule == "whole":  # buckets are shorter than the model's input
        lengths.append(frames - 8)
    try:
        for length in lengths:
            jax.eval_shape(functools.partial(call, length))
    except (IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"config.model does not make a network for segments of {frames} frames, "
            f"{bands} bands, {channels} channels: {error}"
        ) from error


def _shapes(config) -> dict[str, tuple[int, ...]]:
    """Input shapes as far as the config tells; widths of vectors play no part."""
    spec = RECIPES[config.data.recipe]
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


def _join(allowed) -> str:
    return ", ".join(str(name) or "''" for name in allowed)


def _require(config, key: str, holds: bool, expected: str) -> None:
    if not holds:
        raise InputError(
            f"{key}: expected {expected}; got {_get(config, key)!r}. Set --config.{key}=..."
        )
