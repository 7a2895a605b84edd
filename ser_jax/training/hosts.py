"""One job on several hosts: who belongs to it, what they tell one another, how it ends.

`jax.distributed` joins the processes and finds out when one dies. All go through the
same code; where they must know of one another they meet in `share`, by JAX's
coordination service and without devices, so that a host may be late by hours (a dataset
is built, a program compiled). `gather` alone moves arrays. Alone, all of it is free.
"""

import contextlib
import ctypes
import functools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax._src import clusters, distributed
from jax._src.lib import _jax
from jax.experimental import multihost_utils

from ser_jax.errors import HostLost, InputError, first_line

# A dead process is found within this time, also one whose machine is gone.
HEARTBEAT_S = 30
_JOIN_S = 300  # how long the others of a job may be late at its start
_LEAVE_S = 40  # how long who fails waits to tell the others
_LATEST_MS = 2**31 - 1  # of a meeting: dead processes end it, no clock
# Where processes are detected without being asked for. Elsewhere `auto` asks.
_CLUSTERS = ("slurm", "gcetpu", "gketpu")
# What errors say when another process has gone, by who says it.
_OF_PEERS = ("Gloo", "NCCL", "CoordinationService", "oordination service", "Barrier")
_AGAIN = (
    "another process of this job has ended or cannot be reached; its own output says "
    "why. Repeat the same command on all hosts: it goes on from the last checkpoint."
)

_meetings = 0
_leaving = threading.Event()  # the main thread has something to say before it ends


def several() -> bool:
    """Whether this process is one of several."""
    return distributed.global_state.client is not None and jax.process_count() > 1


def is_first() -> bool:
    """Whether this process writes files, logs and reports: it is alone, or number 0."""
    return not several() or jax.process_index() == 0


@contextlib.contextmanager
def joined(coordinator: str, num_processes: int | None, process_id: int | None):
    """Runs the block as one process of a job, see `join`.

    Whoever fails tells the others, and whoever is done waits for them.

    Raises:
      InputError: The job cannot be joined.
      HostLost: Another process failed, or died.
    """
    join(coordinator, num_processes, process_id)
    if not several():
        yield
        return
    try:
        yield
        share(None)  # the first one may be writing its report
        _leaving.set()  # whoever is quicker leaves before the others
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            jax.distributed.shutdown()
    except HostLost:
        raise
    except BaseException as error:
        if _is_of_a_peer(error):
            _leaving.set()
            raise HostLost(_AGAIN) from error
        _fail(error)
        raise


def join(coordinator: str, num_processes: int | None, process_id: int | None) -> None:
    """Joins the processes of a job by `jax.distributed`, if there are several.

    What is None is detected where a cluster tells: on Cloud TPU and under Slurm without
    being asked; elsewhere, e.g. under Open MPI, with the `coordinator` `auto`. With
    `none` this process is alone.

    Raises:
      InputError: The arguments are incomplete, or not all processes came.
    """
    arguments = _arguments(coordinator, num_processes, process_id)
    if arguments is None:
        return
    try:
        with _told_of_deaths():
            jax.distributed.initialize(
                **arguments,
                initialization_timeout=_JOIN_S,
                heartbeat_timeout_seconds=HEARTBEAT_S,
            )
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"Expected {arguments['num_processes']} processes at "
            f"{arguments['coordinator_address']}; got {first_line(error)}. Start the same "
            "command on all hosts, each with its own --process_id, and --coordinator=an "
            "address of process 0 with a free port."
        ) from error


def _arguments(address: str, number: int | None, id_: int | None) -> dict | None:
    """Arguments of `jax.distributed.initialize`; None for a process alone."""
    detected = _cluster(any_kind=address == "auto") if address != "none" else None
    explicit = address not in ("", "auto", "none")
    if detected:
        number = detected.get_process_count() if number is None else number
        number = int(os.environ.get("SLURM_STEP_NUM_TASKS", number))
        id_ = detected.get_process_id() if id_ is None else id_
        if not explicit and number > 1:
            port = os.environ.get("JAX_COORDINATOR_PORT")
            address = detected.get_coordinator_address(_JOIN_S, port)
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
            f"for each process; got {number} and {id_}."
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
    for kind in clusters.ClusterEnv._cluster_types:
        wanted = any_kind and not kind.opt_in_only_method or kind.name in _CLUSTERS
        if wanted and kind.is_env_present():
            return kind
    return None


