"""Samples in, probabilities out: against the evaluation restated in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import cnn3d_attn
from ser_jax.export import wave_model
from ser_jax.features import offline, segments
from ser_jax.layers import area_streaming
from ser_jax.layers.area_attention import area_attention
from ser_jax.scoring import voting
from tests.untrained import untrained

RATE_HZ = 16_000
SECONDS = (0.04, 0.5, 0.53, 0.9, 1.31)  # 0.5 is a window


def recordings(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal(round(s * RATE_HZ)) * rng.uniform(0.01, 0.3)).astype("f4")
        for s in SECONDS
    ]


def padded(rows, size: int, seed: int = 0):
    """Samples [B, N] with noise behind the lengths [B]."""
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal((len(rows), size)).astype(np.float32)
    for row, values in zip(samples, rows, strict=True):
        row[: len(values)] = values
    return samples, np.array([len(x) for x in rows], np.int32)


def restated(trained, model, samples: np.ndarray) -> np.ndarray:
    """What the evaluation of a training would answer, one window after the other."""
    config, spec = trained.config, trained.spec
    frames = offline.features(samples, spec)[..., : config.data.channels]
    full = segments.window_frames(spec, config.segment.window_s)
    cut = segments.cut(
        np.array([len(samples)]),
        spec,
        config.segment,
        step_s=config.segment.test_step_s,
    )
    answers = []
    for r in range(len(trained.runs)):
        weights, mean, std = trained.run_weights(r)
        scores = []
        for start, num in zip(cut.start_frame, cut.num_frames, strict=True):
            x = np.zeros((1, full, *mean.shape), np.float32)
            real = np.arange(full)[None] < num
            if config.data.pad == "before_norm":
                x[0, :num] = frames[start : start + num]
                x, real = (x - mean) / (std + 1e-5), np.ones_like(real)
            else:
                x[0, :num] = (frames[start : start + num] - mean) / (std + 1e-5)
            batch = jax.tree.map(jnp.asarray, {"frames": x, "frame_mask": real})
            scores.append(jax.nn.softmax(model(weights, batch)[0]))
        owner = np.zeros(len(scores), int)
        answers.append(voting.vote(np.array(scores), owner, 1, config.segment.vote)[0])
    return np.mean(answers, axis=0)


@pytest.fixture
def config():
    """A network that compiles fast and takes any number of bands and frames."""
    config = cnn3d_attn.get_config()
    config.model.convs, config.model.width = 1, 0.05
    config.data.recipe, config.data.channels = "logmel64", 2
    config.segment.window_s, config.segment.test_step_s = 0.5, 0.1
    config.segment.vote, config.segment.rule = "mean", "slide"
    return config


CASES = [
    (False, "slide", "max", "before_norm"),
    (False, "tile", "mean", "after_norm"),
    (False, "first_last", "mean", "after_norm"),
    (False, "whole", "mean", "after_norm"),
    (True, "slide", "mean", "after_norm"),  # slices at known places
    (True, "first_last", "max", "before_norm"),  # a slice at a place that is computed
    (True, "first", "mean", "before_norm"),
    (True, "whole", "mean", "after_norm"),
]


@pytest.mark.parametrize("plain", [False, True])
def test_a_gain_and_an_offset_change_nothing_at_unit_level(config, plain):
    config.data.level, config.segment.rule = "unit", "tile"
    trained = untrained(config)
    answer = jax.jit(wave_model.make(trained, plain=plain))
    samples, lengths = padded(recordings(), 21_003)
    changed = np.where(np.arange(21_003) < lengths[:, None], 0.3 * samples + 0.2, 0)
    expected = answer(samples, lengths)
    assert np.ptp(expected, axis=0).max() > 0.02
    np.testing.assert_allclose(
        answer(changed.astype(np.float32), lengths), expected, atol=2e-4
    )


@pytest.mark.parametrize(("plain", "rule", "vote", "pad"), CASES)
def test_answers_as_the_evaluation(config, plain, rule, vote, pad):
    config.segment.rule, config.segment.vote, config.data.pad = rule, vote, pad
    trained = untrained(config)
    rows = recordings()
    got = jax.jit(wave_model.make(trained, plain=plain))(*padded(rows, 21_003))
    model = jax.jit(lambda weights, batch: trained.merge(weights)(batch))
    expected = np.stack([restated(trained, model, row) for row in rows])
    # Float32 features beside librosa's float64: 1e-5 of a log, hardly damped.
    np.testing.assert_allclose(got, expected, atol=2e-5)
    assert np.ptp(expected, axis=0).max() > 0.02  # the rows do differ


@pytest.mark.parametrize("plain", [False, True])
def test_neither_padding_nor_other_rows_matter(config, plain):
    trained = untrained(config)
    answer = jax.jit(wave_model.make(trained, plain=plain))
    rows = recordings()
    size = max(map(len, rows))
    together = answer(*padded(rows, size))
    np.testing.assert_array_equal(answer(*padded(rows, size, seed=5)), together)
    company = recordings(seed=9)
    company[2] = rows[2]
    other = answer(*padded(company, size))
    np.testing.assert_array_equal(other[2], together[2])
    alone = answer(*padded(rows[1:2], size + 4_000))
    # Another size is another program: products are summed in another order.
    np.testing.assert_allclose(alone[0], together[1], atol=1e-6)


def test_lengths_outside_are_the_nearest_inside(config):
    answer = jax.jit(wave_model.make(untrained(config)))
    samples = np.stack([row[:9_000] for row in recordings()[-2:]])
    beyond = answer(samples, np.array([0, 99_999], np.int32))
    np.testing.assert_array_equal(
        beyond, answer(samples, np.array([1, 9_000], np.int32))
    )


def test_written_out_area_attention_is_not_written_block_by_block(monkeypatch):
    monkeypatch.setitem(area_streaming.BLOCK_BYTES, "cpu", 64)
    grid = jnp.ones((2, 3, 5, 4))
    query = jnp.ones((2, 7, 4))
    with jax.disable_jit():
        program = jax.make_jaxpr(lambda q, x: area_attention(q, x, x, max_area=(2, 2)))(
            query, grid
        )
    text = str(program)
    assert text.count(" exp ") == 4  # one per area size
    assert "while[" not in text and "scan[" not in text
