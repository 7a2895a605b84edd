"""Windows: how many, where, and never past the end."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from ser_jax.features import segments
from ser_jax.features.spec import RECIPES

SPEC = RECIPES["logmel128"]
RATE_HZ = 16000


def rule(short="pad", window_s=2.0, rule="slide"):
    return ConfigDict({"window_s": window_s, "short": short, "rule": rule})


def cut(durations_s, *, step_s=1.0, spec=SPEC, dense=(), **more):
    samples = np.round(np.array(durations_s) * RATE_HZ).astype(np.int64)
    return segments.cut(samples, spec, rule(**more), step_s=step_s, dense=dense)


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


ACRNN = RECIPES["logmel40_3d"]


def of_frames(*frames):
    """Samples of the longest utterance with so many 25/10 ms frames."""
    return np.array([400 + 160 * (n - 1) for n in frames])


def places(samples, name, *, step_s=3.0, **more):
    """(utterance, start, frames) of every window; 3.01 s are 300 frames."""
    got = segments.cut(
        samples, ACRNN, rule(rule=name, window_s=3.01), step_s=step_s, **more
    )
    columns = (got.utterance, got.start_frame, got.num_frames)
    return list(zip(*(c.tolist() for c in columns), strict=True)), got.padded.tolist()


def test_tiles_cover_the_utterance_and_the_last_ends_with_it():
    got, padded = places(of_frames(299, 300, 301, 640), "tile")
    assert got == [
        *((0, 0, 299), (1, 0, 300), (2, 0, 300), (2, 1, 300)),
        *((3, 0, 300), (3, 300, 300), (3, 340, 300)),
    ]
    assert padded == [0]


def test_tiles_of_older_workdirs_pad_the_last():
    got, padded = places(of_frames(299, 300, 301, 640), "tile_padded")
    assert got == [
        *((0, 0, 299), (1, 0, 300), (2, 0, 300), (2, 300, 1)),
        *((3, 0, 300), (3, 300, 300), (3, 600, 40)),
    ]
    assert padded == [0]


def test_tiles_leave_no_gap_and_hold_speech():
    """A window of 3 s has 299 frames, a step of 3 s would be 300."""
    samples = of_frames(*range(290, 1200))
    segment = rule(rule="tile_padded", window_s=3.0)
    got = segments.cut(samples, ACRNN, segment, step_s=3.0)
    assert got.num_frames.min() > 0
    assert set(np.unique(got.start_frame) % 299) == {0}
    total = np.bincount(got.utterance, got.num_frames)
    np.testing.assert_array_equal(total, range(290, 1200))
    anchored = segments.cut(samples, ACRNN, rule(rule="tile", window_s=3.0), step_s=3.0)
    ends = anchored.start_frame + anchored.num_frames
    last = np.flatnonzero(np.diff(anchored.utterance, append=-1))
    np.testing.assert_array_equal(ends[last], range(290, 1200))
    assert set(anchored.num_frames) == {*range(290, 300)}
    gaps = anchored.start_frame[1:] - ends[:-1]
    assert gaps[np.diff(anchored.utterance) == 0].max() <= 0


def test_first_and_last_windows_of_the_acrnn_code():
    got, padded = places(of_frames(120, 300, 301, 640), "first_last")
    assert got == [
        *((0, 0, 120), (1, 0, 300), (2, 0, 300), (2, 1, 300)),
        *((3, 0, 300), (3, 340, 300)),
    ]
    assert padded == [0]


def test_dense_utterances_slide_by_a_hundred_frames():
    samples = of_frames(640, 640, 120, 399, 400)
    got, _ = places(samples, "first_last", step_s=1.0, dense=(1, 2, 3, 4))
    counts = np.bincount([u for u, _, _ in got]).tolist()
    assert counts == [2, 4, 1, 1, 2]
    assert [start for u, start, _ in got if u == 1] == [0, 100, 200, 300]


def test_one_window_and_the_whole_utterance():
    samples = of_frames(120, 300, 640)
    assert places(samples, "first")[0] == [(0, 0, 120), (1, 0, 300), (2, 0, 300)]
    got, padded = places(samples[:2], "whole")
    assert got == [(0, 0, 120), (1, 0, 300)] and padded == []


def test_the_set_sizes_of_the_acrnn_code():
    """Sessions 1-4 train, 5F validates, 5M tests: 2280 turns in all.

    The corpus is not here; from the class counts and the published numbers of
    segments follow how many turns have more than 300 frames, and the rule must give
    back each number from durations on both sides of that border.
    """
    short, long = of_frames(300, 301)
    turns = {"neu": 812, "sad": 475, "ang": 258}  # sessions 1-4, hap apart
    published = {"neu": 1262, "sad": 799, "ang": 433}
    for label, count in turns.items():
        over = published[label] - count
        samples = np.array([long] * over + [short] * (count - over))
        assert len(places(samples, "first_last", step_s=1.0)[0]) == published[label]
    for count, total in ((259, 420), (298, 436)):  # 5M and 5F
        over = total - count
        samples = np.array([long] * over + [short] * (count - over))
        assert len(places(samples, "first_last")[0]) == total
    assert sum(published.values()) + 434 == 2928


@pytest.mark.parametrize("name", segments.RULES)
def test_rules_say_the_same_of_traced_lengths(name):
    """As exported programs use them, where short recordings are padded."""
    layout = segments.Layout.of(ACRNN, 0.5, 0.13)
    lengths = np.r_[1:200:7, 7_900:8_100, 8_100:30_000:173]
    frames = np.array([ACRNN.num_frames(n) for n in lengths.tolist()])
    cut = segments.cut(lengths, ACRNN, rule(rule=name, window_s=0.5), step_s=0.13)
    last = np.bincount(cut.utterance) - 1
    count, start = jax.jit(
        lambda *given: (
            segments.RULES[name].count(*given[:2], layout),
            segments.RULES[name].start(given[2], given[1], layout),
        )
    )(lengths, frames, last)
    np.testing.assert_array_equal(count.clip(1), last + 1)
    is_last = np.append(np.diff(cut.utterance) > 0, True)
    np.testing.assert_array_equal(start, cut.start_frame[is_last])


def test_bucket_sizes_hold_every_window():
    rng = np.random.default_rng(3)
    lengths = rng.integers(70, 531, 200)
    sizes = segments.bucket_sizes(lengths, 531, 4)
    assert len(sizes) == 4 and list(sizes) == sorted(sizes)
    assert sizes[-1] >= lengths.max() and sizes[-1] <= 531
    assert all(s % 8 == 0 or s == 531 for s in sizes)
    shares = np.bincount(np.searchsorted(sizes, lengths)) / len(lengths)
    assert shares.min() > 0.15  # quantiles: about a quarter each
    assert segments.bucket_sizes(np.array([9, 9]), 100, 4) == (16,)
