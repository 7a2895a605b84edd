"""ADSRNN: sizes, what a window can hear, which windows have a say, switches, presets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import adsrnn
from tests.models import common
from tests.models.common import answer, check_trains_and_evaluates, count, run

FULL = (300, 40, 3)
SMALL = (30, 11, 3)  # frames, bands, channels: three windows of ten
THIN = {"width": 0.03, "window_steps": 10, "pools": ((1, 1), (2, 1))}
# Columns that two 3x3 and three dilated 3x3 convolutions reach to either side.
REACH = 2 * 1 + 3 * 2


def build(shape=SMALL, **changes):
    return common.build("adsrnn", shape, 4, **THIN | changes)


def batch(valid=(30, 17), shape=SMALL):
    return common.random_batch(valid, shape)


def add_to(inputs, frames):
    """The same batch with other values in some frames."""
    return inputs | {"frames": inputs["frames"].at[:, frames].add(1.5)}


def window_means(model, inputs):
    return run(model, "windows", inputs)[0]


def outputs(model, inputs):
    """Out_1 ... Out_M of every example, [B, M, D]."""
    embedded = run(model, "embed", inputs)
    windows = model.heads.windows
    return np.asarray(embedded[:, :-windows].reshape(len(embedded), windows, -1))


@pytest.fixture(scope="module")
def model():
    return build()


def test_published_size():
    model = common.abstract("adsrnn", FULL, 4)
    parts = {
        "conv1": 9 * 3 * 128 + 128,
        "conv2": 9 * 128 * 128 + 128,
        "block": 4 * (9 * 128 * 128 + 128 + 2 * 128),  # three in a row, one beside
        "sliding": 2 * 4 * 256 * ((40 // 2) * 128 + 256 + 1),
        "attention": 10 * 512 * 512,
        "heads": 10 * (512 * 4 + 4),
    }
    assert {name: count(getattr(model, name)) for name in parts} == parts
    assert count(model) == sum(parts.values()) == 9_153_704
    # The source's 9.16 M have PyTorch's second bias per gate and direction.
    assert round((count(model) + 2 * 4 * 256) / 1e6, 2) == 9.16


def test_the_codes_block_has_64_channels():
    model = common.abstract("adsrnn", FULL, 4, "code")
    assert count(model.block.skip) == 9 * 128 * 64 + 64 + 2 * 64
    assert count(model.sliding) == 2 * 4 * 256 * (1280 + 256 + 1)


@pytest.mark.parametrize("name", ["attention", "heads"])
def test_sharing_leaves_one_matrix_for_all_windows(name):
    separate, shared = (
        common.abstract("adsrnn", SMALL, 4, **THIN, **{name: sharing})
        for sharing in ("separate", "shared")
    )
    assert count(getattr(separate, name)) == 3 * count(getattr(shared, name))


def test_later_windows_never_reach_earlier_ones(model):
    inputs = batch((30, 30))
    before = outputs(model, inputs)
    assert before.shape == (2, 3, 16)
    # Frames whose reach begins with window 1, in both directions of the LSTM.
    after = outputs(model, add_to(inputs, slice(10 + REACH, 20)))
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert np.all(np.abs(before - after)[:, 1:].max(axis=-1) > 1e-4)
    after = outputs(model, add_to(inputs, slice(20 + REACH, 30)))
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert np.all(np.abs(before - after)[:, 2].max(axis=-1) > 1e-4)


def test_both_directions_carry_their_state_into_the_next_window(model):
    inputs = batch((30, 30))
    # Frames whose reach ends with window 0: window 1 hears them by its state alone.
    other = add_to(inputs, slice(0, 10 - REACH))
    change = np.abs(window_means(model, inputs) - window_means(model, other))
    forward, backward = np.split(change.max(axis=0), 2, axis=-1)
    assert forward[1].max() > 1e-6 and backward[1].max() > 1e-6
    assert forward[0].max() > forward[1].max()


def test_a_window_is_the_mean_of_its_valid_steps(model):
    assert np.all(window_means(model, batch((30, 13)))[1, 2] == 0)
    # Three valid steps: longer windows of padding do not dilute their mean.
    longer = build(window_steps=15)
    for part in ("sliding", "block", "conv1", "conv2"):
        nnx.update(getattr(longer, part), nnx.state(getattr(model, part)))
    inputs = batch((3, 10))
    a, b = window_means(model, inputs), window_means(longer, inputs)
    np.testing.assert_allclose(a[:, 0], b[:, 0], atol=1e-6)


@pytest.mark.parametrize("combination", ["sum", "cascade"])
def test_windows_of_padding_alone_are_left_out(combination):
    long = build(combination=combination)
    short = build((20, 11, 3), combination=combination)
    state = nnx.to_pure_dict(nnx.state(long))
    for name in ("attention", "heads"):  # one matrix per window, on the first axis
        state[name] = jax.tree.map(lambda x: x[:2], state[name])
    target = nnx.state(short)
    nnx.replace_by_pure_dict(target, state)
    nnx.update(short, target)
    inputs = batch((20, 13))
    fewer = {name: x[:, :20] for name, x in inputs.items()}
    np.testing.assert_allclose(
        answer(long, inputs), answer(short, fewer), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(run(long, "embed", inputs)[:, -3:], [[1, 1, 0]] * 2)


def test_softmax_of_the_logits_is_the_mean_of_the_windows_posteriors(model):
    posteriors = jax.nn.softmax(model.heads(jnp.asarray(outputs(model, batch()))))
    mean = jnp.stack([posteriors[0].mean(axis=0), posteriors[1, :2].mean(axis=0)])
    logits = answer(model, batch())
    np.testing.assert_allclose(jax.nn.softmax(logits), mean, rtol=1e-5)
    np.testing.assert_allclose(jnp.exp(logits), mean, rtol=1e-5)


def test_the_codes_second_softmax_is_in_training_only():
    model = build(train_logits="probability")
    embedded = run(model, "embed", batch())
    logs = model.classify(embedded)
    model.train()
    np.testing.assert_allclose(model.classify(embedded), jnp.exp(logs), rtol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention": "shared", "heads": "shared", "block_features": (64, 64, 100)},
        {"combination": "cascade", "train_logits": "probability", "conv_dropout": 0.4},
        {"pools": ((2, 2), (2, 1)), "window_steps": 5, "dtype": "bfloat16"},
    ],
)
def test_every_switch_trains_and_evaluates(changes):
    check_trains_and_evaluates(build(**changes), batch())


def test_configs_say_what_the_source_says():
    config = adsrnn.get_config()
    assert config.published.ua == 0.6275
    assert config.segment.vote == "max" and config.protocol.split == "speaker10"
    code = adsrnn.get_config("code")
    assert code.train.squared_error_weight == 0.01
    assert (code.train.beta1, code.train.beta2) == (0.5, 0.999)
    # 4000 batches of 30 out of 4 classes of 300.
    assert code.train.epochs * 4 * 300 / code.train.batch_size == 4000
    assert code.model.combination == "cascade"


@pytest.mark.parametrize("preset", ["", *adsrnn.PRESETS])
def test_presets_build_ten_windows(preset):
    assert common.abstract("adsrnn", FULL, 7, preset).heads.windows == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"combination": "product"}, "combination: expected one of"),
        ({"attention": "none"}, "attention: expected one of"),
        ({"heads": "none"}, "heads: expected one of"),
        ({"train_logits": "logits"}, "train_logits: expected one of"),
        ({"window_steps": 7}, "window_steps: expected frames in whole windows of 7"),
        ({"pools": ((1, 1), (2, 2))}, "whole windows of 20"),
        ({"pools": ((3, 1), (4, 1))}, "pools: expected at least one cell .* 11 x 30"),
        ({"pools": ((2, 1),)}, "pools: expected 2 entries"),
    ],
)
def test_impossible_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)


def test_another_number_of_frames_is_refused(model):
    with pytest.raises(ValueError, match="frames: expected 30"):
        model(batch((20,), (20, 11, 3)))
