"""The clock counts every second once."""

import threading

import pytest

from ser_jax import clock


@pytest.fixture
def now(monkeypatch):
    """A time that only the test moves."""
    time = {"s": 50.0}
    monkeypatch.setattr(clock.time, "monotonic", lambda: time["s"])

    def wait(seconds):
        time["s"] += seconds

    return wait


def test_inner_parts_are_not_the_outer_ones_and_all_add_up(now):
    @clock.part("load")
    def load():
        now(2.0)
        with clock.part("corpus"):
            now(5.0)
        now(1.0)

    with clock.running() as running:
        now(0.5)
        load()
        now(0.25)
        load()
        now(0.125)
        found = running.seconds()
    assert found == {
        "start": 0.5,
        "load": 6.0,
        "corpus": 10.0,
        "other": 0.38,
        "total": 16.88,
    }


def test_a_part_within_itself_and_one_that_fails(now):
    with clock.running() as running:
        with pytest.raises(KeyError), clock.part("a"), clock.part("a"):
            now(3.0)
            raise KeyError
        now(1.0)
        with clock.part("b"):
            now(2.0)
            assert running.seconds()["b"] == 2.0  # an open part counts so far
    assert running.seconds() == {
        "start": 0.0,
        "a": 3.0,
        "b": 2.0,
        "other": 1.0,
        "total": 6.0,
    }


def test_first_is_a_part_once(now):
    with clock.running() as running:
        for seconds in (7.0, 0.5):
            with clock.part("training"), clock.first("first_step"):
                now(seconds)
    assert running.seconds()["first_step"] == 7.0
    assert running.seconds()["training"] == 0.5
    assert running.first == {"first_step": 7.0}


def test_a_later_process_adds_what_an_earlier_one_spent(now):
    with clock.running() as earlier:
        now(1.0)
        with clock.part("training"):
            now(20.0)
        spent = earlier.seconds()
    with clock.running() as later:
        now(2.0)
        with clock.part("load"):
            now(4.0)
        later.add(spent)
    assert later.seconds() == {
        "start": 3.0,
        "load": 4.0,
        "training": 20.0,
        "other": 0.0,
        "total": 27.0,
    }


def test_without_a_clock_and_in_other_threads_parts_do_nothing(now):
    def work():
        with clock.part("elsewhere"), clock.first("first"):
            now(3.0)

    work()
    with clock.running() as running:
        with clock.running() as same:
            assert same is running
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert running.seconds() == {"start": 3.0, "other": 0.0, "total": 3.0}
    assert clock.current() is None
