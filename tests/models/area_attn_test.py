"""AACNN: the published sizes, the released code's count, padding, training steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from ser_jax.layers.area_attention import AreaAttention, AreaSpec
from ser_jax.layers.conv_blocks import pool_mask
from ser_jax.models.area_attn import AreaAttn
from tests.models.common import answer, check_trains_and_evaluates, count, random_batch

DEFAULTS = {
    "width": 1.0,
    "dtype": "float32",
    "layout": "grid2d",
    "max_area": (3, 3),
    "key": "mean",
    "value": "sum",
    "scale": "sqrt_d",
    "projection": "dense",
    "merge": "freq",
    "attention_dropout": 0.5,
    "attention_implementation": "xla",
    "top_k_areas": 0,
    "pools": (False, True, True, False, False),
    "head": "flatten",
    "head_dropout": 0.0,
    "bn_momentum": 0.99,
}
SMALL = (21, 10, 2)  # frames, bands, channels


def build(shape=SMALL, classes=3, **changes):
    config = ConfigDict({**DEFAULTS, "width": 0.25, **changes})
    return AreaAttn(
        config,
        input_shapes={"frames": shape},
        num_classes=classes,
        rngs=nnx.Rngs(0),
    )


def batch(valid=(21, 13), shape=SMALL, seed=0):
    return random_batch(valid, shape, seed)


def test_released_layout_has_the_published_parameter_count():
    model = build(
        (81, 128, 1), 4, width=1.0, layout="rows", scale="none", projection="none"
    )
    # systems.md 1.4: convolutions 92,992, batch norms 512, dense 102,400 * 4 + 4.
    assert count(model) == 92_992 + 512 + 409_604 == 503_108
    assert model.map_shape == (64, 20)


def test_default_adds_three_projections():
    assert count(build((81, 128, 1), 4, width=1.0)) == 503_108 + 3 * 80 * 80


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
    model = build(**changes)
    model.eval()
    assert model.map_shape == shape
    assert answer(model, batch()).shape == (2, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"layout": "rows"},
        {"layout": "flat"},
        {"key": "max", "value": "max"},
        {"key": "sample"},
        {"key": "features", "value": "mean"},
        {"top_k_areas": 5},
        {"projection": "none", "scale": "none"},
        {"dtype": "bfloat16"},
        {"head": "mean", "head_dropout": 0.3},
        {"head": "time_mean"},
    ],
)
def test_every_switch_trains_and_evaluates(changes):
    model = build(**changes)
    check_trains_and_evaluates(model, batch(), 3)


@pytest.mark.parametrize("head", ["flatten", "time_mean", "mean"])
def test_padding_and_company_do_not_change_an_answer(head):
    model = build(head=head)
    model.eval()
    both = batch()
    dirty = jnp.where(both["frame_mask"][:, :, None, None], both["frames"], 9.0)
    np.testing.assert_allclose(
        answer(model, both | {"frames": dirty}),
        answer(model, both),
        rtol=1e-5,
        atol=1e-6,
    )
    alone = {name: x[1:] for name, x in both.items()}
    np.testing.assert_allclose(
        answer(model, alone), answer(model, both)[1:], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("head", ["mean", "time_mean"])
def test_padding_to_a_longer_window_changes_nothing(head):
    model = build(head=head)
    model.eval()
    both = batch((13, 13))
    cut = {name: x[:, :13] for name, x in both.items()}
    np.testing.assert_allclose(
        answer(model, cut), answer(model, both), rtol=1e-4, atol=1e-5
    )


def test_padding_does_not_enter_the_batch_statistics():
    statistics = []
    for frames in (13, 21):
        model = build(attention_dropout=0.0)
        full = batch((13, 13))
        model.train()
        if frames == 13:
            model = build((13, 10, 2), attention_dropout=0.0)
        answer(model, {name: x[:, :frames] for name, x in full.items()})
        statistics.append(nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)))
    short, long = (jax.tree.leaves(s) for s in statistics)
    for a, b in zip(short, long, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_pooled_mask_keeps_whole_windows_and_the_first():
    mask = jnp.arange(7) < jnp.array([7, 5, 4, 1, 0])[:, None]
    expected = [[1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(pool_mask(mask, 2), np.array(expected, bool))


def train_step(model):
    """The split-once, merge-inside step of design.md, for one run."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    labels = jnp.array([0, 2])

    def step(params, rest, inputs, key):
        def loss(params):
            merged = nnx.merge(graphdef, params, rest, copy=True)
            logits = merged(inputs, rngs=nnx.Rngs(dropout=key))
            taken = jax.nn.log_softmax(logits)[jnp.arange(2), labels]
            return -taken.mean(), nnx.split(merged, nnx.Param, ...)[2]

        (value, new_rest), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.01 * g, params, grads), new_rest, value

    return step, params, rest


def test_jitted_and_stacked_steps_agree():
    model = build()
    model.train()
    step, params, rest = train_step(model)
    key = jax.random.key(4)
    single = jax.jit(step)(params, rest, batch(), key)
    assert jax.tree.structure(single[1]) == jax.tree.structure(rest)
    changed = jax.tree.map(lambda a, b: np.abs(a - b).max() > 0, single[1], rest)
    assert all(jax.tree.leaves(changed))

    def twice(tree):
        return jax.tree.map(lambda x: jnp.stack([x, x]), tree)

    stacked = jax.jit(jax.vmap(step))(
        twice(params), twice(rest), twice(batch()), jnp.stack([key, key])
    )
    for got, want in zip(
        jax.tree.leaves(stacked), jax.tree.leaves(single), strict=False
    ):
        np.testing.assert_allclose(got[1], want, rtol=1e-3, atol=1e-5)


def test_a_batch_of_padding_only_stays_finite():
    model = build()
    model.train()
    step, params, rest = train_step(model)
    result = jax.jit(step)(params, rest, batch((0, 0)), jax.random.key(0))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(result))


def test_maps_leave_only_when_asked_for():
    model = build()
    model.eval()
    run = nnx.capture(nnx.Intermediate)(lambda model, inputs: model(inputs))
    assert not jax.tree.leaves(run(model, batch())[1])
    model.set_attributes(sow_maps=True)
    _, sown = run(model, batch())
    (maps,) = sown["attention"]["attention"].get_value()
    (mass,) = sown["attention"]["mass"].get_value()
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
    changed = x.copy()
    changed[:, 1] += 1
    before, after = layer(jnp.asarray(x)), layer(jnp.asarray(changed))
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
        model(batch())


def test_a_call_may_say_itself_whether_it_is_training():
    spec = AreaSpec(max_area=(2, 2), dropout_rate=0.5)
    layer = AreaAttention(8, spec, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 5, 8)), jnp.float32)
    quiet = layer(x, deterministic=True)
    layer.eval()
    np.testing.assert_array_equal(layer(x), quiet)
    noisy = layer(x, deterministic=False, rngs=nnx.Rngs(dropout=1))
    assert np.abs(noisy - quiet).max() > 1e-3
