"""AACNN: the published sizes, the released code's count, padding, training steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.layers.area_module import AreaAttention, AreaSpec
from ser_jax.layers.conv_blocks import pool_mask
from tests.models import common
from tests.models.common import answer, check_trains_and_evaluates, count, run

SMALL = (21, 10, 2)  # frames, bands, channels
BATCH = common.random_batch((21, 13), SMALL)


def build(shape=SMALL, **changes):
    return common.build("area_attn", shape, **{"width": 0.25} | changes)


def full_count(**changes):
    return count(common.abstract("area_attn", (81, 128, 1), 4, **changes))


def test_released_layout_has_the_published_parameter_count():
    released = {"layout": "rows", "scale": "none", "projection": "none"}
    # Convolutions 92,992, batch norms 512, dense 102,400 * 4 + 4.
    assert full_count(**released) == 92_992 + 512 + 409_604 == 503_108
    model = common.abstract("area_attn", (81, 128, 1), 4, **released)
    assert model.map_shape == (64, 20)


def test_default_adds_three_projections():
    assert full_count() == 503_108 + 3 * 80 * 80


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({}, (5, 5)),  # (2 x 10, 21) halved twice
        ({"merge": "channel"}, (2, 5)),
        ({"pools": (True, True, True, False, False)}, (2, 2)),
        ({"pools": (False, (2, 1), (1, 2), (1, 1), (5, 1))}, (2, 10)),
    ],
)
def test_map_sizes_follow_merge_and_pools(changes, shape):
    model = common.abstract("area_attn", SMALL, width=0.25, **changes)
    assert model.map_shape == shape
    model.eval()
    assert nnx.eval_shape(lambda model: model(BATCH), model).shape == (2, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"layout": "rows", "key": "max", "value": "max"},
        {"layout": "flat", "key": "sample", "dtype": "bfloat16"},
        {"key": "features", "value": "mean", "head": "mean", "head_dropout": 0.3},
        {"top_k_areas": 5, "projection": "none", "scale": "none", "head": "time_mean"},
    ],
)
def test_every_switch_trains_and_evaluates(changes):
    check_trains_and_evaluates(build(**changes), BATCH)


@pytest.mark.parametrize("head", ["time_mean", "mean"])
def test_heads_that_average_ignore_padding_and_its_length(head):
    model = build(head=head)
    logits = answer(model, BATCH)
    mask = BATCH["frame_mask"][:, :, None, None]
    dirty = BATCH | {"frames": jnp.where(mask, BATCH["frames"], 9.0)}
    np.testing.assert_allclose(answer(model, dirty), logits, rtol=1e-5, atol=1e-6)
    alone = {name: x[1:, :13] for name, x in BATCH.items()}
    np.testing.assert_allclose(answer(model, alone), logits[1:], rtol=1e-4, atol=1e-5)


def test_pooled_mask_keeps_whole_windows_and_the_first():
    mask = jnp.arange(7) < jnp.array([7, 5, 4, 1, 0])[:, None]
    expected = [[1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(pool_mask(mask, 2), np.array(expected, bool))


def test_maps_leave_only_when_asked_for():
    model = build()
    graphdef, state = nnx.split(model)
    capture = nnx.capture(nnx.Intermediate)(lambda model: model(BATCH))
    silent = jax.eval_shape(lambda state: capture(nnx.merge(graphdef, state))[1], state)
    assert not jax.tree.leaves(silent)
    attention = common.sown(model, BATCH)["attention"]
    (maps,), (mass,) = attention["attention"], attention["mass"]
    sizes = model.attention.sizes((5, 5))
    assert maps.shape == (2, 5, 5, 25) and mass.shape == (2, len(sizes), 5, 5)
    # 13 of 21 frames: columns 0-2 of 5 hold valid cells.
    assert np.all(maps[1, :, 3:] == 0) and np.all(maps[1, :, :3] > 0)
    assert np.all(mass[1, :, :, 3:] == 0) and np.all(mass[1, :, :, :3] > 0)
    valid = np.tile(np.arange(5) < 3, 5)
    np.testing.assert_allclose(
        mass.sum(axis=1),
        [maps[0].mean(axis=-1), maps[1][..., valid].mean(axis=-1)],
        rtol=1e-5,
    )


def test_heads_split_the_features_and_rows_stay_in_their_row():
    layer = AreaAttention(
        8, AreaSpec(max_area=(2, 2), layout="rows"), num_heads=2, rngs=nnx.Rngs(0)
    )
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 8)).astype(np.float32)
    other = x.copy()
    other[:, 1] += 1
    before, after = (run(layer, "__call__", jnp.asarray(a)) for a in (x, other))
    np.testing.assert_array_equal(before[:, [0, 2]], after[:, [0, 2]])
    assert before.shape == x.shape and np.abs(before - after)[:, 1].max() > 1e-3
    with pytest.raises(ValueError, match="num_heads: expected a divisor"):
        AreaAttention(8, AreaSpec(), num_heads=3, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"merge": "both"}, "merge: expected one of"),
        ({"head": "last"}, "head: expected one of"),
        ({"layout": "cube"}, "layout: expected one of"),
        ({"projection": "conv"}, "projection: expected one of"),
        ({"pools": (True,)}, "pools: expected 5 entries"),
        ({"pools": (False, (2, 8), (2, 8), (1, 1), (1, 1))}, "at least one cell"),
    ],
)
def test_impossible_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)


def test_training_without_randomness_is_refused():
    model = build()
    model.train()
    with pytest.raises(ValueError, match="dropout"):
        nnx.eval_shape(lambda model: model(BATCH), model)


def test_a_call_may_say_itself_whether_it_is_training():
    spec = AreaSpec(max_area=(2, 2), dropout_rate=0.5)
    layer = AreaAttention(8, spec, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 5, 8)), jnp.float32)
    quiet = layer(x, deterministic=True)
    layer.eval()
    np.testing.assert_array_equal(layer(x), quiet)
    noisy = layer(x, deterministic=False, rngs=nnx.Rngs(dropout=1))
    assert np.abs(noisy - quiet).max() > 1e-3
