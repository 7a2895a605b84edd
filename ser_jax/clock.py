"""Where a job's time goes: every second belongs to exactly one part.

Any code can name what it does: `with clock.part("load"): ...`. While an inner part runs
the outer one stands still, so the parts add up to the total. Without a running clock,
and in other threads than the clock's, a part does nothing.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

START, OTHER = "start", "other"


class Clock:
    """One job's seconds."""

    def __init__(self):
        self.began = self._since = time.monotonic()
        self._open = [START]  # what comes before the first part
        self._spent = Counter()
        self.counts = Counter()  # how often something was noted, by name
        self.first = {}  # seconds from `began` to the end of a part by `first`, by name

    def enter(self, name: str) -> None:
        """A part begins; the one around it waits."""
        self._charge()
        self._open[0] = OTHER
        self._open.append(name)

    def leave(self) -> None:
        """The part ends; the one around it goes on."""
        self._charge()
        self._open.pop()

    def add(self, earlier: Mapping[str, float]) -> None:
        """Adds the seconds of an earlier process that worked on the same job."""
        self._spent.update({k: v for k, v in earlier.items() if k != "total"})

    def seconds(self) -> dict[str, float]:
        """Seconds of every part, `other`, and their sum `total`; to 0.01 s."""
        self._charge()
        spent = {k: round(v, 2) for k, v in self._spent.items() if k != OTHER}
        spent[OTHER] = round(self._spent[OTHER], 2)
        return {**spent, "total": round(sum(spent.values()), 2)}

    def _charge(self) -> None:
        now = time.monotonic()
        self._spent[self._open[-1]] += now - self._since
        self._since = now


_running: ContextVar[Clock | None] = ContextVar("clock", default=None)


def current() -> Clock | None:
    """The running clock of this thread."""
    return _running.get()


@contextlib.contextmanager
def running() -> Iterator[Clock]:
    """Runs a clock while the block does, unless one is running already.

    Also a decorator: `@clock.running()`.
    """
    if clock := _running.get():
        yield clock
        return
    token = _running.set(Clock())
    try:
        yield _running.get()
    finally:
        _running.reset(token)


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Counts the time of the block as a part of the job. Also a decorator."""
    clock = _running.get()
    if clock is None:
        yield
        return
    clock.enter(name)
    try:
        yield
    finally:
        clock.leave()


@contextlib.contextmanager
def first(name: str) -> Iterator[None]:
    """A part the first time in a process, and nothing afterwards."""
    clock = _running.get()
    if clock is None or name in clock.first:
        yield
        return
    with part(name):
        yield
    clock.first[name] = round(time.monotonic() - clock.began, 2)
