"""An encoder that learns inside of the model: adapters on it, or all of its layers."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax import models
from ser_jax.encoders import load, tuned
from ser_jax.encoders.stack import Hidden, hide
from ser_jax.errors import InputError
from ser_jax.explain import explain
from ser_jax.export import wave_model
from ser_jax.features import audio
from ser_jax.features.recipe import WaveformSpec
from ser_jax.predict import trained_model
from ser_jax.predict.recognizer import Recognizer
from ser_jax.training import experiment as experiment_lib
from ser_jax.training import loop, optim
from ser_jax.training.config_check import check_config
from ser_jax.training.trainer import Trainer
from ser_jax.workdir import checkpoint
from tests import encoder_folder
from tests.training.common import curves_of, posteriors_of, stop_after


@pytest.fixture(scope="module")
def folder(once):
    return once("encoder", encoder_folder.write)


@pytest.fixture(scope="module")
def config(tones, datasets, folder):
    """Adapters; changed by tests that need the other way."""
    return encoder_folder.tuned_config(tones, datasets, folder)


@pytest.fixture(scope="module")
def experiment(config):
    return experiment_lib.prepare(config)


@pytest.fixture(scope="module")
def workdir(once, config):
    return once(
        "adapted_workdir", lambda path: loop.train_and_evaluate(config, str(path))
    )


@pytest.fixture(scope="module")
def model(config):
    return model_of(config)


def changed(config, **keys):
    new = config.copy_and_resolve_references()
    for key, value in keys.items():
        group, name = key.split("__")
        new[group][name] = value
    return new


def names(tree) -> set[str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in leaves}


def model_of(config):
    @nnx.jit
    def make(weights):
        return models.make(
            config,
            input_shapes={"frames": (60, 1, 320)},
            num_classes=3,
            rngs=nnx.Rngs(0),
            weights=weights,
        )

    return make(models.encoder_weights(config))


@nnx.jit
def run(model, batch, key=None):
    """What the encoder gives the head, and logits in evaluation."""
    rngs = None if key is None else nnx.Rngs(key)
    states, mask = model.encoder(batch["frames"], batch["frame_mask"], rngs=rngs)
    return states, mask, model(batch) if key is None else None


def speech(*lengths):
    """Frames [B, T, 1, 320] of noise and their mask."""
    rng = np.random.default_rng(0)
    spec, longest = WaveformSpec(), max(lengths)
    rows = [spec.frames(rng.uniform(-0.3, 0.3, n).astype(np.float32)) for n in lengths]
    num = spec.num_frames(longest)
    frames = np.zeros((len(rows), num, 1, 320), np.float32)
    mask = np.zeros((len(rows), num), bool)
    for row, own in enumerate(rows):
        frames[row, : len(own)], mask[row, : len(own)] = own, True
    return {"frames": jnp.asarray(frames), "frame_mask": jnp.asarray(mask)}


def test_at_first_an_adapted_encoder_is_the_frozen_one(model, folder):
    model.eval()
    batch = speech(19200, 6400)
    got, mask, _ = run(model, batch)
    samples = batch["frames"].reshape(2, -1) / 32768
    lengths = jnp.array([19200, 6400])
    frozen = load.load(str(folder))
    states, steps = nnx.jit(lambda m, *x: m(*x, (1, 2)))(frozen, samples, lengths)
    assert mask.sum(axis=1).tolist() == (-(-steps // 5)).tolist()
    first = states[:, 0, :5].mean(axis=1)
    np.testing.assert_allclose(got[0, 0], first, atol=1e-5)


def test_a_padded_utterance_is_what_it_is_alone(model):
    model.eval()
    together = alone = speech(19200, 6000)
    alone = jax.tree.map(lambda x: x[1:, :19], alone)
    # Nothing is read behind the end.
    noisy = jnp.where(together["frame_mask"][..., None, None], together["frames"], 9.0)
    got = run(model, together | {"frames": noisy})[2][1]
    np.testing.assert_allclose(got, run(model, alone)[2][0], atol=1e-4)


def test_steps_are_hidden_in_training_alone(model):
    batch = speech(19200, 6400)
    model.train()
    a, b = (run(model, batch, jax.random.key(i))[0] for i in (0, 1))
    assert not np.allclose(a, b)
    model.eval()
    np.testing.assert_array_equal(*(run(model, batch)[0] for _ in "ab"))


def test_channels_are_hidden_in_training_alone_and_nothing_learns_for_them(config):
    share = {"encoder__mask_share": 0.0, "encoder__mask_channel_share": 0.5}
    model, batch = model_of(changed(config, **share)), speech(9600)
    assert model.encoder.hidden is None
    a, b = (run(model, batch, jax.random.key(i))[0] for i in (0, 1))
    assert not np.allclose(a, b)
    model.eval()
    np.testing.assert_array_equal(*(run(model, batch)[0] for _ in "ab"))


def test_hidden_steps_are_a_vector_and_hidden_channels_0_by_hand():
    x = jnp.arange(1.0, 13).reshape(1, 4, 3)
    steps, channels = jnp.array([[False, True, False, True]]), jnp.eye(3)[1:2] > 0
    hidden = Hidden(steps, jnp.array([-1.0, -2, -3]), channels)
    # The fourth step is padding.
    found = hide(x, jnp.array([3]), hidden)
    assert found[0].tolist() == [[1, 0, 3], [-1, 0, -3], [7, 0, 9], [10, 0, 12]]


def test_hidden_stretches_have_their_length_and_share():
    hidden = np.asarray(tuned.stretches((50, 1000), 0.2, 5, jax.random.key(0)))
    # Stretches overlap: 1 - (1 - 0.2 / 5)^5 of the steps, but for the first four.
    assert hidden.mean() == pytest.approx(1 - 0.96**5, abs=0.01)
    edges = np.diff(np.pad(hidden[:, :-5].astype(int), ((0, 0), (1, 1))), axis=1)
    begins, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    inside = ends[:, 1] < hidden.shape[1] - 5
    assert (ends - begins)[inside, 1].min() == 5


def test_only_adapters_and_the_head_learn_and_are_kept(workdir, config):
    stored = checkpoint.read_newest(workdir).arrays
    kept = {name for name in stored if name.startswith("best/params/encoder/trunk")}
    assert len(kept) == 2 * 4 * 2  # layers, projections, A and B
    assert all("/lora/" in name for name in kept)
    assert not any("/trunk/" in x and "lora" not in x for x in stored)
    for name in kept:
        assert len(stored[name]) == 2  # runs
        assert np.abs(stored[name]).max() > 0, name


def test_answers_are_those_of_the_evaluation(workdir, tones):
    with (workdir / "predictions.csv").open() as file:
        row = next(csv.DictReader(file))
    recognizer = Recognizer.from_workdir(workdir, f"{row['fold']},0")
    path = tones.parent / f"{row['utterance']}.wav"
    answer = recognizer(audio.load(path, 16_000), 16_000)
    expected = [float(row[f"p_{name}"]) for name in answer.classes]
    np.testing.assert_allclose(answer.probabilities, expected, atol=1e-4)


def test_an_exported_program_answers_as_the_evaluation(workdir, tones):
    trained = trained_model.load(workdir)
    samples = audio.load(next(tones.parent.glob("*.wav")), 16_000)
    expected = Recognizer(trained)(samples, 16_000).probabilities
    program = jax.jit(wave_model.make(trained))
    # Behind the end may stand anything.
    padded = jnp.asarray(np.pad(samples, (0, 777), constant_values=0.5)[None])
    got = program(padded, jnp.array([len(samples)]))
    np.testing.assert_allclose(got[0], expected, atol=1e-4)


def test_attention_and_saliency_lie_over_time(workdir, tones, tmp_path):
    name = str(next(tones.parent.glob("*.wav")))
    explain.explain_files(workdir, [name], out=str(tmp_path))
    assert list(tmp_path.glob("*.png"))


def test_a_killed_training_goes_on_to_the_same_numbers(
    workdir, config, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        with pytest.raises(loop.Stopped):
            loop.train_and_evaluate(config, str(tmp_path))
    loop.train_and_evaluate(config, str(tmp_path))
    np.testing.assert_array_equal(posteriors_of(tmp_path), posteriors_of(workdir))
    assert curves_of(tmp_path) == curves_of(workdir)


def trained(config, experiment, steps=2):
    """The states [R, ...] before and after some steps, and the trainer."""
    trainer = Trainer(config, experiment)
    before = trainer.placement.collect(trainer.states)
    plan = trainer.plan(trainer.initial_snapshot().records)
    for number, call in enumerate(trainer.calls(plan)):
        if number < steps:
            trainer.train(call)
    return before, trainer.placement.collect(trainer.states), trainer


def test_neither_neighbours_nor_computing_again_change_a_run(config, experiment):
    def after(**keys):
        return jax.tree.leaves(trained(changed(config, **keys), experiment)[1])

    plain = after(train__runs_per_device="loop")  # each by itself
    other = after(train__runs_per_device="vmap", encoder__remat=True)
    for a, b in zip(plain, other, strict=True):
        # Sums go in another order, and Adam's first steps have one size, however
        # small the gradient.
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_all_layers_learn_each_at_its_rate_but_not_the_front(config, experiment):
    config = changed(
        config,
        encoder__tuning="full",
        encoder__layer_decay=0.5,
        encoder__learning_rate_factor=0.1,
        encoder__mask_share=0.0,
        train__weight_decay=0.0,
        train__grad_clip_norm=0.0,
        train__warmup_epochs=0.0,
        train__schedule="constant",
    )
    before, after, trainer = trained(config, experiment, steps=1)
    assert not any("/front/convs/" in x for x in names(before.params))
    trunk = before.params["encoder"]["trunk"], after.params["encoder"]["trunk"]
    rate = config.train.learning_rate
    # Adam's first step has the rate as its size.
    for path, factor in (
        (("layers", 1, "ffn_out", "kernel"), 0.1),
        (("layers", 0, "ffn_out", "kernel"), 0.05),
        (("front", "project", "kernel"), 0.025),
    ):
        a, b = trunk
        for part in path:
            a, b = a[part], b[part]
        moved = np.abs(b.get_value() - a.get_value()).max()
        assert moved == pytest.approx(rate * factor, rel=0.05), path
    shared = trainer._shared[1]
    assert all("/front/convs/" in x for x in names(shared))


def test_memory_is_as_the_documentation_says(config, folder):
    """Per run an adapter of rank r takes r (in + out) numbers, and two moments each."""
    model = nnx.eval_shape(lambda: model_of(config))
    params, shared = nnx.state(model, nnx.Param), nnx.state(model, models.Pretrained)
    rank, width, layers = config.encoder.lora_rank, 24, 2
    adapters = params["encoder"]
    count = sum(x.size for x in jax.tree.leaves(adapters))
    hidden = width if config.encoder.mask_share else 0
    assert count == layers * 4 * rank * 2 * width + hidden
    whole = nnx.state(load.load(str(folder)))
    assert sum(x.size for x in jax.tree.leaves(shared)) == sum(
        x.size for x in jax.tree.leaves(whole)
    )
    optimizer = optim.make_optimizer(config.train, config.encoder)
    moments = jax.eval_shape(optimizer.init, params)
    own = sum(x.size for x in jax.tree.leaves(params))
    assert sum(x.size for x in jax.tree.leaves(moments)) == 2 * own + 1  # a counter


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("encoder.tuning", "frozen", "encoder.tuning"),
        ("encoder.tuning", "half", "lora, full"),
        ("encoder.digest", "12345678", "that were trained with"),
        ("encoder.lora_rank", 0, "encoder.lora_rank"),
        ("encoder.layers", (0,), "encoder.layers"),
        ("encoder.layer_decay", 1.5, "encoder.layer_decay"),
        ("data.normalize", "fold", "data.normalize"),
        ("data.pad", "before_norm", "data.pad"),
        ("data.vtlp_copies", 2, "vtlp"),
        ("data.recipe", "logmel64", "data.recipe"),
        ("model.name", "acrnn", "model.name"),
    ],
)
def test_what_does_not_go_together_is_refused(config, key, value, named):
    group, name = key.split(".")
    with pytest.raises(InputError, match=named):
        check_config(changed(config, **{f"{group}__{name}": value}))
