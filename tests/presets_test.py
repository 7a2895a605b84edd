"""What presets set, against the papers and the code that they are named after."""

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
)
from tests.training.config_check_test import PRESETS, SYSTEMS, _id


def test_acrnn_is_the_papers_and_its_code_is_the_codes():
    shared = {"subset": "improvised", "happy": "hap", "split": "speaker10"}
    for preset in ("", "paper", "code"):
        config = acrnn.get_config(preset)
        assert {key: config.protocol[key] for key in shared} == shared
        assert (config.segment.window_s, config.segment.vote) == (3.015, "max")
        assert (config.data.channels, config.data.normalize) == (3, "fold")
    config = acrnn.get_config("paper")
    data, model, train = config.data, config.model, config.train
    assert (data.recipe, data.level, data.pad) == ("logmel40_3d", "unit", "after_norm")
    assert (model.convs, model.pool, model.attention) == (6, (2, 2), "linear")
    assert (model.linear_norm, model.hidden_norm) == ("none", "batch")
    assert (train.batch_size, train.learning_rate, train.nesterov) == (40, 1e-4, True)
    assert config.segment.rule == "tile" and len(config.protocol.seeds) == 5
    config = acrnn.get_config("code")
    data, model, train = config.data, config.model, config.train
    assert (data.recipe, data.level) == ("logmel40_psf", "as_is")
    assert data.pad == "before_norm"
    assert (model.convs, model.pool, model.attention) == (6, (4, 2), "sigmoid")
    assert (model.linear_norm, model.hidden_norm) == ("batch", "none")
    assert model.linear_activation == "leaky_relu"
    assert (train.batch_size, train.learning_rate, train.nesterov) == (60, 1e-5, False)
    assert (train.sampling, train.per_class) == ("balanced", 300)
    assert train.epochs * 4 * train.per_class == 5000 * train.batch_size


@pytest.mark.parametrize("system", [adrnn, adsrnn, asrnn], ids=_id)
def test_the_re_runs_code_adds_l2_to_the_gradient(system):
    train = system.get_config("code").train
    assert (train.l2, train.weight_decay) == (1e-5, 0.0)  # PyTorch's Adam
    assert (train.batch_size, train.beta1, train.learning_rate) == (30, 0.5, 1e-5)


def test_the_area_attention_code_has_areas_in_time_and_nothing_that_is_learned():
    for preset in ("paper", "code"):
        config = area_attn.get_config(preset)
        data, protocol, train = config.data, config.protocol, config.train
        assert (data.vtlp_mode, data.vtlp_copies) == ("nlpaug", 7)
        assert (data.vtlp_low, data.vtlp_high) == (0.8, 1.2)
        assert (data.recipe, data.channels, data.normalize) == ("logmel128", 1, "none")
        assert config.augment.vtlp == "all"
        segment = config.segment
        assert (segment.rule, segment.window_s, segment.short) == ("slide", 2.0, "drop")
        assert (segment.train_step_s, segment.test_step_s) == (1.0, 0.4)
        assert (protocol.split, protocol.selection) == ("random_80_20", "test")
        assert protocol.happy == "exc" and len(protocol.seeds) == 5
        assert (train.batch_size, train.epochs, train.learning_rate) == (32, 100, 1e-4)
        assert (train.schedule, train.decay_rate) == ("time_decay", 1e-6)
    model = area_attn.get_config("code").model
    assert (model.layout, model.scale, model.projection) == ("rows", "none", "none")
    model = area_attn.get_config("paper").model
    assert (model.layout, model.scale, model.projection) == (
        "grid2d",
        "sqrt_d",
        "dense",
    )
    assert tuple(model.max_area) == (3, 3)


