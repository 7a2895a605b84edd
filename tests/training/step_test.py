"""One step of one run: losses, schedules, masks, and what a step must not change."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from ser_jax.data.batches import Index, Tables
from ser_jax.training import augment, losses, optim, state, step
from ser_jax.training.batch import make_batch
from tests.quick_model import QuickModel


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))
    targets = losses.soft_targets(jnp.array([0, 2]), 3, 0.0)
    weight = jnp.array([1.0, 1.0, 2.0])
    found = losses.cross_entropy(logits, targets, weight)
    np.testing.assert_allclose(found, [np.log(2), 2 * np.log(10)], rtol=1e-6)


def test_label_smoothing_spreads_and_keeps_the_sum():
    np.testing.assert_allclose(
        losses.soft_targets(jnp.array([1]), 4, 0.2), [[0.05, 0.85, 0.05, 0.05]], 1e-6
    )


def test_balanced_weights_give_every_class_the_same_say():
    labels = np.array([0, 0, 0, 1, 2, 2])
    weights = losses.balanced_class_weights(labels, 3)
    np.testing.assert_allclose(weights, [2 / 3, 2.0, 1.0])
    assert weights[labels].sum() == pytest.approx(len(labels))


def _rate(train, epoch):
    return float(optim.learning_rate(train, jnp.int32(epoch * 10), jnp.int32(10)))


def test_schedules_at_known_epochs(tiny_config):
    train = tiny_config.train
    train.learning_rate, train.epochs, train.decay_rate = 0.1, 20, 0.01
    train.schedule = "time_decay"  # 100 steps: 0.1 / (1 + 1)
    assert _rate(train, 10) == pytest.approx(0.05)
    train.schedule = "cosine"
    assert _rate(train, 0) == pytest.approx(0.1)
    assert _rate(train, 10) == pytest.approx(0.05)
    assert _rate(train, 20) == pytest.approx(0.0, abs=1e-8)
    train.schedule, train.decay_epochs = "step", 10
    assert _rate(train, 9) == pytest.approx(0.1)
    assert _rate(train, 10) == pytest.approx(0.01)
    train.schedule, train.warmup_epochs = "constant", 2.0
    assert _rate(train, 0) == pytest.approx(0.1 / 20)
    assert _rate(train, 2) == pytest.approx(0.1)


def test_schedules_run_over_updates_where_they_count(tiny_config):
    """200 updates are 20 epochs of 10: the same rates, and no epoch plays a part."""
    train = tiny_config.train
    train.learning_rate, train.epochs, train.updates = 0.1, 0, 200
    for steps_per_epoch in (10, 7):

        def rate(update, steps=steps_per_epoch):
            return float(
                optim.learning_rate(train, jnp.int32(update), jnp.int32(steps))
            )

        train.schedule, train.warmup_updates = "cosine", 0
        assert [rate(0), rate(100)] == pytest.approx([0.1, 0.05])
        assert rate(200) == pytest.approx(0.0, abs=1e-8)
        train.warmup_updates = 20  # then half of the rest is at 20 + 90
        assert [rate(0), rate(110)] == pytest.approx([0.1 / 20, 0.05])
        train.schedule, train.decay_epochs, train.decay_updates = "step", 0, 30
        assert [rate(89), rate(90)] == pytest.approx([0.1 / 100, 0.1 / 1000])


def test_weight_decay_spares_biases(tiny_config):
    tiny_config.train.weight_decay = 0.5
    optimizer = optim.make_optimizer(tiny_config.train)
    params = {
        "kernel": jnp.ones((2, 3)),
        "bias": jnp.ones(3),
        "lstm": {"bias": jnp.ones((2, 4)), "kernel": jnp.ones((2, 3, 4))},
        "norm": {"scale": jnp.ones(3)},
    }
    zero = jax.tree.map(jnp.zeros_like, params)
    update, _ = optimizer.update(zero, optimizer.init(params), params)
    np.testing.assert_allclose(update["kernel"], 0.5)
    np.testing.assert_allclose(update["lstm"]["kernel"], 0.5)
    for spared in (update["bias"], update["lstm"]["bias"], update["norm"]["scale"]):
        np.testing.assert_allclose(spared, 0.0)


def test_l2_is_part_of_the_gradient_and_spares_nothing(tiny_config):
    """As PyTorch's Adam: its first step has the sign of gradient + l2 x weight."""
    tiny_config.train.l2 = 0.5
    optimizer = optim.make_optimizer(tiny_config.train)
    params = {"kernel": jnp.array([[2.0, -2.0]]), "bias": jnp.array([4.0, -4.0])}
    gradient = {"kernel": jnp.array([[-0.5, -0.5]]), "bias": jnp.array([-3.0, 3.0])}
    update, _ = optimizer.update(gradient, optimizer.init(params), params)
    np.testing.assert_allclose(update["kernel"], [[1, -1]], rtol=1e-5)
    np.testing.assert_allclose(update["bias"], [-1, 1], rtol=1e-5)


