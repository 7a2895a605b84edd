"""Work that nobody waits for: one job after the other, in a thread."""

import collections
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait


class Background:
    """A thread, and the jobs that it has not done yet, at most `limit`.

    So what jobs hold in memory does not pile up where they are slower than their
    caller. After one that failed none is begun before its error has been raised: a job
    may count on those before it.
    """

    def __init__(self, limit: int = 1):
        """Starts nothing yet."""
        self._limit, self._thread = limit, ThreadPoolExecutor(1)
        self._left: collections.deque[Future] = collections.deque()
        self._failed = False

    def do(self, job: Callable[[], object]) -> None:
        """Adds a job, once there is room; raises what an earlier one raised."""
        self._wait(self._limit - 1)
        self._left.append(self._thread.submit(self._run, job))

    def close(self) -> None:
        """Until all jobs are done; raises what one raised; lets go of the thread."""
        try:
            self._wait(0)
        finally:
            self._thread.shutdown()

    def _run(self, job: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            job()
        except BaseException:
            self._failed = True
            raise

    def _wait(self, most: int) -> None:
        while self._left and (len(self._left) > most or self._left[0].done()):
            job = self._left.popleft()
            if job.exception():
                wait(self._left)  # which do nothing
                self._left.clear()
                self._failed = False
            job.result()