def test_acrnn_on_emodb_is_the_papers():
    config = acrnn.get_config("emodb_paper")
    protocol, train, model = config.protocol, config.train, config.model
    assert (config.data.corpus, config.data.level) == ("emodb", "unit")
    assert (config.data.normalize, config.augment.vtlp) == ("fold", "none")
    assert (protocol.split, protocol.group_by, protocol.groups) == (
        "group",
        "speaker",
        0,
    )
    assert (protocol.validation, protocol.selection) == ("speaker", "val")
    assert len(protocol.seeds) == 5
    assert (model.convs, model.width, tuple(model.pool)) == (5, 1.0, (2, 2))
    assert (train.batch_size, train.learning_rate, train.nesterov) == (40, 1e-4, True)
    assert (config.published.corpus, config.published.ua) == ("emodb", 0.8282)


@pytest.mark.parametrize("system", [acrnn, adrnn, adsrnn, asrnn], ids=_id)
def test_code_presets_take_more_windows_of_happiness(system):
    segment = system.get_config("code").segment
    assert segment.dense_classes == ("happy",) and segment.rule == "first_last"


@pytest.mark.parametrize(("system", "preset"), PRESETS, ids=_id)
def test_figures_stand_beside_the_protocol_that_they_were_published_for(system, preset):
    config = system.get_config(preset)
    published = config.published
    if not published.paper:
        assert published.ua is None and published.wa is None
        return
    assert published.corpus == config.data.corpus
    for key in ("subset", "happy", "split"):
        assert published[key] in ("", config.protocol[key])
    assert published.selection in ("", config.protocol.selection)


def test_who_shows_a_published_figure():
    shown = {(_id(s), p) for s, p in PRESETS if s.get_config(p).published.paper}
    of = {"acrnn": ("", "paper", "emodb_paper"), "cnn3d_attn": ("",), "afcn": ("",)}
    of |= dict.fromkeys(("adrnn", "adsrnn", "asrnn"), ("", "code"))
    of |= dict.fromkeys(("area_attn", "head_fusion"), ("paper", "code"))
    wanted = {(f"configs.{name}", preset) for name in of for preset in of[name]}
    assert shown == wanted


@pytest.mark.parametrize("system", SYSTEMS, ids=_id)
def test_emodb_leaves_every_speaker_out_and_chooses_nothing(system):
    for preset in ("emodb", "emodb_small"):
        config = system.get_config(preset)
        protocol = config.protocol
        assert (protocol.split, protocol.group_by) == ("group", "speaker")
        assert (protocol.groups, protocol.selection) == (0, "last")
        assert config.train.schedule == "cosine" and not config.train.early_stop_epochs
        assert (config.augment.vtlp, config.data.vtlp_copies) == ("one", 7)
        assert config.augment.freq_mask_bands and config.augment.time_mask_frames


def test_the_convolutions_of_two_systems_are_the_same_steps():
    for preset in ("emodb", "emodb_small", "demo"):
        first, second = acrnn.get_config(preset), cnn3d_attn.get_config(preset)
        for key in ("width", "convs", "pool", "conv_norm", "dropout"):
            assert first.model[key] == second.model[key]


def test_head_fusion_is_its_codes():
    config = head_fusion.get_config("code")
    model, train, segment = config.model, config.train, config.segment
    assert (model.head, model.heads, model.hidden) == ("macnn", 4, 64)
    assert model.softmax == "channels"
    assert (config.data.recipe, config.data.normalize) == ("mfcc26", "none")
    assert (segment.rule, segment.window_s, segment.short) == ("slide", 2.0, "drop")
    assert (segment.train_step_s, segment.test_step_s) == (1.0, 0.4)
    assert (train.batch_size, train.epochs, train.learning_rate) == (32, 50, 1e-3)
    assert (train.schedule, train.decay_epochs) == ("step", 10)


def test_afcn_takes_turns_of_any_length():
    for preset in ("", *afcn.PRESETS):
        config = afcn.get_config(preset)
        assert config.segment.rule == "whole"
        # Seconds of the longest turns: of IEMOCAP 34.14, of EMO-DB 8.98.
        longest = 34.14 if config.data.corpus == "iemocap" else 8.98
        assert config.segment.window_s > longest
