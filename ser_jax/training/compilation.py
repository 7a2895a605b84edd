"""Compiled programs: kept between starts, timed and counted."""

import functools
import os
from collections.abc import Callable, Mapping
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


def ahead(programs: Mapping, arguments: Mapping) -> Callable[[], None]:
    """Starts to compile programs in a thread, each for arguments of the same key.

    Of arguments only shape, type and sharding are read.

    Returns:
      What waits until they are compiled; the calls then find them. What failed says
      nothing here: the call will fail as well.
    """

    def shape(x) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)

    def compile_all(shapes: Mapping) -> Mapping:
        with clock.running() as own:
            for key, program in programs.items():
                program.lower(*shapes[key]).compile()
        return own.counts

    thread = ThreadPoolExecutor(1)
    compiled = thread.submit(compile_all, jax.tree.map(shape, dict(arguments)))
    thread.shutdown(wait=False)

    @functools.cache
    def until_compiled() -> None:
        with clock.part("compile"):
            wait([compiled])
        if (running := clock.current()) and not compiled.exception():
            running.counts.update(compiled.result())

    return until_compiled


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
