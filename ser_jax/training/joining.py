"""How a process joins a job on several hosts, and how it learns that another died.

`jax.distributed` does both; here is what it is told, where a cluster is trusted to tell
it, and one line instead of a C++ stack trace at the end. What JAX has no public name for
is imported where it is used: a process alone needs none of it.
"""

import contextlib
import ctypes
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import jax

from ser_jax.errors import InputError, first_line

# A dead process is found within this time, also one whose machine is gone.
HEARTBEAT_S = 30
JOIN_S = 300  # how long the others of a job may be late at its start
LEAVE_S = 40  # how long who fails waits to tell the others
# Where processes are detected without being asked for. Elsewhere `auto` asks.
CLUSTERS = ("slurm", "gcetpu", "gketpu")
LOST = (
    "another process of this job has ended or cannot be reached; its own output says "
    "why. Repeat the same command on all hosts: it goes on from the last checkpoint."
)

leaving = threading.Event()  # the main thread has something to say before it ends
_joined, _kept = False, []


def several() -> bool:
    """Whether this process has joined others."""
    return _joined


def join(coordinator: str, num_processes: int | None, process_id: int | None) -> None:
    """Joins the processes of a job by `jax.distributed`, if there are several.

    What is None is detected where a cluster tells: on Cloud TPU and under Slurm without
    being asked; elsewhere, e.g. under Open MPI, with the `coordinator` `auto`. With
    `none` this process is alone.

    Raises:
      InputError: The arguments are incomplete, or not all processes came.
    """
    found = arguments(coordinator, num_processes, process_id)
    if found is None:
        return
    try:
        with _told_of_deaths():
            jax.distributed.initialize(
                **found,
                initialization_timeout=JOIN_S,
                heartbeat_timeout_seconds=HEARTBEAT_S,
            )
    except (RuntimeError, ValueError) as error:
        let_go()
        got = first_line(error)
        if "bad_cast" in got or "DEADLINE" in got:  # the first: see `_told_of_deaths`
            got = f"not all of them within {JOIN_S} s"
        raise InputError(
            f"Expected {found['num_processes']} processes at "
            f"{found['coordinator_address']}; got {got}. Start the same command on all "
            "hosts, each with its own --process_id, and --coordinator=an address of "
            "process 0 with a free port."
        ) from error
    if threading.current_thread() is threading.main_thread():
        # JAX's preemption service, which Orbax needs, took SIGTERM from who cleans up.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    global _joined
    _joined = True


def arguments(address: str, number: int | None, id_: int | None) -> dict | None:
    """Arguments of `jax.distributed.initialize`; None for a process alone."""
    explicit = address not in ("", "auto", "none")
    complete = explicit and None not in (number, id_)
    detected = None
    if address != "none" and not complete:
        detected = _cluster(any_kind=address == "auto")
    if detected:
        number = _process_count(detected) if number is None else number
        id_ = detected.get_process_id() if id_ is None else id_
        if not explicit and number > 1:
            port = os.environ.get("JAX_COORDINATOR_PORT")
            address = detected.get_coordinator_address(JOIN_S, port)
    elif not explicit and (address == "auto" or (number, id_) != (None, None)):
        raise InputError(
            "Expected --coordinator=HOST:PORT beside --num_processes and --process_id, or "
            "a cluster that tells them (Cloud TPU, Slurm, Open MPI); got none."
        )
    elif not explicit:
        return None
    if number == 1:
        return None
    if number is None or id_ is None or not 0 <= id_ < number:
        raise InputError(
            "Expected --num_processes=N and a --process_id from 0 to N - 1, another one "
            f"for each process; got --num_processes={number} --process_id={id_}."
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--coordinator: expected HOST:PORT; got {address!r}.")
    return {
        "coordinator_address": address,
        "num_processes": number,
        "process_id": id_,
    }


def _cluster(*, any_kind: bool):
    """What tells the processes of a job here, as JAX finds it out; None if nothing."""
    try:
        from jax._src import clusters

        kinds = clusters.ClusterEnv._cluster_types
    except (ImportError, AttributeError):  # of another version: flags have to tell
        return None
    for kind in kinds:
        wanted = any_kind and not kind.opt_in_only_method or kind.name in CLUSTERS
        if wanted and kind.is_env_present():
            return kind
    return None


def _process_count(cluster) -> int:
    count = cluster.get_process_count()
    if cluster.name == "slurm":  # which may tell the allocation's, not the step's
        count = int(os.environ.get("SLURM_STEP_NUM_TASKS", count))
    return count


@contextlib.contextmanager
def _told_of_deaths() -> Iterator[None]:
    """JAX's client calls `_on_death` instead of aborting with a C++ stack trace.

    `jax.distributed.initialize` does not pass its client's callback on, and jaxlib
    0.10.2 cannot call one (std::bad_cast): C++ then ends the process through its
    terminate handler, which is therefore the same function.
    """
    try:
        from jax._src.lib import _jax

        make = _jax.get_distributed_runtime_client
    except (ImportError, AttributeError):  # of another version: it ends with a trace
        yield
        return
    with contextlib.suppress(OSError, AttributeError):  # not the C++ library of Linux
        ctypes.CDLL("libstdc++.so.6")._ZSt13set_terminatePFvvE(_terminate)
    _jax.get_distributed_runtime_client = functools.partial(
        make, missed_heartbeat_callback=_on_death, shutdown_on_destruction=False
    )
    try:
        yield
    finally:
        _jax.get_distributed_runtime_client = make


def state():
    """What JAX keeps of the job: `client` and `service` of its coordination service."""
    from jax._src import distributed

    return distributed.global_state


def let_go() -> None:
    """Leaves the job; by itself JAX would wait for processes that may never come.

    Then the process has to end by `os._exit`, as `run.py` does: jaxlib's destructors of
    what others still use crash or wait.
    """
    of_job = state()
    _kept.extend((of_job.client, of_job.service))
    of_job.client = of_job.service = None


def _on_death(*_status) -> None:
    """In a thread of JAX: ends this process, whatever it is waiting for."""
    if leaving.wait(timeout=1):
        time.sleep(LEAVE_S)
    print(f"error: {LOST}", file=sys.stderr, flush=True)
    os._exit(1)


_terminate = ctypes.CFUNCTYPE(None)(_on_death)