@contextlib.contextmanager
def _told_of_deaths() -> Iterator[None]:
    """JAX's client calls `_on_death` instead of aborting with a C++ stack trace.

    `jax.distributed.initialize` does not pass its client's callback on, and jaxlib
    0.10.2 cannot call one (std::bad_cast): C++ then ends the process through its
    terminate handler, which is therefore the same function.
    """
    make = _jax.get_distributed_runtime_client
    told = functools.partial(
        make, missed_heartbeat_callback=_on_death, shutdown_on_destruction=False
    )
    with contextlib.suppress(OSError, AttributeError):  # not the C++ library of Linux
        ctypes.CDLL("libstdc++.so.6")._ZSt13set_terminatePFvvE(_terminate)
    _jax.get_distributed_runtime_client = told
    try:
        yield
    finally:
        _jax.get_distributed_runtime_client = make


def _on_death(*_status) -> None:
    """In a thread of JAX: ends this process, whatever it is waiting for."""
    if _leaving.wait(timeout=1):
        time.sleep(_LEAVE_S)
    print(f"error: {_AGAIN}", file=sys.stderr, flush=True)
    os._exit(1)


_terminate = ctypes.CFUNCTYPE(None)(_on_death)


def _is_of_a_peer(error: BaseException) -> bool:
    """Whether an error of JAX is that another process has gone."""
    of_jax = isinstance(error, (jax.errors.JaxRuntimeError, ValueError))
    return of_jax and any(word in str(error) for word in _OF_PEERS)


def share(value) -> list:
    """What every process brings, by its number; returns when all have come.

    Values are plain and small. All processes have to meet in the same order, and in
    their main threads.

    Raises:
      HostLost: Another process failed, or died.
    """
    if not several():
        return [value]
    shared = _meet({"value": value})
    for number, one in enumerate(shared):
        if "failed" in one:
            _leaving.set()
            raise HostLost(
                f"process {number} on {one['host']} ended this job: {one['failed']}"
            )
    return [one["value"] for one in shared]


def _meet(message: dict) -> list[dict]:
    global _meetings
    client, me = distributed.global_state.client, jax.process_index()
    folder, before = (f"ser_jax/{n}/" for n in (_meetings, _meetings - 1))
    _meetings += 1
    client.key_value_set(f"{folder}{me}", json.dumps(message))
    try:
        _interruptible(lambda: client.wait_at_barrier("ser_jax", _LATEST_MS))
        found = client.key_value_dir_get(folder)
    except jax.errors.JaxRuntimeError as error:
        _leaving.set()
        raise HostLost(_AGAIN) from error
    if _meetings > 1:
        client.key_value_delete(f"{before}{me}")  # all have read it: they are here
    return [
        json.loads(x) for _, x in sorted(found, key=lambda x: int(x[0].split("/")[-1]))
    ]


def _interruptible(function: Callable) -> None:
    """Calls what waits in C++, where no signal would be answered."""
    raised = []

    def work():
        try:
            function()
        except Exception as error:  # noqa: BLE001 - raised again below
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def _fail(error: BaseException) -> None:
    """Tells the others, who find it where they meet next."""
    _leaving.set()
    told = threading.Thread(
        target=_meet,
        args=({"failed": first_line(error), "host": socket.gethostname()},),
        daemon=True,
    )
    told.start()
    told.join(_LEAVE_S)


def agree(what: str, value, remedy: str) -> None:
    """Raises InputError on every process unless all bring the same plain value."""
    values = share(value)
    for number, other in enumerate(values):
        if other != values[0]:
            raise InputError(
                f"Expected the same {what} on all hosts; process {number} has other than "
                f"process 0. {remedy}"
            )


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """The first process goes through the block, then all others at once."""
    if not is_first():
        share(None)
    yield
    if is_first():
        share(None)


def spread(tree, sharding):
    """Places a host tree, which all processes have, on devices of all of them."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def place(x):
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda part: x[part])

    return jax.tree.map(place, tree)


def gather(tree):
    """Brings a tree of arrays that lie on all processes to the host of each."""
    if not several():
        return jax.device_get(tree)
    jax.block_until_ready(tree)
    share(None)  # collectives do not wait long for whoever comes late
    return multihost_utils.process_allgather(tree, tiled=True)
