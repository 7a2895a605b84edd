"""Windows: how many, where, and never past the end."""

import types

import numpy as np
import pytest

from ser_jax.data import segments
from ser_jax.errors import InputError
from ser_jax.features.spec import RECIPES

SPEC = RECIPES["logmel128"]
RATE_HZ = 16000


def rule(short="pad", window_s=2.0):
    return types.SimpleNamespace(window_s=window_s, short=short)


def cut(durations_s, *, step_s=1.0, spec=SPEC, **more):
    samples = np.round(np.array(durations_s) * RATE_HZ).astype(np.int64)
    return segments.cut(samples, spec, rule(**more), step_s=step_s)


def test_two_seconds_are_81_frames():
    assert segments.window_frames(SPEC, 2.0) == 81
    # 32000 samples: 1 + ceil((32000 - 400) / 160) = 198.5 -> 199.
    assert segments.window_frames(RECIPES["logmel40_3d"], 2.0) == 199


# A start k * step counts while k * step + 2 s < duration (strictly).
DURATIONS_S = (0.73, 2.0, 2.5, 3.0, 3.1, 3.3, 4.0)


@pytest.mark.parametrize(
    ("step_s", "counts"),
    [(1.0, (0, 0, 1, 1, 2, 2, 2)), (0.4, (0, 0, 2, 3, 3, 4, 5))],
)
def test_counts_follow_the_released_code(step_s, counts):
    dropped = cut(DURATIONS_S, step_s=step_s, short="drop")
    got = np.bincount(dropped.utterance, minlength=len(DURATIONS_S))
    assert got.tolist() == list(counts)
    assert dropped.padded.size == 0
    padded = cut(DURATIONS_S, step_s=step_s, short="pad")
    got = np.bincount(padded.utterance, minlength=len(DURATIONS_S))
    assert got.tolist() == [max(1, n) for n in counts]
    assert padded.padded.tolist() == [0, 1]


def test_one_sample_more_than_the_window_is_a_window():
    got = segments.cut(np.array([32000, 32001]), SPEC, rule("drop"), step_s=1.0)
    assert got.utterance.tolist() == [1]


def test_starts_and_frames():
    got = cut((2.9, 0.5, 3.3), step_s=0.4)
    # 0.4 s = 6400 samples = 16 hops; 0.5 s = 8000 samples = 21 frames.
    assert got.utterance.tolist() == [0, 0, 0, 1, 2, 2, 2, 2]
    assert got.start_frame.tolist() == [0, 16, 32, 0, 0, 16, 32, 48]
    assert got.num_frames.tolist() == [81, 81, 81, 21, 81, 81, 81, 81]
    assert got.utterance.dtype == got.start_frame.dtype == np.int32


@pytest.mark.parametrize("name", ["logmel128", "logmel40_3d"])
@pytest.mark.parametrize("step_s", [1.0, 0.4, 0.013])
@pytest.mark.parametrize("window_s", [2.0, 0.37])
def test_never_past_the_frames_of_the_utterance(name, step_s, window_s):
    spec = RECIPES[name]
    rng = np.random.default_rng(0)
    edges = round(window_s * RATE_HZ) + np.arange(-400, 401, 7)
    lengths = np.concatenate([rng.integers(500, 80000, 300), edges])
    got = segments.cut(lengths, spec, rule(window_s=window_s), step_s=step_s)
    frames = np.array([spec.num_frames(int(n)) for n in lengths])
    assert (got.start_frame + got.num_frames <= frames[got.utterance]).all()
    assert (got.num_frames <= segments.window_frames(spec, window_s)).all()
    assert (got.num_frames > 0).all()
    assert set(got.utterance) == set(range(len(lengths)))


def test_take_keeps_positions():
    got = cut((2.9, 0.5, 3.3, 0.6), step_s=1.0).take((2, 1))
    assert got.utterance.tolist() == [1, 2, 2]
    assert got.start_frame.tolist() == [0, 0, 40]
    assert got.num_frames.tolist() == [21, 81, 81]
    assert got.padded.tolist() == [1]
    assert cut((2.9,)).take(()).utterance.size == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"short": "keep"}, "pad, drop"),
        ({"window_s": 0.0}, "window_s"),
        ({"step_s": 0.0}, "step_s"),
    ],
)
def test_a_rule_nobody_can_use_is_refused(changes, words):
    with pytest.raises(InputError, match=words):
        cut((3.0,), **changes)
