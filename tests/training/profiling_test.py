"""A trace holds the steps asked for, and the training goes on as without."""

import gzip
import itertools
import json
import types

import jax

from ser_jax import clock
from ser_jax.training import loop
from ser_jax.training.trainer import Trainer


def _names_in(folder) -> set[str]:
    """Of everything that happened while the trace ran."""
    (trace,) = folder.glob("plugins/profile/*/*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    return {event.get("name") for event in events}


def test_the_calls_after_the_first_are_traced(tmp_path):
    passed = []
    for number in loop.traced(range(7), 3, tmp_path / "profile"):
        with jax.profiler.TraceAnnotation(f"call {number}"):
            passed.append(number)
    assert passed == list(range(7))
    found = {name for name in _names_in(tmp_path / "profile") if "call " in str(name)}
    assert found == {"call 1", "call 2", "call 3"}


def test_nothing_is_traced_unless_asked_for_and_ends_do_not_matter(tmp_path):
    assert list(loop.traced(range(3), 0, tmp_path / "none")) == [0, 1, 2]
    assert not (tmp_path / "none").exists()
    assert list(loop.traced(range(2), 9, tmp_path / "few")) == [0, 1]
    stopped = loop.traced(itertools.count(), 5, tmp_path / "stopped")
    assert list(itertools.islice(stopped, 3)) == [0, 1, 2]
    stopped.close()  # and another trace may begin
    assert list(loop.traced([], 4, tmp_path / "empty")) == []


def test_the_first_epoch_of_a_process_is_traced(tmp_path):
    train = types.SimpleNamespace(profile_steps=3)
    trainer = object.__new__(Trainer)
    trainer.config = types.SimpleNamespace(train=train)
    trainer.steps_per_call = 2  # so that two calls make three steps
    trainer.calls = lambda plan: iter(range(4, plan))
    workdir = types.SimpleNamespace
    with clock.running():
        for name in ("first", "second"):
            calls = loop._calls(trainer, 9, workdir(path=tmp_path / name))
            assert list(calls) == [4, 5, 6, 7, 8]
            with clock.first("first_step"):
                pass
    assert list((tmp_path / "first" / "profile").rglob("*.trace.json.gz"))
    assert not (tmp_path / "second").exists()