def _setup(config):
    optimizer = optim.make_optimizer(config.train)
    centers = jnp.zeros((3, 5)) if config.train.center_weight else None
    model = QuickModel(
        config.model,
        input_shapes={"frames": (7, 5, 1)},
        num_classes=3,
        rngs=nnx.Rngs(0),
    )
    averaged = config.train.ema_decay > 0
    graphdef, initial = state.create(model, optimizer, centers, averaged=averaged)
    make = functools.partial(make_batch, config=config, window_frames=7)
    train_step = step.make_train_step(graphdef, config, make)
    constants = state.Constants(
        mean=jnp.zeros((5, 1)),
        std=jnp.ones((5, 1)),
        class_weight=jnp.ones(3),
        steps_per_epoch=jnp.int32(4),
        seed=jnp.uint32(7),
    )
    return jax.jit(train_step), initial, constants, graphdef


def _index(weight):
    return Index(
        utterance=jnp.array([1, 0, 2, 1]),
        start=jnp.array([0, 3, 9, 20]),
        num_frames=jnp.array([7, 7, 4, 7]),
        label=jnp.array([0, 1, 2, 1]),
        weight=jnp.asarray(weight, jnp.float32),
    )


def _buffer():
    return jnp.asarray(
        np.random.default_rng(1).standard_normal((31, 5, 1)), jnp.float32
    )


def _batch(config, constants, index, **tables):
    tables = Tables(_buffer(), **tables)
    make = functools.partial(make_batch, config=config, window_frames=7)
    return jax.jit(make)(tables, index, constants)


def test_a_batch_is_cut_normalised_and_padded_with_zeros(tiny_config):
    *_, constants, _ = _setup(tiny_config)
    constants = constants._replace(
        mean=jnp.full((5, 1), 2.0), std=jnp.full((5, 1), 4.0)
    )
    buffer = _buffer()
    batch = _batch(tiny_config, constants, _index(np.ones(4)))
    assert batch["frames"].shape == (4, 7, 5, 1)
    expected = (buffer[9:13] - 2.0) / (4.0 + 1e-5)
    np.testing.assert_allclose(batch["frames"][2, :4], expected, rtol=1e-5)
    np.testing.assert_array_equal(batch["frames"][2, 4:], 0.0)
    np.testing.assert_array_equal(batch["frame_mask"].sum(1), [7, 7, 4, 7])


def test_padding_before_the_norm_counts_as_speech(tiny_config):
    *_, constants, _ = _setup(tiny_config)
    constants = constants._replace(
        mean=jnp.full((5, 1), 2.0), std=jnp.full((5, 1), 4.0)
    )
    tiny_config.data.pad = "before_norm"
    batch = _batch(tiny_config, constants, _index(np.ones(4)))
    # The padding's value is (0 - mean) / std, and no frame is masked.
    np.testing.assert_allclose(batch["frames"][2, 4:], -0.5, rtol=1e-5)
    np.testing.assert_array_equal(batch["frame_mask"].sum(1), [7, 7, 7, 7])


def test_a_batch_looks_up_words_and_speakers_by_utterance(tiny_config):
    *_, constants, _ = _setup(tiny_config)
    vectors = jnp.array([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]])
    tokens = jnp.array([[1, 2, 0], [2, 0, 0], [0, 0, 0]])
    speakers = jnp.arange(12.0).reshape(3, 4)
    batch = _batch(
        tiny_config,
        constants,
        _index(np.ones(4)),
        word_vectors=vectors,
        tokens=tokens,
        speaker_embeddings=speakers,
    )
    # Utterances 1, 0, 2, 1 have one word, two words, none, one word.
    np.testing.assert_array_equal(batch["word_mask"].sum(1), [1, 2, 0, 1])
    np.testing.assert_array_equal(batch["words"][1], [[1, 2], [3, 4], [0, 0]])
    np.testing.assert_array_equal(batch["words"][0, 0], [3, 4])
    np.testing.assert_array_equal(batch["speaker_embedding"][:, 0], [4, 0, 8, 4])


