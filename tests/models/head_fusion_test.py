"""Head fusion: the released sizes, both heads against plain loops, its switches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import head_fusion
from ser_jax.layers.conv_blocks import ConvBlock, ConvSpec
from ser_jax.models.head_fusion import fuse_heads
from tests.models import common
from tests.models.common import answer, check_trains_and_evaluates

FULL = (63, 26, 1)  # frames, bands, channels of 2 s of `mfcc26`
SMALL = (23, 11, 2)
BATCH = common.random_batch((23, 14), SMALL)


def build(**changes):
    return common.build("head_fusion", SMALL, **{"width": 0.25} | changes)


def count(**changes):
    return common.count(common.abstract("head_fusion", FULL, 4, **changes))


# Weights and biases of the convolutions 10x2, 2x8 (1 to 8 channels), 3x3 to 32, 48, 64
# and 80, and scales and biases of their batch norms.
TRUNK = (
    (10 * 2 * 8 + 8)
    + (2 * 8 * 8 + 8)
    + (9 * 16 * 32 + 32)
    + (9 * 32 * 48 + 48)
    + (9 * 48 * 64 + 64)
    + (9 * 64 * 80 + 80)
    + 2 * (8 + 8 + 32 + 48 + 64 + 80)
)


def test_released_parameter_counts():
    assert TRUNK == 92_688 + 480
    # Four heads, each query, key and value: 80 to 64; then 64 to 4.
    assert count() == TRUNK + 4 * 3 * (80 * 64 + 64) + (64 * 4 + 4) == 155_636
    assert count(hidden=32) == TRUNK + 4 * 3 * (80 * 32 + 32) + (32 * 4 + 4) == 124_404
    # One map of 80 weights, four of 80, all with bias.
    assert count(head="acnn") == TRUNK + (80 + 1) + 4 * (80 + 1) == 93_573


def test_parallel_convolutions_make_25_by_62():
    mask, x = jnp.ones((1, 63), bool), jnp.ones((1, 26, 63, 1))
    for kernel in ((10, 2), (2, 8)):
        spec = ConvSpec(kernel=kernel, padding="floor")
        block = common.filled(
            nnx.eval_shape(lambda s=spec: ConvBlock(1, 8, s, rngs=nnx.Rngs(0)))
        )
        out, valid = nnx.eval_shape(lambda block: block(x, mask), block)
        assert out.shape == (1, 25, 62, 8) and valid.shape == (1, 62)
    model = common.build("head_fusion", FULL, 4, width=0.25)
    (weights,) = common.sown(model, common.random_batch((63, 63), FULL))["weights"]
    # 25 x 62 pooled twice; four heads of 64 / 4 channels.
    assert weights.shape == (2, 6, 15, 4, 16)


def test_floor_padding_is_the_same_convolution_without_its_last_row_and_column():
    x, mask = jnp.swapaxes(BATCH["frames"], 1, 2), BATCH["frame_mask"]
    blocks = [
        ConvBlock(
            2, 5, ConvSpec(kernel=(4, 8), padding=p, norm="none"), rngs=nnx.Rngs(1)
        )
        for p in ("same", "floor")
    ]
    (same, _), (floor, narrowed) = (block(x, mask) for block in blocks)
    np.testing.assert_array_equal(narrowed.sum(axis=1), [22, 13])
    np.testing.assert_allclose(floor[0], same[0, :-1, :-1], atol=1e-6)
    np.testing.assert_allclose(floor[1, :, :13], same[1, :-1, :13], atol=1e-6)
    assert not floor[1, :, 13:].any()


def test_one_frame_keeps_one_column():
    mask = jnp.array([[True, False, False], [False, False, False]])
    spec = ConvSpec(kernel=(2, 2), padding="floor")
    _, narrowed = ConvBlock(1, 2, spec, rngs=nnx.Rngs(0))(jnp.ones((2, 4, 3, 1)), mask)
    np.testing.assert_array_equal(narrowed, [[True, False], [False, False]])


def test_floor_padding_with_dilation_is_refused():
    with pytest.raises(ValueError, match="dilation: expected 1"):
        ConvSpec(kernel=(2, 2), padding="floor", dilation=2)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("softmax", ["channels", "positions"])
def test_fused_heads_are_a_loop_over_heads(softmax):
    query, key, value = random(3, 2, 7, 3, 5)  # B 2, L 7, N 3, D 5
    lengths = [7, 4]
    mask = np.arange(7) < np.array(lengths)[:, None]
    got, weights = fuse_heads(
        *map(jnp.asarray, (query, key, value)), jnp.asarray(mask), softmax=softmax
    )
    for row, length in enumerate(lengths):
        total = np.zeros(5)
        for head in range(3):
            q, k, v = (x[row, :length, head] for x in (query, key, value))
            terms = np.exp(q * k)
            axis = 1 if softmax == "channels" else 0
            p = terms / terms.sum(axis=axis, keepdims=True)
            np.testing.assert_allclose(weights[row, :length, head], p, atol=1e-6)
            fused = np.maximum(p * v, 0)
            total += fused.mean(axis=0) if softmax == "channels" else fused.sum(axis=0)
        np.testing.assert_allclose(got[row], total / 3, atol=1e-6)
    assert not weights[1, 4:].any()


@pytest.mark.parametrize("softmax", ["channels", "positions"])
def test_no_valid_cell_gives_zeros(softmax):
    x = jnp.asarray(random(2, 4, 3, 5))
    got, _ = fuse_heads(x, x, x, jnp.zeros((2, 4), bool), softmax=softmax)
    assert not got.any()


def test_acnn_is_the_product_of_two_maps_averaged():
    model = build(head="acnn")
    (weights,) = jax.tree.leaves(common.sown(model, BATCH))
    assert weights.shape == (2, 2, 5)  # (10, 22) pooled twice
    assert not weights[1, :, 3:].any()  # 14 frames: 13, 6, 3 columns
    x, mask = random(2, 6, 20, seed=1), np.arange(6) < np.array([[6], [4]])
    pooled, s = model._weighted(jnp.asarray(x), jnp.asarray(mask))
    kernel, bias = np.split(np.asarray(model.dense.kernel[...]), [20])
    for row, cells in enumerate([6, 4]):
        bottom_up = x[row, :cells] @ kernel + bias
        product = bottom_up * np.asarray(s)[row, :cells, None]
        np.testing.assert_allclose(
            model.classify(pooled)[row], product.mean(axis=0), atol=1e-5
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"head": "acnn", "dtype": "bfloat16"},
        {"softmax": "positions", "heads": 1, "hidden": 7},
        {"pools": ((2, 2), (1, 2), (2, 1), (1, 1), (1, 1))},
    ],
)
def test_switches_train_and_evaluate_whatever_the_padding(changes):
    model = build(**changes)
    check_trains_and_evaluates(model, BATCH)
    # Without the padding; bfloat16 has 8 bits and sums in another order.
    alone = {name: x[1:, :14] for name, x in BATCH.items()}
    atol = 1e-2 if "dtype" in changes else 1e-5
    np.testing.assert_allclose(
        answer(model, alone)[0], answer(model, BATCH)[1], atol=atol
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "gap"}, "head: expected one of"),
        ({"softmax": "heads"}, "softmax: expected one of"),
        ({"pools": ((2, 2),)}, "pools: expected 5 entries"),
        ({"pools": ((8, 2), (2, 2), (1, 1), (1, 1), (1, 1))}, "at least one cell"),
    ],
)
def test_impossible_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)


def test_paper_preset_is_the_papers_protocol():
    config = head_fusion.get_config("paper")
    assert config.protocol.split == config.published.split == "random_80_20"
    assert config.protocol.selection == "test" and config.protocol.happy == "exc"
    assert config.segment.short == "drop" and config.train.epochs == 50
    assert config.data.normalize == "none"
    # PyTorch's Adam, weight_decay=1e-6.
    assert (config.train.l2, config.train.weight_decay) == (1e-6, 0)
    # Nothing is known of the paper's network and recipe but its code.
    assert head_fusion.get_config("code") == config
