"""Training steps of many runs, each way they can share a device."""

import contextlib
import functools
from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp

from benchmarks import cases, flops
from benchmarks.gpu.programs import Program, timed
from ser_jax.layers import conv_runs
from ser_jax.training import state


def row_of(
    system: str,
    way: str,
    *,
    runs: int,
    count: int,
    rounds: int,
    quick: bool,
    dtype: str,
) -> dict:
    """Milliseconds of a step of all runs, in calls of `count` steps.

    `way` is `loop`, one run after the other, or how they go under `vmap` (`conv_way`).
    """
    calls, stacked = (runs, 0) if way == "loop" else (1, runs)
    program, arguments, batch_size = program_of(
        system, way, stacked, count=count, quick=quick, dtype=dtype
    )
    call = repeated(program, arguments, calls)
    took = timed(call, rounds=rounds, count=count)
    row = {"ms": took.scaled(1e3), "compile [s]": program.compile_s}
    row["samples/s"] = runs * batch_size / took.median
    return row | flops.rate(calls * program.flops / count, took.median, dtype)


@functools.lru_cache(maxsize=1)  # a run alone is the program of the loop over runs
def program_of(system: str, way: str, stacked: int, *, count: int, **options):
    """The program of `count` steps, of one run or `stacked`; arguments, batch size."""
    case = cases.case_of(system, **options)
    graphdef, run = cases.our_state(case)
    step = cases.our_train_step(case, graphdef)
    batch, index, constants = cases.our_inputs(case)

    def steps(batch, run, totals, index, constants):
        def body(carry, _):
            return step(batch, *carry, index, constants), None

        return jax.lax.scan(body, (run, totals), None, length=count)[0]

    arguments = batch, run, state.Totals.zero(), index, constants
    if stacked:
        steps = jax.vmap(steps)
        arguments = jax.tree.map(
            lambda x: jnp.stack([jnp.asarray(x)] * stacked), arguments
        )
    with conv_way(way):
        program = Program.of(steps, *arguments, donated=(1, 2))
    return program, arguments, len(case.label)


def repeated(program: Program, arguments: tuple, calls: int) -> Callable[[], None]:
    """A function that trains so many states, one after the other, and waits."""
    batch, run, totals, *fixed = arguments
    # Copies: what is donated is gone.
    carried = [jax.tree.map(jnp.array, (run, totals)) for _ in range(calls)]

    def call():
        for number, own in enumerate(carried):
            carried[number] = program.call(batch, *own, *fixed)
        jax.block_until_ready(carried)

    return call


def conv_way(way: str) -> contextlib.AbstractContextManager:
    """What convolutions become under `vmap`."""
    if way == "grouped":

        def as_it_is(x, kernel, whole):
            return whole(x, kernel)

        return mock.patch.object(conv_runs, "convolve", as_it_is)
    if way == "looped":
        return mock.patch.object(conv_runs, "WRITTEN_OUT", 0)
    return contextlib.nullcontext()
