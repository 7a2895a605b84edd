"""Where a step's time goes: a trace of a few steps, for TensorBoard or Perfetto."""

import itertools
from collections.abc import Iterable, Iterator

import jax


def traced(calls: Iterable, num_calls: int, folder) -> Iterator:
    """Passes calls on, and traces some after the first one, which compiles.

    Args:
      calls: What to go through; each call is done when the next is asked for.
      num_calls: Calls to trace; 0 traces nothing.
      folder: Where the trace goes, under `plugins/profile`.
    """
    calls = iter(calls)
    if num_calls:
        yield from itertools.islice(calls, 1)
        with jax.profiler.trace(str(folder)):
            yield from itertools.islice(calls, num_calls)
    yield from calls
