"""Where a step's time goes: a trace of a few steps, for TensorBoard or Perfetto."""

import itertools
from collections.abc import Iterable, Iterator

import jax


def traced(calls: Iterable, num_calls: int, folder) -> Iterator:
    """Passes calls on; writes a trace of `num_calls` to `folder`/plugins/profile.

    A call has to be finished before the next one is taken.
    """
    calls = iter(calls)
    if num_calls:
        yield from itertools.islice(calls, 1)  # compiles, which would fill the trace
        with jax.profiler.trace(str(folder)):
            yield from itertools.islice(calls, num_calls)
    yield from calls