def _one_step(config, weight, initial=None):
    train_step, first, constants, _ = _setup(config)
    index = _index(weight)
    totals = state.Totals.zero()
    tables = Tables(_buffer())
    return first, train_step(tables, initial or first, totals, index, constants)


def test_a_step_without_examples_changes_nothing(tiny_config):
    tiny_config.train.weight_decay = 0.1
    before, (after, totals) = _one_step(tiny_config, np.zeros(4))
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(old, new)
    assert totals.count == 0 and totals.step == 0 and totals.bad_step == -1


def test_fillers_do_not_count(tiny_config):
    """A slot at weight 0 adds neither loss nor gradient."""
    _, (_, all_four) = _one_step(tiny_config, np.ones(4))
    _, (_, three) = _one_step(tiny_config, [1, 1, 1, 0])
    assert float(three.count) == 3 and float(all_four.count) == 4
    assert float(three.loss) < float(all_four.loss)


def test_steps_repeat_exactly_and_randomness_follows_the_seed(tiny_config):
    _, (first, _) = _one_step(tiny_config, np.ones(4))
    _, (again, _) = _one_step(tiny_config, np.ones(4))
    np.testing.assert_array_equal(
        first.params["dense"]["kernel"][...], again.params["dense"]["kernel"][...]
    )
    train_step, initial, constants, _ = _setup(tiny_config)
    index = _index(np.ones(4))
    totals = state.Totals.zero()
    constants = constants._replace(seed=jnp.uint32(8))
    other, _ = train_step(Tables(_buffer()), initial, totals, index, constants)
    assert not np.array_equal(
        first.params["dense"]["kernel"][...], other.params["dense"]["kernel"][...]
    )


def test_the_step_is_adam_on_the_mean_loss(tiny_config):
    """Against optax.adam applied to a loss written out here."""
    tiny_config.train.schedule = "constant"
    tiny_config.model.head_dropout = 0.0
    train_step, initial, constants, graphdef = _setup(tiny_config)
    index = _index([1, 1, 0, 1])
    batch = _batch(tiny_config, constants, index)
    key = jax.random.fold_in(jax.random.key(constants.seed), 0)

    def loss(params):
        model = nnx.merge(graphdef, params, initial.stats, copy=True)
        model.train()
        logits = model(batch, rngs=nnx.Rngs(jax.random.split(key)[0]))
        losses_ = optax.softmax_cross_entropy_with_integer_labels(logits, index.label)
        return (losses_[0] + losses_[1] + losses_[3]) / 3

    @jax.jit  # operation by operation, all of this compiles for seconds
    def step_by_hand(params):
        adam = optax.adam(tiny_config.train.learning_rate)
        update, _ = adam.update(jax.grad(loss)(params), adam.init(params))
        return optax.apply_updates(params, update)

    expected = step_by_hand(initial.params)
    totals = state.Totals.zero()
    found, _ = train_step(Tables(_buffer()), initial, totals, index, constants)
    # Adam divides tiny gradients by themselves: rounding shows at a part in 1e4.
    np.testing.assert_allclose(
        found.params["dense"]["kernel"][...],
        expected["dense"]["kernel"][...],
        rtol=1e-4,
        atol=1e-6,
    )
    assert not np.array_equal(
        found.stats["norm"]["mean"][...], initial.stats["norm"]["mean"][...]
    )


def test_the_average_of_weights_is_what_predicts_and_changes_no_step(tiny_config):
    """Two steps by hand: the decay is 1 / 10, then 2 / 11, until it is `ema_decay`."""
    _, (plain, _) = _one_step(tiny_config, np.ones(4))
    tiny_config.train.ema_decay = 0.15
    train_step, initial, constants, _ = _setup(tiny_config)
    index, tables, states = _index(np.ones(4)), Tables(_buffer()), [initial]
    for _ in range(2):
        now, _ = train_step(tables, states[-1], state.Totals.zero(), index, constants)
        states.append(now)
    for group, path in (("params", ("dense", "kernel")), ("stats", ("norm", "mean"))):

        def leaf(tree, path=path):
            return tree[path[0]][path[1]][...]

        raw = [leaf(getattr(x, group)) for x in states]
        one = 0.1 * raw[0] + 0.9 * raw[1]
        np.testing.assert_allclose(leaf(states[1].weights[group]), one, rtol=1e-6)
        two = 0.15 * one + 0.85 * raw[2]
        np.testing.assert_allclose(leaf(states[2].weights[group]), two, rtol=1e-6)
        np.testing.assert_array_equal(raw[1], leaf(getattr(plain, group)))
    stopped, _ = train_step(
        tables, states[2], state.Totals.zero(), _index(np.zeros(4)), constants
    )
    for old, new in zip(*map(jax.tree.leaves, (states[2], stopped)), strict=True):
        np.testing.assert_array_equal(old, new)


