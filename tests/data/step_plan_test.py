"""Steps of all runs: every batch once, one size per step, the same for any company."""

import numpy as np
import pytest

from ser_jax.data import step_plan
from ser_jax.data.batches import Index

SIZES = (5, 9)


def _part(first, steps, size):
    """Batches of two windows, named by their start."""
    start = first + np.arange(2 * steps).reshape(steps, 2)
    full = np.full_like(start, size)
    return Index(start, start, full, full, np.ones(start.shape, np.float32))


def _orders(epoch):
    parts = [_part(0, 3, 5), _part(100, 4, 9)], [_part(200, 5, 5), _part(300, 1, 9)]
    first, last = (step_plan.order(x, SIZES, epoch=epoch) for x in parts)
    return [first, None, last]


def _taken(planned, run):
    live = planned.index.weight[run].any(axis=1)
    return planned.index.start[run][live, 0].tolist()


def test_every_batch_comes_once_at_its_own_size():
    planned = step_plan.together(_orders(epoch=0))
    assert planned.index.start.shape == (3, planned.steps, 2)
    assert sorted(_taken(planned, 0)) == [0, 2, 4, 100, 102, 104, 106]
    assert sorted(_taken(planned, 2)) == [200, 202, 204, 206, 208, 300]
    assert planned.index.weight[1].sum() == 0
    live = planned.index.weight.any(axis=2)
    sizes = np.where(live, planned.index.num_frames[:, :, 0], planned.window_frames)
    assert (sizes == planned.window_frames).all()


def test_buckets_are_mixed_anew_each_epoch_whatever_runs_are_beside():
    taken = set()
    for epoch in range(5):
        orders = _orders(epoch)
        together, alone = step_plan.together(orders), step_plan.together(orders[:1])
        assert _taken(together, 0) == _taken(alone, 0)
        assert alone.steps == 7
        taken.add(tuple(_taken(together, 0)))
    assert len(taken) > 2


def test_runs_that_lack_batches_wait_for_the_others_by_hand():
    """What ranks first goes first, and with it whoever wants that size next."""

    def order(ranks, sizes):
        index = _part(0, len(ranks), 0)
        return step_plan.Order(index, np.array(sizes), np.array(ranks))

    orders = [order([0.1, 0.2, 0.5], [5, 9, 5]), order([0.1, 0.3, 0.6], [5, 5, 9])]
    planned = step_plan.together(orders)
    assert planned.window_frames.tolist() == [5, 9, 5, 9]
    takes = planned.index.weight.any(axis=2)
    assert takes.tolist() == [[True, True, True, False], [True, False, True, True]]


def test_an_epoch_of_all_runs_takes_no_more_steps_than_it_has_batches():
    """Of each size as many as the run with the most: 5 of size 5, 4 of size 9."""
    for epoch in range(9):
        assert step_plan.together(_orders(epoch)).steps <= 9


def test_runs_of_one_size_wait_at_their_end_only():
    orders = [step_plan.order([_part(0, n, 5)], (5,)) for n in (2, 4, 3)]
    planned = step_plan.together(orders)
    takes = planned.index.weight.any(axis=2)
    assert takes.tolist() == [[n > step for step in range(4)] for n in (2, 4, 3)]
    # A stop after the last step leaves nothing, and that is a plan as well.
    assert step_plan.together([orders[0].cut(2, 2), None]).steps == 0


def test_calls_fill_up_the_last():
    order = step_plan.order([_part(0, 5, 5)], (5,), epoch=3)
    pieces = list(step_plan.together([order.cut(2, 5)]).calls(2))
    assert [(first, frames) for first, frames, _ in pieces] == [(0, 5), (2, 5)]
    assert pieces[0][2].start[0, :, 0].tolist() == [4, 6]
    assert pieces[1][2].weight[0].sum(axis=1).tolist() == [2, 0]


@pytest.mark.parametrize("absent", [0, 2])
def test_an_absent_run_leaves_the_order_of_the_others(absent):
    orders = _orders(epoch=1)
    before = step_plan.together(orders)
    orders[absent] = None
    after = step_plan.together(orders)
    kept = 2 - absent
    assert _taken(before, kept) == _taken(after, kept)
