"""Orders of windows: complete, repeatable, and never out of their own fold."""

import numpy as np
import pytest

from ser_jax.data import batches
from ser_jax.data.protocols import Fold
from ser_jax.data.segments import Segments

COPIES = 2
LENGTHS = (7, 9, 5)
WINDOW = 4


class _Store:
    """Frames whose value tells utterance, copy and place: u * 100 + v * 1000 + t."""

    warp_factors = np.ones((3, COPIES), np.float32)
    frames = tuple(
        (100.0 * u + np.arange(n))[:, None, None].astype(np.float32)
        for u, n in enumerate(LENGTHS)
    )
    copies = tuple(
        np.stack([x + 1000.0 * (v + 1) for v in range(COPIES)]) for x in frames
    )


def _windows(utterance, start):
    return Segments(
        utterance=np.array(utterance, np.int32),
        start_frame=np.array(start, np.int32),
        num_frames=np.full(len(start), WINDOW, np.int32),
        padded=np.zeros(0, np.int32),
    )


@pytest.fixture
def buffer():
    return batches.FrameBuffer.from_store(_Store, WINDOW)


@pytest.fixture
def run():
    train = _windows([0, 0, 1, 1, 1], [0, 3, 0, 2, 5])
    test = _windows([2], [1])
    fold = Fold("f", 3, train=(0, 1), val=(), test=(2,))
    return batches.RunWindows(fold, train, _windows([], []), test)


LABELS = np.array([2, 0, 1])


def test_the_buffer_keeps_every_frame_in_its_place(buffer):
    assert buffer.frames.shape == (21 * (1 + COPIES) + WINDOW, 1, 1)
    for u, length in enumerate(LENGTHS):
        for v in range(1 + COPIES):
            first = buffer.offset[v, u]
            expected = 100 * u + 1000 * v + np.arange(length)
            found = buffer.frames[first : first + length, 0, 0]
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(buffer.frames[-WINDOW:], 0)


def _order(run, buffer, epoch=0, vtlp="all", batch_size=4):
    return batches.training_order(
        run, buffer, LABELS, epoch=epoch, vtlp=vtlp, batch_size=batch_size
    )


def _seen(buffer, index):
    """(value of the first frame, label) of every counted window."""
    keep = index.weight.ravel() > 0
    first = buffer.frames[index.start.ravel()[keep], 0, 0]
    return sorted(zip(first.tolist(), index.label.ravel()[keep].tolist(), strict=True))


def test_all_copies_of_all_windows_once_per_epoch(run, buffer):
    index = _order(run, buffer)
    originals = [(0, 2), (3, 2), (100, 0), (102, 0), (105, 0)]
    expected = [(x + 1000 * v, k) for v in range(1 + COPIES) for x, k in originals]
    assert _seen(buffer, index) == sorted(expected)
    assert index.start.shape == (4, 4) and index.weight.sum() == 15
    assert index.weight[-1].tolist() == [1, 1, 1, 0]


def test_one_copy_per_window_and_copies_are_drawn_anew(run, buffer):
    draws = [_seen(buffer, _order(run, buffer, epoch, "one")) for epoch in range(6)]
    for seen in draws:
        places = sorted(x % 1000 for x, _ in seen)
        assert places == [0, 3, 100, 102, 105]
    assert len({tuple(d) for d in draws}) > 3


def test_without_vtlp_only_originals(run, buffer):
    assert max(x for x, _ in _seen(buffer, _order(run, buffer, vtlp="none"))) < 1000


def test_orders_depend_on_seed_fold_and_epoch_only(run, buffer):
    first = _order(run, buffer)
    np.testing.assert_array_equal(first.start, _order(run, buffer).start)
    assert not np.array_equal(first.start, _order(run, buffer, epoch=1).start)
    for other in (
        Fold("g", 3, run.fold.train, (), (2,)),
        Fold("f", 4, run.fold.train, (), (2,)),
    ):
        moved = batches.RunWindows(other, run.train, run.select, run.test)
        assert not np.array_equal(first.start, _order(moved, buffer).start)


def test_a_batch_larger_than_the_fold_repeats_real_windows_at_weight_zero(run, buffer):
    index = _order(run, buffer, vtlp="none", batch_size=13)
    assert index.start.shape == (1, 13) and index.weight.sum() == 5
    assert set(index.start.ravel()) <= set(index.start.ravel()[:5])


def test_evaluation_reads_in_order(run, buffer):
    index = batches.evaluation_order(run.train, buffer, LABELS, batch_size=3)
    assert index.weight.tolist() == [[1, 1, 1], [1, 1, 0]]
    first = buffer.frames[index.start.ravel()[:5], 0, 0]
    assert first.tolist() == [0, 3, 100, 102, 105]


def test_shorter_and_absent_runs_are_filled_with_weight_zero(run, buffer):
    long, short = _order(run, buffer), _order(run, buffer, vtlp="none")
    stacked = batches.stack_runs([long, None, short])
    assert stacked.start.shape == (3, 4, 4)
    assert stacked.weight.sum(axis=(1, 2)).tolist() == [15, 0, 5]
    np.testing.assert_array_equal(stacked.start[2, :2], short.start)
