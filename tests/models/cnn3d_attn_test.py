"""The poster's 3-D CNN: its exact count, lambda, a restatement in NumPy."""

import jax
import numpy as np
import pytest
from flax import nnx

from tests.models import common
from tests.models.common import answer, check_gradients, check_trains_and_evaluates, run
from tests.reference import acrnn as plain

FULL = (300, 40, 3)  # frames, bands, channels
SMALL = (13, 9, 2)
VALID = (13, 7)
BATCH = common.random_batch(VALID, SMALL)


def build(**changes):
    return common.build("cnn3d_attn", SMALL, **{"width": 0.03, "convs": 2} | changes)


def full_count(**changes):
    return common.count(common.abstract("cnn3d_attn", FULL, 4, **changes))


def test_poster_has_its_parameters():
    # Weights + biases by hand. Kernels have 5 * 3 = 15 cells.
    convs = (
        (15 * 3 * 128 + 128)  # 5,888
        + (15 * 128 * 256 + 256)  # 491,776
        + 4 * (15 * 256 * 256 + 256)  # 3,933,184
    )
    linear = 20 * 256 * 768 + 768  # 3,932,928; 20 bands after pooling
    attention = (768 * 768 + 768) + 768  # 591,360: W, b, u
    dense = 768 * 4 + 4  # 3,076
    assert full_count() == convs + linear + attention + dense == 8_958_212


def test_other_sizes_of_the_sources():
    # ACRNN's code pools 4x2; public versions of AFCN have an attention width of 256.
    assert full_count(pool=(4, 2)) == 8_958_212 - 10 * 256 * 768 == 6_992_132
    assert full_count(attention_features=256) == 8_958_212 - 512 * (768 + 2)


def expected_logits(model, scale):
    state = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), state)
    hidden, score, rows = p["attention"]["hidden"], p["attention"]["score"], []
    for frames, valid in zip(BATCH["frames"], VALID, strict=True):
        a = plain.conv_steps(np.asarray(frames, np.float64)[:valid], p["steps"], (2, 2))
        e = np.tanh(a @ hidden["kernel"] + hidden["bias"]) @ score["kernel"]
        c = plain.softmax(scale * e[:, 0]) @ a
        rows.append(c @ p["dense"]["kernel"] + p["dense"]["bias"])
    return rows


@pytest.mark.parametrize("scale", [0.3, 1.0, 20.0])
def test_is_what_the_poster_says(scale):
    model = build(attention_scale=scale)
    # float32 against float64, some tens of operations.
    np.testing.assert_allclose(
        answer(model, BATCH), expected_logits(model, scale), rtol=0, atol=3e-6
    )


def test_lambda_zero_is_the_mean_over_the_steps():
    model = build(attention_scale=0.0)
    steps, mask = run(model.steps, "__call__", BATCH)
    mean = steps.sum(axis=1) / mask.sum(axis=1, keepdims=True)
    pooled = run(model, "embed", BATCH)
    np.testing.assert_allclose(pooled, mean, rtol=1e-5, atol=1e-6)
    tilted = build(attention_scale=5.0)
    assert np.abs(run(tilted, "embed", BATCH) - mean).max() > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"conv_norm": "batch", "conv_activation": "relu", "dtype": "bfloat16"},
            marks=pytest.mark.slow,
        ),
        {"linear_norm": "batch", "linear_activation": "leaky_relu", "dropout": 0.4},
    ],
)
def test_every_switch_trains_and_evaluates(changes):
    model = build(**changes)
    check_trains_and_evaluates(model, BATCH)
    check_gradients(model, BATCH)
