"""ADRNN: sizes, the feature that center loss reads, switches, the sources' settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import adrnn
from ser_jax.layers.center_loss import center_loss
from tests.models import common
from tests.models.common import check_trains_and_evaluates, count, run

FULL = (300, 40, 3)
SMALL = (23, 10, 3)  # frames, bands, channels
BATCH = common.random_batch((23, 14), SMALL)


def build(**changes):
    return common.build("adrnn", SMALL, **{"width": 0.05} | changes)


def lstm_params(ins, features):
    """Both directions; input kernel, recurrent kernel and one bias of four gates."""
    return 2 * 4 * features * (ins + features + 1)


@pytest.mark.parametrize(
    ("preset", "cells", "total"), [("", 256, 6_958_022), ("code", 128, 5_760_710)]
)
def test_published_sizes(preset, cells, total):
    model = common.abstract("adrnn", FULL, 4, preset)
    conv = 9 * 3 * 128 + 128
    dilated = 2 * (9 * 128 * 128 + 128 + 2 * 128) + (9 * 128 * 256 + 256 + 2 * 256)
    skip = 9 * 128 * 256 + 256 + 2 * 256
    step = (40 // 2) * 256 * 768 + 768 + 2 * 768
    attention = 2 * cells + 1 + 1  # one row of W, its bias, u
    hidden = 2 * cells * 64 + 64 + 2 * 64
    parts = [conv, dilated + skip, step, lstm_params(768, cells), attention, hidden]
    parts.append(64 * 4 + 4)
    layers = [model.conv, model.block, model.step, model.lstm, model.attention]
    layers += [model.hidden, model.dense]
    assert [count(layer) for layer in layers] == parts
    assert count(model) == sum(parts) == total


def test_maps_have_the_published_sizes():
    model = common.abstract("adrnn", FULL, 4)
    inputs = common.random_batch((300, 40), FULL)

    def maps(model):
        x, mask = jnp.swapaxes(inputs["frames"], 1, 2), inputs["frame_mask"]
        pooled, mask = model.conv(x, mask)
        return pooled, model.block(pooled, mask), model.embed(inputs)

    model.eval()
    pooled, (out, mask), features = nnx.eval_shape(maps, model)
    assert pooled.shape == (2, 20, 75, 128) and out.shape == (2, 20, 75, 256)
    assert mask.shape == (2, 75) and features.shape == (2, 64)  # center loss reads 64


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_combine": "sum", "attention_hidden": 60, "dropout": 0.4},
        {"pool": (4, 2), "dtype": "bfloat16"},
    ],
)
def test_every_switch_trains_and_evaluates(changes):
    check_trains_and_evaluates(build(**changes), BATCH)


def test_the_feature_is_normalized_and_a_linear_layer_reads_it():
    model = build(width=0.1)
    model.train()
    features = run(model, "embed", common.random_batch((23, 21, 14, 9, 5), SMALL, 1))
    # Batch norm comes last, with scale 1 and a bias; features that are nearly constant
    # over the batch come out smaller because of its epsilon.
    bias = model.hidden.norm.bias[...]
    np.testing.assert_allclose(features.mean(axis=0), bias, atol=1e-5)
    assert 0 < (features - bias).std() < 1.001
    logits = features @ model.dense.kernel[...] + model.dense.bias[...]
    np.testing.assert_allclose(model.classify(features), logits, rtol=1e-5, atol=1e-6)


def test_center_loss_reaches_every_layer_below_the_output():
    model = build()
    model.train()
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    inputs = common.random_batch((23, 18, 14), SMALL)
    label = jnp.array([0, 2, 0])

    @common.fast_jit
    @jax.grad
    def gradients(params):
        merged = nnx.merge(graphdef, params, rest, copy=True)
        features = merged.embed(inputs)
        centers = jnp.ones((3, features.shape[1]))
        return center_loss(features, label, centers).mean()

    grads = nnx.to_pure_dict(gradients(params))
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(grads))
    assert np.all(grads.pop("dense")["kernel"] == 0)
    for layer in ("conv", "block", "step", "lstm", "hidden"):
        assert max(np.abs(g).max() for g in jax.tree.leaves(grads[layer])) > 0, layer


def test_configs_say_what_the_sources_say():
    config = adrnn.get_config()
    assert config.published.ua == 0.5496
    assert (config.train.center_weight, config.train.center_rate) == (0.01, 0.5)
    assert config.train.squared_error_weight == 0
    code = adrnn.get_config("code")
    assert (code.train.center_weight, code.train.squared_error_weight) == (0, 0.01)
    assert (code.train.beta1, code.train.beta2) == (0.5, 0.999)
    assert code.train.learning_rate == 1e-5 and code.train.per_class == 300
    # 5000 batches of 30 out of 4 classes of 300.
    assert code.train.epochs * 4 * 300 / code.train.batch_size == 5000
    assert code.model.lstm_features == 128


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_combine": "max"}, "combine: expected one of"),
        ({"pool": (11, 4)}, "pool: expected at least one cell"),
        ({"pool": (2, 24)}, "pool: expected at least one cell"),
    ],
)
def test_impossible_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)
