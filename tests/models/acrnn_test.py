"""ACRNN: published counts, map sizes, both variants, a restatement in NumPy."""

import jax
import numpy as np
import pytest
from flax import nnx

from tests.models import common
from tests.models.common import answer, check_gradients, check_trains_and_evaluates, run
from tests.reference import acrnn as plain
from tests.reference.recurrent import lstm, sigmoid

FULL = (300, 40, 3)  # frames, bands, channels
SMALL = (17, 9, 2)
VALID = (17, 11)
THIN = {"width": 0.03, "convs": 2}
BATCH = common.random_batch(VALID, SMALL)


def build(**changes):
    return common.build("acrnn", SMALL, **THIN | changes)


def full_count(preset, **changes):
    return common.count(common.abstract("acrnn", FULL, 4, preset, **changes))


# The layers by hand, weights + biases. Kernels have 5 * 3 = 15 cells.
CONVS = (
    (15 * 3 * 128 + 128)  # 5,888
    + (15 * 128 * 256 + 256)  # 491,776
    + 4 * (15 * 256 * 256 + 256)  # 3,933,184
)
BLSTM = 2 * (768 * 512 + 128 * 512 + 512)  # 918,528; gates 4 * 128, one bias
HEAD = (256 * 64 + 64) + (64 * 4 + 4)  # 16,708


def test_the_paper_has_about_9_30_million_parameters():
    linear = 20 * 256 * 768 + 768  # 20 bands after pooling: 5120 -> 768
    scores = 256  # w, no bias: it would cancel in the softmax
    norm = 2 * 64  # of the layer of 64
    total = CONVS + linear + BLSTM + scores + HEAD + norm
    assert full_count("") == total == 9_299_396


def test_the_code_has_about_7_33_million_parameters():
    linear = 10 * 256 * 768 + 768 + 2 * 768  # 2560 -> 768 with batch norm
    scores = (256 + 1) + 1  # w and b of one hidden unit, u
    total = CONVS + linear + BLSTM + scores + HEAD
    assert full_count("code") == total == 7_334_726


def test_every_convolution_beyond_the_second_adds_the_same():
    counts = [full_count("", convs=convs) for convs in (3, 4, 7)]
    assert np.diff(counts).tolist() == [983_296, 3 * 983_296]


@pytest.mark.parametrize(
    ("pool", "shape"),
    [((2, 2), (2, 8, 23)), ((4, 2), (2, 8, 23)), ((3, 4), (2, 4, 23))],
)
def test_steps_are_the_frames_over_the_pooling(pool, shape):
    steps, mask = run(build(pool=pool).steps, "__call__", BATCH)
    assert steps.shape == shape and mask.shape == shape[:2]
    # 11 frames fill 5 windows of 2 and 2 of 4; what is left over is not a step.
    np.testing.assert_array_equal(mask.sum(axis=1), [17 // pool[1], 11 // pool[1]])
    assert np.all(steps[1, 11 // pool[1] :] == 0)


@pytest.mark.parametrize("attention", ["linear", "sigmoid"])
def test_is_what_the_paper_says(attention):
    model = build(attention=attention, hidden_norm="none", pool=(3, 2))
    p = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), p)
    expected = []
    for frames, valid in zip(BATCH["frames"], VALID, strict=True):
        steps = plain.conv_steps(
            np.asarray(frames, np.float64)[:valid], p["steps"], (3, 2)
        )
        gates = np.einsum("td,dkg->ktg", steps, p["lstm"]["kernel_in"])
        gates = gates + p["lstm"]["bias"][:, None]
        forward = lstm(gates[0], p["lstm"]["kernel"][0])[0]
        backward = lstm(gates[1][::-1], p["lstm"]["kernel"][1])[0][::-1]
        h = np.concatenate([forward, backward], axis=1)
        score = h
        if attention == "sigmoid":
            hidden = p["attention"]["hidden"]
            score = sigmoid(h @ hidden["kernel"] + hidden["bias"])
        weights = plain.softmax((score @ p["attention"]["score"]["kernel"])[:, 0])
        dense = p["hidden"]["linear"]
        x = plain.leaky_relu(weights @ h @ dense["kernel"] + dense["bias"])
        expected.append(x @ p["dense"]["kernel"] + p["dense"]["bias"])
    # float32 against float64, some tens of operations.
    np.testing.assert_allclose(answer(model, BATCH), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"conv_norm": "batch", "conv_activation": "relu", "dropout": 0.4},
        {"conv_norm": "plain", "linear_norm": "plain", "hidden_norm": "plain"},
        {"convs": 1, "linear_norm": "batch", "linear_activation": "leaky_relu"},
        {"attention": "sigmoid", "hidden_norm": "none", "dtype": "bfloat16"},
    ],
)
def test_every_switch_trains_and_evaluates(changes):
    model = build(**changes)
    check_trains_and_evaluates(model, BATCH)
    check_gradients(model, BATCH)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention": "tanh"}, "attention: expected one of"),
        ({"conv_norm": "layer"}, "norm: expected one of"),
        ({"linear_activation": "gelu"}, "activation: expected one of"),
        ({"hidden_norm": "layer"}, "norm: expected one of"),
        ({"convs": 0}, "convs: expected 1 or more"),
        ({"pool": (10, 2)}, "pool: expected at least one cell .* 9 x 17"),
        ({"pool": (2, 18)}, "pool: expected at least one cell .* got 4 x 0"),
    ],
)
def test_impossible_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)
