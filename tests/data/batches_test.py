"""Orders of windows: complete, repeatable, and never out of their own fold."""

import dataclasses

import numpy as np
import pytest
from ml_collections import ConfigDict

from ser_jax.data import batches, step_plan
from ser_jax.data.protocols import Fold
from ser_jax.data.segment_tables import FrameTable
from ser_jax.data.training_stream import TrainingStream
from ser_jax.errors import InputError
from ser_jax.features.segments import Segments

COPIES = 2
LENGTHS = (7, 9, 5)
WINDOW = 4


class _Table:
    """A store's file that also holds an unused utterance, in another order.

    Frames tell utterance, copy and place: u * 100 + v * 1000 + t.
    """

    warp_factors = np.ones((3, COPIES), np.float32)
    num_frames = np.array(LENGTHS)
    first = np.array([40, 0, 61])
    flat = np.full((61 + 5 * (1 + COPIES), 1, 1), -1, np.float32)


for _u, _length in enumerate(LENGTHS):
    for _v in range(1 + COPIES):
        _first = _Table.first[_u] + _v * _length
        _Table.flat[_first : _first + _length, 0, 0] = (
            100 * _u + 1000 * _v + np.arange(_length)
        )


def _windows(utterance, start):
    return Segments(
        utterance=np.array(utterance, np.int32),
        start_frame=np.array(start, np.int32),
        num_frames=np.full(len(start), WINDOW, np.int32),
        padded=np.zeros(0, np.int32),
    )


class _FrameTable(FrameTable):
    """With the whole table in memory, to look at."""

    @property
    def frames(self):
        return self.rows(0, self.shape[0])


@pytest.fixture
def table():
    return _FrameTable.from_store(_Table, WINDOW)


@pytest.fixture
def run():
    train = _windows([0, 0, 1, 1, 1], [0, 3, 0, 2, 5])
    test = _windows([2], [1])
    fold = Fold("f", 3, train=(0, 1), val=(), test=(2,))
    return batches.Run(fold, train, _windows([], []), test)


LABELS = np.array([2, 0, 1])
CORPORA = ("a", "b", "a")


@pytest.fixture
def uneven(run):
    """The same windows, of different lengths."""
    train = dataclasses.replace(run.train, num_frames=np.array([2, 4, 3, 4, 1]))
    return dataclasses.replace(run, train=train)


def test_the_table_keeps_every_frame_in_its_place(table):
    assert table.shape == table.frames.shape == (21 * (1 + COPIES) + WINDOW, 1, 1)
    assert table.num_bytes == table.frames.nbytes
    for u, length in enumerate(LENGTHS):
        for v in range(1 + COPIES):
            first = table.offset[v, u]
            expected = 100 * u + 1000 * v + np.arange(length)
            found = table.frames[first : first + length, 0, 0]
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(table.frames[-WINDOW:], 0)


def test_parts_of_the_table_and_segments_are_cuts_of_it(table):
    whole = table.frames
    for start, stop in ((0, 1), (5, 30), (20, 21), (62, 67)):
        rows = table.rows(start, stop - start)
        np.testing.assert_array_equal(rows, whole[start:stop])
    start = np.array([[0, 3, 22], [60, 59, 62]])
    cut = table.segments(start, 3)
    assert cut.shape == (2, 3, 3, 1, 1)
    np.testing.assert_array_equal(cut, whole[start[..., None] + np.arange(3)])
    with pytest.raises(IndexError, match="expected rows below 67; got 3 to 67"):
        table.rows([3, 67], 1)


def test_more_frames_than_an_index_counts_are_refused():
    class Large(_Table):
        num_frames = np.array([2**29, 2**28, 5])

    with pytest.raises(InputError, match="fewer than 2.31 frames.*vtlp_copies"):
        FrameTable.from_store(Large, WINDOW)


def _order(run, table, epoch=0, vtlp="all", sizes=(WINDOW,), **train):
    recipe = {"batch_size": 4, "sampling": "all", "per_class": 0, **train}
    config = ConfigDict({"augment": {"vtlp": vtlp}, "train": recipe})
    strata = batches.strata_of(recipe["sampling"], LABELS, CORPORA)
    if strata is not None:
        run = dataclasses.replace(run, strata=strata[run.train.utterance])
    parts = batches.training_order(run, table, LABELS, config, epoch=epoch, sizes=sizes)
    return parts[0] if len(sizes) == 1 else parts


def _seen(table, index):
    """(value of the first frame, label) of every counted window."""
    keep = index.weight.ravel() > 0
    first = table.frames[index.start.ravel()[keep], 0, 0]
    return sorted(zip(first.tolist(), index.label.ravel()[keep].tolist(), strict=True))


def test_all_copies_of_all_windows_once_per_epoch(run, table):
    index = _order(run, table)
    originals = [(0, 2), (3, 2), (100, 0), (102, 0), (105, 0)]
    expected = [(x + 1000 * v, k) for v in range(1 + COPIES) for x, k in originals]
    assert _seen(table, index) == sorted(expected)
    assert index.start.shape == (4, 4) and index.weight.sum() == 15
    assert index.weight[-1].tolist() == [1, 1, 1, 0]


def test_one_copy_per_window_and_copies_are_drawn_anew(run, table):
    draws = [_seen(table, _order(run, table, epoch, "one")) for epoch in range(6)]
    for seen in draws:
        places = sorted(x % 1000 for x, _ in seen)
        assert places == [0, 3, 100, 102, 105]
    assert len({tuple(d) for d in draws}) > 3


