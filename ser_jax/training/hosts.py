"""One job on several hosts: who belongs to it, what they tell one another, how it ends.

`jax.distributed` joins the processes and finds out when one dies. All go through the
same code; where they must know of one another they meet in `share`, by JAX's
coordination service and without devices, so that a host may be late by hours (a dataset
is built, a program compiled). `gather` alone moves arrays. Alone, all of it is free.
"""

import contextlib
import hashlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from ser_jax.errors import HostLost, InputError, first_line
from ser_jax.training import joining
from ser_jax.workdir.config import differences

# What errors say when another process has gone, by who says it.
_OF_PEERS = ("Gloo", "NCCL", "CoordinationService", "oordination service", "Barrier")

_MEETING_MS = 2**31 - 1  # how long one may take: the dead end it, no clock

_log = logging.getLogger(__name__)

_meetings = 0


def is_first() -> bool:
    """Whether this process writes files, logs and reports: it is alone, or number 0."""
    return not joining.several() or jax.process_index() == 0


@contextlib.contextmanager
def joined(coordinator: str, num_processes: int | None, process_id: int | None):
    """Runs the block as one process of a job, see `joining.join`.

    Whoever fails tells the others, and whoever is done waits for them.

    Raises:
      InputError: The job cannot be joined.
      HostLost: Another process failed, or died.
    """
    joining.join(coordinator, num_processes, process_id)
    if not joining.several():
        yield
        return
    if not is_first():
        _log.info(
            "This is process %d of %d: process 0 shows the bar and writes the results.",
            jax.process_index(),
            jax.process_count(),
        )
    try:
        yield
        share(None)  # the first one may be writing its report
        _part()
    except BaseException as error:
        if _is_of_a_peer(error):
            joining.leaving.set()
            raise HostLost(joining.LOST) from error
        if not isinstance(error, HostLost):
            _fail(error)
        raise
    finally:
        joining.let_go()


def _is_of_a_peer(error: BaseException) -> bool:
    """Whether an error of JAX is that another process has gone."""
    kinds = (jax.errors.JaxRuntimeError, ValueError)  # Gloo's are plain ValueErrors
    of_jax = isinstance(error, kinds) and not isinstance(error, InputError)
    return of_jax and any(word in str(error) for word in _OF_PEERS)


def share(value) -> list:
    """What every process brings, by its number; returns when all have come.

    Values are plain and small. All processes have to meet in the same order, and in
    their main threads.

    Raises:
      HostLost: Another process failed, or died.
    """
    if not joining.several():
        return [value]
    shared = _meet({"value": value})
    for number, one in enumerate(shared):
        if "failed" in one:
            _part()
            raise HostLost(
                f"process {number} on {one['host']} ended this job: {one['failed']}"
            )
    return [one["value"] for one in shared]


def _meet(message: dict) -> list[dict]:
    global _meetings
    client, me = joining.state().client, jax.process_index()
    folder, before = (f"ser_jax/{n}/" for n in (_meetings, _meetings - 1))
    _meetings += 1
    try:
        client.key_value_set(f"{folder}{me}", json.dumps(message))
        _interruptible(lambda: client.wait_at_barrier("ser_jax", _MEETING_MS))
        found = client.key_value_dir_get(folder)
    except jax.errors.JaxRuntimeError as error:
        joining.leaving.set()
        raise HostLost(joining.LOST) from error
    if _meetings > 1:
        client.key_value_delete(f"{before}{me}")  # all have read it: they are here
    by_number = {int(key.split("/")[-1]): json.loads(x) for key, x in found}
    return [by_number[number] for number in sorted(by_number)]


def _part() -> None:
    """Meets once more, so that all have read what was said last.

    JAX's service ends with its process, which therefore waits for the others; to them
    it may answer no more.
    """
    joining.leaving.set()

    def meet():
        with contextlib.suppress(HostLost, jax.errors.JaxRuntimeError):
            _meet({"value": None})

    thread = threading.Thread(target=meet, daemon=True)
    thread.start()
    thread.join(joining.LEAVE_S if joining.state().service else 2)


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
    joining.leaving.set()
    by_signal = isinstance(error, (SystemExit, KeyboardInterrupt))
    why = "it was asked to stop" if by_signal else first_line(error)
    message = {"failed": why, "host": socket.gethostname()}

    def tell():
        with contextlib.suppress(HostLost):
            _meet(message)
            _part()

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    thread.join(joining.LEAVE_S)


def check_same_config(config) -> None:
    """Raises InputError on all, with the differences, unless all have the same."""
    own = json.loads(json.dumps(config.to_dict()))
    first = share(own)[0]
    found = differences(first, own)
    if not found and first["train"] != own["train"]:
        found = ["train, in what only changes the speed"]
    if lines := next(filter(None, share(found)), None):
        raise InputError(
            "Expected the same config on all hosts; got, on process 0 (here) and on "
            "another:\n  "
            + "\n  ".join(lines)
            + "\nStart the same command everywhere, "
            "or trainings of their own with --coordinator=none."
        )


def check_same_corpus(splits: dict) -> None:
    """Raises InputError on all unless classes, sounds and splits are the same."""
    digest = hashlib.sha256(json.dumps(splits).encode()).hexdigest()
    agree("corpus", digest, "Copy the same recordings and labels to all of them.")


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
    if not joining.several():
        return jax.device_get(tree)
    jax.block_until_ready(tree)
    share(None)  # collectives do not wait long for whoever comes late
    return multihost_utils.process_allgather(tree, tiled=True)