def test_center_loss_pulls_and_centers_follow(tiny_config):
    """lambda / 2 of the squared distance; the centre moves by alpha of the mean gap."""
    tiny_config.train.center_weight, tiny_config.train.center_rate = 0.4, 0.25
    _, (after, with_centers) = _one_step(tiny_config, [1, 1, 0, 1])
    tiny_config.train.center_weight = 0.0
    before, (plain, without) = _one_step(tiny_config, [1, 1, 0, 1])
    assert before.centers is None and plain.centers is None
    _, initial, constants, graphdef = _setup(tiny_config)
    model = nnx.merge(graphdef, initial.params, initial.stats, copy=True)
    model.train()
    key = jax.random.fold_in(jax.random.key(constants.seed), 0)
    batch = _batch(tiny_config, constants, _index(np.ones(4)))
    f = model.embed(batch, rngs=nnx.Rngs(jax.random.split(key)[0]))
    distance = 0.5 * (f**2).sum(1)[jnp.array([0, 1, 3])].sum()
    np.testing.assert_allclose(
        with_centers.loss - without.loss, 0.4 * distance, rtol=1e-4
    )
    # Labels 0, 1, 2 (weight 0), 1: class 2 has no member and stays.
    np.testing.assert_allclose(after.centers[0], 0.25 * f[0], rtol=1e-5)
    np.testing.assert_allclose(after.centers[1], 0.125 * (f[1] + f[3]), rtol=1e-5)
    np.testing.assert_array_equal(after.centers[2], 0.0)


def test_squared_error_by_hand(tiny_config):
    outputs = jnp.array([[0.5, -1.0, 2.0]])
    found = losses.squared_error(outputs, jnp.array([[1.0, 0.0, 0.0]]))
    np.testing.assert_allclose(found, [(0.25 + 1 + 4) / 3], rtol=1e-6)
    _, (_, plain) = _one_step(tiny_config, np.ones(4))
    tiny_config.train.squared_error_weight = 0.5
    _, (_, more) = _one_step(tiny_config, np.ones(4))
    assert float(more.loss) > float(plain.loss)


def test_the_first_bad_step_is_remembered(tiny_config):
    train_step, initial, constants, _ = _setup(tiny_config)
    index = _index(np.ones(4))
    good = Tables(_buffer())
    bad = Tables(_buffer().at[0, 0, 0].set(jnp.nan))
    current, totals = initial, state.Totals.zero()
    for tables in (good, good, bad, good, bad):
        current, totals = train_step(tables, current, totals, index, constants)
    assert int(totals.bad_step) == 2 and int(totals.step) == 5


def test_mixup_keeps_the_example_dominant_and_targets_a_distribution():
    frames = jnp.arange(6.0)[:, None, None, None] * jnp.ones((6, 3, 2, 1))
    mask = jnp.arange(3) < jnp.array([1, 2, 3, 1, 2, 3])[:, None]
    targets = jnp.eye(6)
    mixed, mixed_mask, mixed_targets = augment.mixup(
        frames, mask, targets, alpha=0.8, key=jax.random.key(0)
    )
    np.testing.assert_allclose(mixed_targets.sum(1), 1.0, rtol=1e-6)
    assert np.all(np.diag(mixed_targets) >= 0.5)
    # The features are mixed by the very shares of the targets.
    shares = np.asarray(mixed_targets) @ np.arange(6.0)
    np.testing.assert_allclose(mixed[:, 0, 0, 0], shares, rtol=1e-5)
    assert np.all(mixed_mask >= mask)


@pytest.mark.parametrize("axis", [1, 2])
def test_masks_are_one_stretch_of_bounded_width(axis):
    frames = jnp.ones((64, 11, 13, 2))
    masked = augment.mask_stretch(frames, axis=axis, widest=4, key=jax.random.key(3))
    other = tuple({1, 2, 3} - {axis})
    hidden = np.asarray(masked == 0).all(axis=other)
    assert np.array_equal(hidden, np.asarray(masked == 0).any(axis=other))
    widths = hidden.sum(1)
    assert set(widths) == {0, 1, 2, 3, 4}
    edges = np.diff(np.pad(hidden.astype(int), ((0, 0), (1, 1)))) != 0
    assert np.all(edges.sum(1) <= 2)
    assert hidden[:, 0].any() and hidden[:, -1].any()
