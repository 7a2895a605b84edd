"""Compiled programs: kept between starts, timed and counted."""

import functools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import jax

from ser_jax import clock, user_cache

# What JAX reports of a program before it runs, by `jax.monitoring`. These may lie in
# one another: tracing a function traces those that it calls.
_PHASES = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",  # or reading it from the cache
)
_READ = "/jax/compilation_cache/cache_hits"


def keep_programs() -> None:
    """Keeps all compiled programs in the user's cache, for every later start.

    JAX's own default leaves out what compiles within a second: dozens of small
    programs, which cost a start more than a few large ones. JAX_COMPILATION_CACHE_DIR
    names another folder; empty, it keeps nothing.
    """
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(user_cache.folder("jax")))


@functools.cache
def watch() -> None:
    """Makes tracing and compiling the part `compile` of the running clock.

    Counts `programs`, and those that were read `from_cache` instead of compiled.
    """
    jax.monitoring.register_scalar_listener(_begins)
    jax.monitoring.register_event_duration_secs_listener(_ends)
    jax.monitoring.register_event_listener(_happens)


def ahead(compile_: Sequence[Callable[[], object]]) -> Callable[[], None]:
    """Starts to compile programs, each in a thread; a process ends when these have.

    Returns:
      What waits until all are compiled; their calls then find them. What failed says
      nothing here: the call will fail as well.
    """

    def counted(one: Callable[[], object]) -> Counter:
        with clock.running() as own:
            one()
        return own.counts

    threads = ThreadPoolExecutor(len(compile_))
    compiled = [threads.submit(counted, one) for one in compile_]
    threads.shutdown(wait=False)

    @functools.cache
    def until_compiled() -> None:
        with clock.part("compile"):
            wait(compiled)
        if running := clock.current():
            for one in compiled:
                running.counts.update({} if one.exception() else one.result())

    return until_compiled


def shapes(arguments):
    """Shape, type and sharding of a tree of arrays, from which a program is compiled."""

    def shape(x) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)

    return jax.tree.map(shape, arguments)


def _begins(event: str, _value, **_about) -> None:
    if event in _PHASES and (running := clock.current()):
        running.enter("compile")


def _ends(event: str, _seconds, **_about) -> None:
    if event in _PHASES and (running := clock.current()):
        running.leave()
        running.counts["programs"] += event == _PHASES[-1]


def _happens(event: str, **_about) -> None:
    if event == _READ and (running := clock.current()):
        running.counts["from_cache"] += 1
