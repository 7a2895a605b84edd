"""Compiled functions and their times: what the parts on a GPU share."""

import dataclasses
import time
from collections.abc import Callable

import jax

from benchmarks import flops, measure


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled function.

    Attributes:
      call: Takes the arguments of the function.
      compile_s: Seconds that tracing and compiling took.
      flops: Operations of the products in one call.
    """

    call: Callable
    compile_s: float
    flops: float

    @classmethod
    def of(
        cls, function: Callable, *arguments, donated: tuple[int, ...] = ()
    ) -> "Program":
        """Compiles a function for these arguments."""
        start = time.perf_counter()
        traced = jax.jit(function, donate_argnums=donated).trace(*arguments)
        compiled = traced.lower().compile()
        took = time.perf_counter() - start
        return cls(compiled, took, flops.of(traced.jaxpr.jaxpr))


def timed(call: Callable, *, rounds: int, count: int) -> measure.Spread:
    """Seconds of one of the `count` things that a call does, and waits for."""
    return measure.seconds({"": call}, rounds=rounds)[""].scaled(1 / count)
