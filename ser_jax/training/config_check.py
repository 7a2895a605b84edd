"""Refuses a config that cannot work, before anything is built, claimed or trained."""

import functools
from typing import NoReturn

import jax
from flax import nnx

from ser_jax import models
from ser_jax.corpora import several
from ser_jax.corpora.several import IEMOCAP_CORPORA
from ser_jax.data import batches, duplicates, normalize, protocols, side_inputs
from ser_jax.data.classes import read_label_map, read_label_maps
from ser_jax.datasets import build
from ser_jax.encoders import tuning
from ser_jax.errors import InputError
from ser_jax.features import segments
from ser_jax.features.recipe import recipe_of
from ser_jax.models import MODELS
from ser_jax.predict import forward
from ser_jax.scoring import voting
from ser_jax.training import encoder_check, feeder, lengths, optim, runs
from ser_jax.training.batch import example_batch

CHOICES = {
    "augment.vtlp": ("all", "one", "online", "none"),
    "data.channels": (0, 1, 2, 3),
    "data.normalize": forward.NORMALIZERS,
    "data.frames_on": feeder.FRAMES_ON,
    "encoder.tuning": tuning.WAYS,
    "encoder.dtype": ("float32", "bfloat16"),
    "data.pad": ("after_norm", "before_norm"),
    "data.duplicates": duplicates.CHOICES,
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
GROUPS = ("augment", "data", "encoder", "protocol", "segment", "train")
AT_LEAST_1 = """
    data.max_words encoder.lora_rank encoder.mask_channels encoder.mask_steps
    segment.buckets train.batch_size train.eval_batch_size
"""
ABOVE_0 = """
    data.device_share encoder.layer_decay encoder.learning_rate_factor
    encoder.lora_alpha encoder.pool_s model.width segment.test_step_s
    segment.train_step_s segment.window_s train.learning_rate
"""
BELOW_1 = """
    encoder.mask_channel_share encoder.mask_share train.beta1 train.beta2
    train.ema_decay train.label_smoothing
"""
RANGES = (
    (AT_LEAST_1, lambda x: x >= 1, "1 or more"),
    (ABOVE_0, lambda x: x > 0, "more than 0"),
    (
        "data.device_share encoder.layer_decay train.center_rate",
        lambda x: x <= 1,
        "at most 1",
    ),
    (BELOW_1, lambda x: x < 1, "less than 1"),
    ("train.first_rung", lambda x: 0 < x < 1, "more than 0 and less than 1"),
    ("train.halving", lambda x: x != 1, "0 (off), or 2 or more"),
)


def check_config(config, stored_in: str = "", *, with_model: bool = True) -> None:
    """Checks every choice and range and, `with_model`, that it fits its input.

    The only door: what is behind it takes its config as checked. `stored_in` is the
    workdir that it comes from, if it does.

    Raises:
      InputError: Names the key, what it takes and what came.
    """
    try:
        _check(config)
        if with_model:
            _check_model(config)
    except (AttributeError, KeyError) as error:  # how ml_collections reports lost keys
        whose, advice = "--config", "Begin with the get_config() of configs/base.py."
        if stored_in:
            whose = f"{stored_in} was trained by an earlier version"
            advice = (
                "Use that version (git_commit in its results.json) or train again in a "
                "new --workdir."
            )
        raise InputError(
            f"{whose}: expected every key of configs/base.py; {error}. {advice}"
        ) from error


def _check(config) -> None:
    refuse = functools.partial(_refuse, config)
    for key, allowed in CHOICES.items():
        if _get(config, key) not in allowed:
            refuse(key, f"one of {_join(allowed)}")
    for group in GROUPS:
        for name, value in config[group].items():
            if isinstance(value, (int, float)) and not value >= 0:
                refuse(f"{group}.{name}", "0 or more")
    for keys, contains, expected in RANGES:
        for key in keys.split():
            if not contains(_get(config, key)):
                refuse(key, expected)
    side_inputs.check(config.data)
    for rule in (
        _check_data,
        encoder_check.check,
        _check_train,
        _check_segment,
        _check_augment,
        _check_inputs,
        _check_sizes,
    ):
        rule(config, refuse)


# Rules about several keys: `refuse(key, expected)` where they do not go together. ------


def _check_data(config, refuse) -> None:
    data = config.data
    if not 0 < data.vtlp_low <= data.vtlp_high:
        highest = f"data.vtlp_high ({data.vtlp_high})"
        refuse("data.vtlp_low", f"more than 0 and at most {highest}")
    if data.label_map is not None:
        read_label_map(data.label_map, may_drop=bool(data.taxonomy))
    _check_corpora(data, refuse)
    if data.manifest and data.corpus != "manifest":
        refuse("data.corpus", "manifest with data.manifest")
    if data.corpus == "manifest" and data.manifest == "":
        refuse("data.manifest", "a CSV file with data.corpus=manifest")
    if data.text == "asr" and data.recognizer == "":
        recognizers = _join(build.CHOICES["recognizer"][1:])
        refuse(
            "data.recognizer", f"{recognizers} with data.text=asr, or transcript there"
        )


def _check_corpora(data, refuse) -> None:
    if data.corpus != "multi":
        for key in ("corpora", "label_maps"):
            if data[key] is not None:
                refuse("data.corpus", f"multi with data.{key}")
        if data.taxonomy and data.corpus in IEMOCAP_CORPORA:
            refuse("data.taxonomy", "'' for IEMOCAP and the demo alone")
        return
    if data.root:
        refuse("data.root", "'' with data.corpus=multi; see data.corpora")
    corpora, maps = several.parse(data.corpora), read_label_maps(data)
    if not {*maps} <= {*corpora}:
        refuse("data.label_maps", f"maps of corpora in data.corpora ({_join(corpora)})")
    if data.label_map is not None:
        refuse("data.label_map", "None with data.corpus=multi; see data.label_maps")
    if not data.taxonomy and not {*corpora} <= {*maps}:
        sets = _join(build.CHOICES["taxonomy"][1:])
        refuse("data.taxonomy", f"{sets}, or a map for every corpus in data.label_maps")


def _check_train(config, refuse) -> None:
    train, protocol = config.train, config.protocol
    protocols.check_seeds(protocol.seeds)
    _check_lengths(train, refuse)
    if protocol.compare_selections and protocol.split == "pairs":
        refuse(
            "protocol.compare_selections",
            "False with protocol.split=pairs, which scores each corpus by itself",
        )
    for key in ("early_stop_epochs", "early_stop_updates"):
        if train[key] and protocol.selection == "last":
            refuse(
                f"train.{key}", "0 with protocol.selection=last, which chooses nothing"
            )
    has_scripts = config.data.corpus in IEMOCAP_CORPORA
    if protocol.split == "session5_script" and not has_scripts:
        refuse(
            "protocol.split",
            f"group (by text, say) or another rule with data.corpus={config.data.corpus}",
        )


def _check_lengths(train, refuse) -> None:
    for updates, epochs in lengths.IN_EPOCHS.items():
        if train[updates] and train[epochs]:
            refuse(
                f"train.{updates}",
                f"0 with train.{epochs} ({train[epochs]}), or 0 there",
            )
        must = updates in ("updates", "decay_updates", "checkpoint_updates")
        if must and not train[updates] and train[epochs] < 1:
            refuse(f"train.{epochs}", f"1 or more, or train.{updates}")
    counted, other = "updates", "epochs"
    if not train.updates:
        counted, other = other, counted
    if train[f"warmup_{other}"]:
        refuse(f"train.warmup_{other}", f"0 with train.{counted}; see warmup_{counted}")
    if not train[f"warmup_{counted}"] < train[counted]:
        length = f"train.{counted} ({train[counted]})"
        refuse(f"train.warmup_{counted}", f"less than {length}")


def _check_segment(config, refuse) -> None:
    segment, whole = config.segment, config.segment.rule == "whole"
    if segment.dense_classes and segment.rule != "first_last":
        refuse("segment.dense_classes", "() unless segment.rule=first_last")
    for key in ("train_step_s", "test_step_s"):
        if (
            segment.rule in ("tile", "tile_padded")
            and not segment[key] <= segment.window_s
        ):
            window = f"segment.window_s ({segment.window_s})"
            refuse(f"segment.{key}", f"at most {window} with segment.rule=tile")
    if config.data.pad == "before_norm" and config.data.normalize in normalize.BY_OWNER:
        refuse("data.normalize", "none or fold with data.pad=before_norm")
    if whole and config.data.pad == "before_norm":
        refuse("data.pad", "after_norm with segment.rule=whole, whose padding varies")
    if whole and config.train.sampling != "all":
        refuse(
            "train.sampling",
            "all with segment.rule=whole (train.class_weights=balanced weighs classes)",
        )


def _check_augment(config, refuse) -> None:
    augment, data = config.augment, config.data
    if augment.vtlp == "online" and data.level != "as_is":  # int16 samples are stored
        refuse("data.level", "as_is with augment.vtlp=online")
    # nlpaug's way goes through another waveform.
    if augment.vtlp == "online" and data.vtlp_mode != "textbook":
        refuse(
            "data.vtlp_mode",
            "textbook with augment.vtlp=online (or set --config.augment.vtlp=one)",
        )
    for key in ("freq_mask_bands", "time_mask_frames"):
        if augment[key] and data.normalize == "none":
            refuse(
                f"augment.{key}",
                "0 without --config.data.normalize=fold, because masks write the mean, 0",
            )
    if augment.mixup_alpha and data.text != "none":
        refuse("augment.mixup_alpha", "0 where words are read")
    if augment.mixup_alpha and config.train.center_weight:
        refuse(
            "augment.mixup_alpha",
            "0 with center loss, which needs one class per example",
        )


def _check_inputs(config, refuse) -> None:
    spec, inputs = recipe_of(config), MODELS[config.model.name].INPUTS
    if config.data.channels > spec.num_channels:
        stored = f"which data.recipe={spec.name} stores"
        refuse("data.channels", f"at most {spec.num_channels}, {stored}")
    without = f"with {config.model.name}, which reads none"
    if config.data.text != "none" and "words" not in inputs:
        refuse("data.text", f"'none' {without}")
    if config.data.speaker_embeddings and "speaker_embedding" not in inputs:
        refuse("data.speaker_embeddings", f"'' {without}")
    # Dropout rates and momenta, whatever a model calls them.
    for key, value in config.model.items():
        if key.endswith(("dropout", "momentum")) and not 0 <= value < 1:
            refuse(f"model.{key}", "0 or more and less than 1")


def _check_sizes(config, refuse) -> None:
    """Tuples, which ConfigDict takes whatever their length and whatever is in them."""
    for key, value in config.model.items():
        if key in ("pool", "max_area") and not _is_pair(value):
            refuse(f"model.{key}", "a pair: bands (or rows), frames (or columns)")
        if key == "pools" and not all(
            x is True or x is False or _is_pair(x) for x in value
        ):
            refuse("model.pools", "pairs of bands and frames, or True and False")
        others = isinstance(value, tuple) and key not in ("pool", "max_area", "pools")
        if others and not all(map(_is_size, value)):
            refuse(f"model.{key}", "whole numbers of 1 or more")
    if not all(isinstance(name, str) for name in config.segment.dense_classes):
        refuse("segment.dense_classes", "names of classes")


def _is_size(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_pair(value) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_size, value))


