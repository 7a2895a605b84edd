"""One process at a time trains or evaluates in a workdir.

The operating system holds the lock, and lets it go however a process ends. In a bucket
there is no such lock: the holder signs a file there and renews it every minute, and a
signature of three minutes is stale. Two processes that start within the same second can
both believe they hold it.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator

import filelock
from etils import epath

from ser_jax.errors import InputError

_LOCK, _HOLDER = ".lock", ".lock.json"
_RENEW_S, _STALE_S = 60, 180


@contextlib.contextmanager
def lock(path: epath.Path) -> Iterator[None]:
    """Keeps other processes out of the workdir `path`, local or `gs://`.

    Raises:
      InputError: Another process holds it; names host, process and since when.
    """
    if "://" in str(path):
        with _signature(path):
            yield
        return
    held = filelock.FileLock(path / _LOCK, timeout=0)
    try:
        held.acquire()
    except filelock.Timeout as error:
        raise _in_use(path, _read_holder(path)) from error
    except NotImplementedError:  # a network disk without locks
        with _signature(path):
            yield
        return
    with held:
        _sign(path)
        yield


@contextlib.contextmanager
def _signature(path: epath.Path) -> Iterator[None]:
    holder = _read_holder(path)
    if holder and not _is_stale(holder):
        raise _in_use(path, holder)
    since, ended = time.time(), threading.Event()

    def renew():
        while not ended.wait(_RENEW_S):
            _sign(path, since)

    _sign(path, since)
    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        (path / _HOLDER).unlink(missing_ok=True)


def _is_stale(holder: dict) -> bool:
    if time.time() - holder["renewed"] > _STALE_S:
        return True
    if holder["host"] != socket.gethostname():
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's process
        pass
    return False


def _sign(path: epath.Path, since: float | None = None) -> None:
    now = time.time()
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": since or now,
        "renewed": now,
    }
    (path / _HOLDER).write_text(json.dumps(holder))


def _read_holder(path: epath.Path) -> dict | None:
    try:
        holder = json.loads((path / _HOLDER).read_text())
        return holder if {"host", "pid", "since", "renewed"} <= holder.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _in_use(path: epath.Path, holder: dict | None) -> InputError:
    who = "another process"
    if holder:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
        who = f"process {holder['pid']} on {holder['host']} since {since}"
    return InputError(
        f"Expected a workdir that nobody else trains in; {path} is in use by {who}. "
        "Wait for it, or choose another --workdir."
    )
