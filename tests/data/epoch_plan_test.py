"""Steps of all runs: every batch once, one size per step, the same for any company."""

import numpy as np
import pytest

from ser_jax.data import epoch_plan
from ser_jax.data.batches import Index

SIZES = (5, 9)


def _part(first, steps, size):
    """Batches of two windows, named by their start."""
    start = first + np.arange(2 * steps).reshape(steps, 2)
    full = np.full_like(start, size)
    return Index(start, start, full, full, np.ones(start.shape, np.float32))


def _runs():
    return [
        [_part(0, 3, 5), _part(100, 4, 9)],
        None,
        [_part(200, 5, 5), _part(300, 1, 9)],
    ]


def _order(planned, run):
    live = planned.index.weight[run].any(axis=1)
    return planned.index.start[run][live, 0].tolist()


def test_every_batch_comes_once_at_its_own_size():
    planned = epoch_plan.make_plan(_runs(), SIZES, epoch=0)
    assert planned.steps == 9 and planned.index.start.shape == (3, 9, 2)
    assert sorted(_order(planned, 0)) == [0, 2, 4, 100, 102, 104, 106]
    assert sorted(_order(planned, 2)) == [200, 202, 204, 206, 208, 300]
    assert planned.index.weight[1].sum() == 0
    live = planned.index.weight.any(axis=2)
    sizes = np.where(live, planned.index.num_frames[:, :, 0], planned.window_frames)
    assert (sizes == planned.window_frames).all()


def test_buckets_are_mixed_anew_each_epoch_whatever_runs_are_beside():
    orders = set()
    for epoch in range(5):
        together = epoch_plan.make_plan(_runs(), SIZES, epoch=epoch)
        alone = epoch_plan.make_plan(_runs()[:1], SIZES, epoch=epoch)
        assert _order(together, 0) == _order(alone, 0)
        orders.add(tuple(_order(together, 0)))
    assert len(orders) > 2
    in_order = epoch_plan.make_plan(_runs(), SIZES)
    assert _order(in_order, 0) == [0, 2, 4, 100, 102, 104, 106]


def test_calls_resume_anywhere_and_fill_up_the_last():
    runs = [[_part(0, 5, 5)]]
    planned = epoch_plan.make_plan(runs, (5,), epoch=3)
    pieces = list(planned.calls(2, 2))
    assert [(first, frames) for first, frames, _ in pieces] == [(2, 5), (4, 5)]
    assert pieces[0][2].start[0, :, 0].tolist() == [4, 6]
    assert pieces[1][2].weight[0].sum(axis=1).tolist() == [2, 0]


@pytest.mark.parametrize("absent", [0, 2])
def test_an_absent_run_leaves_the_order_of_the_others(absent):
    runs = _runs()
    before = epoch_plan.make_plan(runs, SIZES, epoch=1)
    runs[absent] = None
    after = epoch_plan.make_plan(runs, SIZES, epoch=1)
    kept = 2 - absent
    assert _order(before, kept) == _order(after, kept)
