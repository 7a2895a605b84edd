"""ASRNN: sizes, where its windows start, which of them count, switches, presets."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import asrnn
from tests.models import common
from tests.models.common import check_trains_and_evaluates, count, run

FULL = (300, 40, 3)
SMALL = (47, 10, 3)  # frames, bands, channels
BATCH = common.random_batch((47, 30), SMALL)


def build(**changes):
    return common.build("asrnn", SMALL, **{"width": 0.05} | changes)


def steps(model, valid, length, seed=0):
    """Random steps for the sliding part alone, and their mask."""
    size = model.step.linear.out_features
    x = np.random.default_rng(seed).normal(size=(len(valid), length, size))
    mask = jnp.arange(length) < jnp.array(valid)[:, None]
    return jnp.asarray(x, jnp.float32), mask


def windows(model, x, mask):
    return run(model, "windows", x, mask)


@pytest.fixture(scope="module")
def model():
    return build(width=0.02)


def test_published_size():
    model = common.abstract("asrnn", FULL, 4)
    parts = {
        "conv1": 9 * 3 * 64 + 64,
        "conv2": 9 * 64 * 128 + 128,
        "conv3": 9 * 128 * 128 + 128,
        "step": (40 // 2) * 128 * 768 + 768 + 2 * 768,
        "sliding": 2 * 4 * 128 * (768 + 128 + 1),
        "lstm": 4 * 256 * (256 + 256 + 1),
        "attention": 256 + 1 + 1,  # one row of W, its bias, u
        "hidden": 512 * 64 + 64 + 2 * 64,
        "dense": 64 * 4 + 4,
    }
    assert {name: count(getattr(model, name)) for name in parts} == parts
    assert count(model) == sum(parts.values()) == 3_668_934


def test_three_seconds_make_29_windows():
    model = common.abstract("asrnn", FULL)
    inputs = common.random_batch((300, 40), FULL)
    model.eval()

    def sizes(model):
        steps, mask = model.steps(inputs)
        return steps, *model.windows(steps, mask)

    x, out, counts = nnx.eval_shape(sizes, model)
    assert x.shape == (2, 150, 768)
    assert out.shape == (2, 29, 2 * 128) and counts.shape == (2, 29)


def test_window_i_starts_at_step_5i(model):
    x, mask = steps(model, (150,), 150)
    before, counts = windows(model, x, mask)
    assert before.shape[1] == 29 and np.all(counts)
    for marker in (0, 4, 5, 12, 70, 139, 140, 149):
        after, _ = windows(model, x.at[:, marker].add(2.0), mask)
        moved = np.flatnonzero(np.any(np.asarray(before != after), axis=(0, 2)))
        # Step 5i is the first of window i and in the second half of window i - 1.
        holding = [i for i in range(29) if 5 * i <= marker < 5 * i + 10]
        assert moved.tolist() == holding, marker


def test_windows_that_bring_nothing_new_do_not_count(model):
    valid = (0, 1, 9, 10, 11, 15, 16, 29)
    x, mask = steps(model, valid, 29)
    out, counts = windows(model, x, mask)
    for row, n in enumerate(valid):
        expected = 0 if n == 0 else max(1, math.ceil((n - 10) / 5) + 1)
        assert counts[row].sum() == expected
        assert np.all(counts[row, :expected])
        if n in (10, 15, 16):  # cut to its length, the sequence has just these windows
            short, _ = windows(model, x[row : row + 1, :n], mask[row : row + 1, :n])
            assert short.shape[1] == expected
            np.testing.assert_allclose(out[row, :expected], short[0], atol=1e-6)


def test_last_step_has_the_backward_half_of_one_step_only(model):
    final, last = model, build(width=0.02, window_summary="last_step")
    x, mask = steps(final, (20, 17), 20)
    cells = final.sliding(x, mask)[0].shape[-1] // 2
    a, b = windows(final, x, mask)[0], windows(last, x, mask)[0]
    np.testing.assert_allclose(a[..., :cells], b[..., :cells], atol=1e-6)
    assert np.abs(a - b)[..., cells:].max() > 1e-3
    # The last valid steps of row 1's windows are 9, 14 and 16.
    moved = windows(last, x.at[1, 10].add(2.0), mask)[0]
    np.testing.assert_allclose(moved[1, :, cells:], b[1, :, cells:], atol=1e-6)
    moved = windows(last, x.at[1, 16].add(2.0), mask)[0]
    change = np.abs(moved - b)[1, :, cells:].max(axis=-1)
    assert np.all(change[:2] == 0) and change[2] > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {"window_summary": "last_step", "attention_combine": "mean", "dropout": 0.4},
        {"window_size": 6, "window_step": 6, "pool": (4, 4), "dtype": "bfloat16"},
    ],
)
def test_every_switch_trains_and_evaluates(changes):
    check_trains_and_evaluates(build(**changes), BATCH)


def test_both_levels_reach_the_embedding():
    model = build()
    before = run(model, "embed", BATCH)
    size = model.attention.hidden.in_features  # of the attended half
    kernel = model.hidden.linear.kernel
    for rows in (slice(0, size), slice(size, None)):
        values = kernel[...]
        kernel[...] = values.at[rows].set(0)
        assert np.abs(run(model, "embed", BATCH) - before).max() > 1e-6
        kernel[...] = values


def test_configs_say_what_the_sources_say():
    config = asrnn.get_config()
    assert config.published.ua == 0.5467
    assert config.train.center_weight == config.train.squared_error_weight == 0
    code = asrnn.get_config("code")
    assert code.train.squared_error_weight == 0 and code.train.beta1 == 0.5
    # 5000 batches of 30 out of 4 classes of 300.
    assert code.train.epochs * 4 * 300 / code.train.batch_size == 5000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window_summary": "mean"}, "window_summary: expected one of"),
        ({"attention_combine": "max"}, "combine: expected one of"),
        ({"window_step": 11}, "window_step: expected 1 to 10"),
        ({"window_step": 0}, "window_step: expected 1 to 10"),
        ({"pool": (11, 2)}, "pool: expected at least one cell"),
    ],
)
def test_impossible_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)