def test_without_vtlp_only_originals(run, table):
    assert max(x for x, _ in _seen(table, _order(run, table, vtlp="none"))) < 1000


def test_orders_depend_on_seed_fold_and_epoch_only(run, table):
    first = _order(run, table)
    np.testing.assert_array_equal(first.start, _order(run, table).start)
    assert not np.array_equal(first.start, _order(run, table, epoch=1).start)
    for other in (
        Fold("g", 3, run.fold.train, (), (2,)),
        Fold("f", 4, run.fold.train, (), (2,)),
    ):
        moved = batches.Run(other, run.train, run.select, run.test)
        assert not np.array_equal(first.start, _order(moved, table).start)


def test_a_batch_larger_than_the_fold_repeats_real_windows_at_weight_zero(run, table):
    index = _order(run, table, vtlp="none", batch_size=13)
    assert index.start.shape == (1, 13) and index.weight.sum() == 5
    assert set(index.start.ravel()) <= set(index.start.ravel()[:5])


def test_evaluation_reads_in_order(run, table):
    (index,) = batches.evaluation_order(
        run.train, table, LABELS, batch_size=3, sizes=(WINDOW,)
    )
    assert index.weight.tolist() == [[1, 1, 1], [1, 1, 0]]
    first = table.frames[index.start.ravel()[:5], 0, 0]
    assert first.tolist() == [0, 3, 100, 102, 105]


def test_shorter_and_absent_runs_are_filled_with_weight_zero(run, table):
    long, short = _order(run, table), _order(run, table, vtlp="none")
    orders = [x and step_plan.order([x], (WINDOW,)) for x in (long, None, short)]
    stacked = step_plan.together(orders).index
    assert stacked.start.shape == (3, 4, 4)
    assert stacked.weight.sum(axis=(1, 2)).tolist() == [15, 0, 5]
    np.testing.assert_array_equal(stacked.start[2, :2], short.start)


def test_updates_go_through_the_epochs_wherever_they_are_cut(run, table):
    """15 windows in batches of 4 are 4 updates an epoch."""
    recipe = {"batch_size": 4, "sampling": "all", "per_class": 0}
    config = ConfigDict({"augment": {"vtlp": "all"}, "train": recipe})
    options = {"sizes": (WINDOW,), "steps_per_epoch": 4}
    stream = TrainingStream(run, table, LABELS, config, **options)
    epochs = [_order(run, table, epoch).start for epoch in range(3)]
    found = [stream.cut(*ends) for ends in ((0, 3), (3, 3), (3, 10), (10, 12))]
    assert [len(x.window_frames) for x in found] == [3, 0, 7, 2]
    whole = np.concatenate([x.index.start for x in found])
    np.testing.assert_array_equal(whole, np.concatenate(epochs))
    again = TrainingStream(run, table, LABELS, config, **options).cut(5, 9)
    np.testing.assert_array_equal(again.index.start, whole[5:9])


def test_balanced_sampling_reads_as_many_windows_of_every_class(run, table):
    """Windows 0, 1 are class 2, windows 2, 3, 4 class 0."""
    index = _order(run, table, vtlp="none", sampling="balanced", per_class=7)
    keep = index.weight.ravel() > 0
    labels, starts = index.label.ravel()[keep], index.start.ravel()[keep]
    assert np.bincount(labels).tolist() == [7, 0, 7]
    times = np.unique(starts[labels == 0], return_counts=True)[1]
    assert sorted(times.tolist()) == [2, 2, 3]
    mean = _order(run, table, vtlp="none", sampling="balanced")
    assert mean.weight.sum() == 4  # round(5 / 2) of each class
    again = _order(run, table, 1, "none", sampling="balanced", per_class=1)
    other = _order(run, table, 3, "none", sampling="balanced", per_class=1)
    assert again.weight.sum() == other.weight.sum() == 2


def test_buckets_hold_what_fits_and_are_filled_by_their_own(uneven, table):
    small, large = _order(uneven, table, vtlp="none", sizes=(2, 4), batch_size=3)
    assert sorted(small.num_frames.ravel()[small.weight.ravel() > 0]) == [1, 2]
    assert sorted(large.num_frames.ravel()[large.weight.ravel() > 0]) == [3, 4, 4]
    assert small.num_frames.max() <= 2 and large.num_frames.min() > 2
    assert small.weight.sum() == 2 and small.start.shape == (1, 3)


def test_evaluation_in_buckets_says_whose_scores_come(uneven, table):
    parts = batches.evaluation_order(
        uneven.train, table, LABELS, batch_size=2, sizes=(2, 4)
    )
    # Segments 0 and 4, then 1, 2 and 3.
    assert [p.utterance.ravel().tolist() for p in parts] == [[0, 1], [0, 1, 1, 0]]
    first = [table.frames[p.start.ravel(), 0, 0].tolist() for p in parts]
    assert first == [[0, 105], [3, 100, 102, 3]]
    assert [p.num_frames.ravel().tolist() for p in parts] == [[2, 1], [4, 3, 4, 4]]
    assert parts[1].weight.ravel().tolist() == [1, 1, 1, 0]


def test_an_empty_bucket_has_no_steps(run, table):
    parts = _order(run, table, vtlp="none", sizes=(2, 4))
    assert parts[0].start.shape == (0, 4) and parts[1].start.shape == (2, 4)
