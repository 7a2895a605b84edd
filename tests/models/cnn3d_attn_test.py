"""The poster's 3-D CNN: its exact count, lambda, a restatement in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import cnn3d_attn
from ser_jax.models.cnn3d_attn import Cnn3dAttn
from tests.reference import acrnn as plain

FULL = (300, 40, 3)  # frames, bands, channels
SMALL = (13, 9, 2)
VALID = (13, 7)


def build(shape=SMALL, classes=3, **changes):
    config = cnn3d_attn.get_config().model
    config.update({"width": 0.03, "convs": 2, **changes})
    return Cnn3dAttn(
        config,
        input_shapes={"frames": shape},
        num_classes=classes,
        rngs=nnx.Rngs(0),
    )


def batch():
    frames = np.random.default_rng(0).normal(size=(len(VALID), *SMALL))
    mask = np.arange(SMALL[0]) < np.array(VALID)[:, None]
    frames = np.where(mask[:, :, None, None], frames, 0).astype(np.float32)
    return {"frames": jnp.asarray(frames), "frame_mask": jnp.asarray(mask)}


@nnx.jit
def answer(model, inputs):
    """The model's logits, compiled as one."""
    return model(inputs)


@nnx.jit
def gradients(model, inputs):
    """Of something that every logit is in."""

    def loss(model):
        return jnp.square(model(inputs, rngs=nnx.Rngs(dropout=1))).sum()

    return nnx.grad(loss)(model)


def full_count(**changes):
    changes = {"width": 1.0, "convs": 6, **changes}
    model = nnx.eval_shape(lambda: build(FULL, 4, **changes))
    return sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))


def test_poster_has_its_parameters():
    # systems.md 4.1 by hand, weights + biases. Kernels have 5 * 3 = 15 cells.
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
    # systems.md 4.1: about 6.99 M with ACRNN's 4x2; 4.2: an attention width of 256.
    assert full_count(pool=(4, 2)) == 8_958_212 - 10 * 256 * 768 == 6_992_132
    assert full_count(attention_features=256) == 8_958_212 - 512 * (768 + 2)


def expected_logits(model, scale):
    state = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), state)
    hidden, score, rows = p["attention"]["hidden"], p["attention"]["score"], []
    for frames, valid in zip(batch()["frames"], VALID, strict=True):
        a = plain.conv_steps(np.asarray(frames, np.float64)[:valid], p["steps"], (2, 2))
        e = np.tanh(a @ hidden["kernel"] + hidden["bias"]) @ score["kernel"]
        c = plain.softmax(scale * e[:, 0]) @ a
        rows.append(c @ p["dense"]["kernel"] + p["dense"]["bias"])
    return rows


@pytest.mark.parametrize("scale", [0.3, 1.0, 20.0])
def test_is_what_the_poster_says(scale):
    model = build(attention_scale=scale)
    model.eval()
    # float32 against float64, some tens of operations.
    np.testing.assert_allclose(
        answer(model, batch()), expected_logits(model, scale), rtol=0, atol=3e-6
    )


def test_lambda_zero_is_the_mean_over_the_steps():
    model = build(attention_scale=0.0)
    model.eval()
    inputs = batch()

    @nnx.jit
    def both(model, inputs):
        steps, mask = model.steps(inputs["frames"], inputs["frame_mask"])
        mean = steps.sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return model.embed(inputs), mean

    got, mean = both(model, inputs)
    np.testing.assert_allclose(got, mean, rtol=1e-5, atol=1e-6)
    tilted = build(attention_scale=5.0)
    tilted.eval()
    assert np.abs(both(tilted, inputs)[0] - mean).max() > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {"conv_norm": "batch", "conv_activation": "relu"},
        {"linear_norm": "batch", "linear_activation": "leaky_relu"},
        {"dropout": 0.4, "convs": 1},
        {"dtype": "bfloat16"},
    ],
)
def test_every_switch_trains_and_evaluates(changes):
    model = build(**changes)
    model.train()
    grads = jax.tree.leaves(gradients(model, batch()))
    assert all(np.all(np.isfinite(x)) for x in grads) and any(map(np.any, grads))
    model.eval()
    logits = answer(model, batch())
    assert logits.shape == (2, 3) and logits.dtype == jnp.float32
    assert np.all(np.isfinite(logits))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv_norm": "layer"}, "norm: expected one of"),
        ({"conv_activation": "tanh"}, "activation: expected one of"),
        ({"convs": 0}, "convs: expected 1 or more"),
        ({"pool": (10, 2)}, "pool: expected at most 9 bands"),
    ],
)
def test_impossible_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)
