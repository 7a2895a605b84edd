"""Configs that cannot work are refused before anything is built."""

import pytest

from configs import area_attn
from ser_jax.errors import InputError
from ser_jax.training.check import check_config


@pytest.mark.parametrize("preset", area_attn.PRESETS)
def test_every_preset_passes(preset):
    config = area_attn.get_config(preset)
    if config.data.corpus == "manifest":
        with pytest.raises(InputError, match="data.manifest"):
            check_config(config)
        config.data.manifest = "manifest.csv"
    check_config(config)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("augment.vtlp", "some", "all, one, none; got 'some'"),
        ("augment.mixup_alpha", -0.1, "0 or more; got -0.1"),
        ("augment.freq_mask_bands", 4, "data.normalize=fold"),
        ("data.channels", 5, "1, 2, 3; got 5"),
        ("data.normalize", "zscore", "none, fold; got 'zscore'"),
        ("data.num_workers", -1, "0 or more"),
        ("data.recipe", "logmel7", "logmel128"),
        ("model.attention_dropout", 1.0, "dropout"),
        ("model.dtype", "float33", "bfloat16; got 'float33'"),
        ("model.key", "median", "config.model"),
        ("model.max_area", (0, 3), "max_area"),
        ("model.name", "aacnn", "area_attn; got 'aacnn'"),
        ("model.pools", (True,), "pools"),
        ("model.width", 0.0, "more than 0"),
        ("protocol.selection", "best", "val"),
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
        ("train.warmup_epochs", 100.0, "less than train.epochs"),
    ],
)
def test_a_bad_value_is_named_with_what_it_takes(key, value, said):
    config = area_attn.get_config()
    group, name = key.split(".")
    config[group][name] = value
    with pytest.raises(InputError) as caught:
        check_config(config)
    assert said in str(caught.value)
    assert name in str(caught.value) or "config.model" in str(caught.value)


def test_early_stopping_needs_something_to_watch():
    config = area_attn.get_config()
    config.protocol.selection = "last"
    with pytest.raises(InputError, match="early_stop_epochs: expected 0"):
        check_config(config)
