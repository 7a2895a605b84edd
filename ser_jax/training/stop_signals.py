"""SIGTERM and Ctrl-C, which stop a training between two calls, with all of it saved."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def heeded() -> Iterator[dict[str, str]]:
    """Turns SIGTERM and Ctrl-C into a flag read between calls; a second one kills.

    `signal` is what came to this process, `agreed` what the hosts of a job have agreed to
    heed, which the loop sets.
    """
    stop = {"signal": "", "agreed": ""}

    def remember(number, _frame):
        stop["signal"] = signal.Signals(number).name
        signal.signal(number, signal.SIG_DFL)

    before = {}
    if (
        threading.current_thread() is threading.main_thread()
    ):  # else the caller's matter
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, remember)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
