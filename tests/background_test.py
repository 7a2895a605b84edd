"""Jobs in a thread: their order, how many wait, and what becomes of errors."""

import threading

import pytest

from ser_jax.background import Background


def test_nobody_waits_until_more_than_the_limit_are_left():
    background, may_go, done = Background(limit=2), threading.Event(), []
    background.do(lambda: (may_go.wait(30), done.append(1)))
    background.do(lambda: done.append(2))
    assert done == []  # and both calls are back
    threading.Timer(0.05, may_go.set).start()
    background.do(lambda: done.append(3))
    assert done[:1] == [1]  # the third had to wait for the first
    background.close()
    assert done == [1, 2, 3]


def fail():
    raise ValueError("full")


def test_the_next_call_raises_what_a_job_raised_once():
    background, done = Background(), []
    background.do(fail)
    with pytest.raises(ValueError, match="full"):
        background.do(lambda: done.append(1))
    background.do(lambda: done.append(2))
    background.close()
    assert done == [2]


@pytest.mark.parametrize("limit", [1, 3])
def test_after_a_job_that_failed_none_is_done_before_its_error_is_raised(limit):
    background, may_go, done = Background(limit), threading.Event(), []
    background.do(lambda: may_go.wait(30) and fail())
    threading.Timer(0.05, may_go.set).start()
    with pytest.raises(ValueError, match="full"):
        for number in (1, 2):  # the second has waited where the limit is 1
            background.do(lambda number=number: done.append(number))
        background.close()
    assert done == []


def test_an_error_is_raised_although_there_is_room():
    background = Background(limit=3)
    background.do(fail)
    background._left[0].exception()
    with pytest.raises(ValueError, match="full"):
        background.do(lambda: None)


def test_the_last_error_is_raised_at_the_end_and_the_thread_is_gone():
    background, threads = Background(), []
    background.do(lambda: threads.append(threading.current_thread()) or fail())
    with pytest.raises(ValueError, match="full"):
        background.close()
    assert threads[0] is not threading.current_thread() and not threads[0].is_alive()