def _check_model(config) -> None:
    """Builds and calls the model on shapes alone."""
    shapes = _shapes(config)
    full, bands, channels = shapes["frames"]

    def call(frames):
        model = models.make(
            config,
            input_shapes=shapes,
            num_classes=2,
            rngs=nnx.Rngs(jax.random.key(0)),
        )
        model.train()
        batch = example_batch(shapes | {"frames": (frames, bands, channels)})
        return model(batch, rngs=nnx.Rngs(jax.random.key(1)))

    try:
        jax.eval_shape(lambda: call(full))
        if config.segment.rule == "whole":  # buckets are shorter than the model's input
            jax.eval_shape(lambda: call(max(1, full - 8)))
    except (IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"config.model does not make a network for segments of {full} frames, "
            f"{bands} bands, {channels} channels: {error}"
        ) from error


def _shapes(config) -> dict[str, tuple[int, ...]]:
    """Input shapes as far as the config tells; widths of vectors play no part."""
    spec = recipe_of(config)
    frames = segments.window_frames(spec, config.segment.window_s)
    channels = config.data.channels or spec.num_channels
    shapes = {"frames": (frames, spec.num_bands, channels)}
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


def _refuse(config, key: str, expected: str) -> NoReturn:
    raise InputError(
        f"{key}: expected {expected}; got {_get(config, key)!r}. Set --config.{key}=..."
    )
