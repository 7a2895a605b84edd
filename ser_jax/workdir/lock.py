"""One process at a time trains or evaluates in a workdir.

The operating system holds the lock, and lets it go however a process ends. A bucket and
some network disks have no such lock: the holder signs a file there and renews it every
minute, and a signature of three minutes is stale. A bucket itself decides who signs
first. Two processes that start within the same second on such a disk, or take over the
same stale signature of a bucket seconds apart, can both believe they hold it.
"""

import contextlib
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Iterator

import filelock
from etils import epath

from ser_jax import bucket
from ser_jax.errors import InputError, writing
from ser_jax.workdir import files

_LOCK, _HOLDER = ".lock", ".lock.json"
_RENEW_S, _STALE_S = 60, 180
_SETTLE_S = 3  # until somebody who took over as well must have signed
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)  # some network disks


@contextlib.contextmanager
def lock(path: epath.Path) -> Iterator[None]:
    """Keeps other processes out of the workdir `path`, local or in a bucket.

    Raises:
      InputError: Another process holds it; names host, process and since when.
    """
    held = None if bucket.is_remote(path) else _system_lock(path)
    with held or _signature(path):
        if held:
            with contextlib.suppress(InputError):  # the lock holds without a name
                _sign(path, time.time())
        yield


def _system_lock(path: epath.Path):
    """Context manager of the lock that is held; None if the disk has no locks."""
    try:
        return filelock.FileLock(path / _LOCK).acquire(timeout=0)
    except filelock.Timeout as error:
        raise _in_use(path, _read_holder(path)) from error
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        with writing(path):
            raise


@contextlib.contextmanager
def _signature(path: epath.Path) -> Iterator[None]:
    found = _content(path)
    holder = _parse(found)
    if holder and not _is_stale(holder):
        raise _in_use(path, holder)
    since, ended = time.time(), threading.Event()

    def renew():
        while not ended.wait(_RENEW_S):
            with contextlib.suppress(Exception):  # the next one may succeed
                if _is_ours(path):  # or we slept, and somebody took over
                    _sign(path, since)

    if bucket.is_remote(path):
        _sign_first(path, since, found)
    else:
        _sign(path, since)
    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(Exception):  # of a bucket that is gone: it gets stale
            if _is_ours(path):
                (path / _HOLDER).unlink(missing_ok=True)


def _is_stale(holder: dict) -> bool:
    if time.time() - holder["renewed"] > _STALE_S:
        return True
    if holder["host"] != socket.gethostname():
        return False
    try:
        os.kill(holder["pid"], 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # somebody else's process
        pass
    return False


def _sign(path: epath.Path, since: float) -> None:
    files.write_json(path / _HOLDER, _signed(since))


def _sign_first(path: epath.Path, since: float, stale: bytes | None) -> None:
    """Signs in a bucket, in place of nobody (None) or of that stale signature alone."""
    if stale is not None and bucket.read(path / _HOLDER) == stale:
        bucket.delete(path / _HOLDER)
    content = json.dumps(_signed(since)).encode()
    try:
        bucket.write(path / _HOLDER, content, only_new=True)
    except FileExistsError:
        # It is ours if the answer was lost and the client asked again.
        if (found := bucket.read(path / _HOLDER)) != content:
            raise _in_use(path, _parse(found)) from None
    if stale is not None:  # whoever saw it as well may delete ours for it
        time.sleep(_SETTLE_S)
        if not _is_ours(path):
            raise _in_use(path, _read_holder(path))


def _signed(since: float) -> dict:
    return _us() | {"since": since, "renewed": time.time()}


def _us() -> dict:
    return {"host": socket.gethostname(), "pid": os.getpid()}


def _is_ours(path: epath.Path) -> bool:
    return _us().items() <= (_read_holder(path) or _us()).items()


def _read_holder(path: epath.Path) -> dict | None:
    return _parse(_content(path))


def _parse(content: bytes | None) -> dict | None:
    """What a signature says; None if there is none, or a damaged one."""
    try:
        holder = json.loads(content or b"")
        time.localtime(holder["since"])
        numbers = {"pid": int(holder["pid"]), "renewed": float(holder["renewed"])}
        return holder | numbers | {"host": str(holder["host"])}
    except (OSError, ValueError, TypeError, LookupError, OverflowError):
        return None


def _content(path: epath.Path) -> bytes | None:
    """The signature as it is now; None if there is none.

    Raises InputError if a bucket cannot be read: somebody may hold it.
    """
    if bucket.is_remote(path):
        return bucket.read(path / _HOLDER)
    try:
        return (path / _HOLDER).read_bytes()
    except OSError:
        return None


def _in_use(path: epath.Path, holder: dict | None) -> InputError:
    who = "another process"
    if holder:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
        who = f"process {holder['pid']} on {holder['host']} since {since}"
    killed = " (three minutes, if it was killed)" if bucket.is_remote(path) else ""
    return InputError(
        f"Expected a workdir that nobody else trains in; {path} is in use by {who}. "
        f"Wait for it{killed}, or choose another --workdir."
    )
