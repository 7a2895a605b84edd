"""A workdir belongs to one process at a time, whatever becomes of that process."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time

import filelock
import pytest
from etils import epath

from ser_jax import bucket
from ser_jax.errors import InputError
from ser_jax.workdir import lock

HOLD = (
    "import sys, time; from etils import epath; from ser_jax.workdir import lock\n"
    "with lock.lock(epath.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


@pytest.fixture(params=["local", "remote"])
def hold(request, monkeypatch):
    """The lock of a disk, or the signature that buckets get."""
    return lock.lock if request.param == "local" else lock._signature


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE
    )
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def test_the_second_process_is_told_who_holds_it(holder, hold, tmp_path):
    with (
        pytest.raises(InputError, match="is in use by process") as caught,
        hold(epath.Path(tmp_path)),
    ):
        pass
    assert f"process {holder.pid} on {socket.gethostname()}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_process_holds_nothing(holder, hold, number, tmp_path):
    holder.send_signal(number)
    holder.wait()
    with hold(epath.Path(tmp_path)):
        assert json.loads((tmp_path / ".lock.json").read_text())["pid"] == os.getpid()


def test_it_can_be_taken_again(hold, tmp_path):
    for _ in range(2):
        with hold(epath.Path(tmp_path)):
            pass
        # Somebody else's object: ours may live on until it is collected.
        with filelock.FileLock(tmp_path / ".lock").acquire(timeout=0):
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_gets_a_signature(number, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    path = epath.Path(tmp_path)
    with lock.lock(path), pytest.raises(InputError, match="in use by process"):
        lock.lock(path).__enter__()
    assert not (tmp_path / ".lock.json").exists()


def test_a_workdir_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(InputError, match=f"cannot write {tmp_path}: Is a directory"):
        lock.lock(epath.Path(tmp_path)).__enter__()


def test_a_signature_survives_a_failure_and_leaves_others_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_RENEW_S", 0.01)
    path, calls = epath.Path(tmp_path), []
    original = lock._sign

    def sometimes(*args):
        calls.append(args)
        if len(calls) == 2:
            raise OSError(errno.EIO, "flaky")
        original(*args)

    monkeypatch.setattr(lock, "_sign", sometimes)
    with lock._signature(path):
        while len(calls) < 4:
            time.sleep(0.01)
        theirs = {"host": "other", "pid": 7, "since": 0.0, "renewed": time.time()}
        for _ in range(20):  # we slept, and somebody took over
            (tmp_path / ".lock.json").write_text(json.dumps(theirs))
            time.sleep(0.1)
            # A renewal that had already looked may still write, once.
            if json.loads((tmp_path / ".lock.json").read_text()) == theirs:
                break
    assert json.loads((tmp_path / ".lock.json").read_text()) == theirs


@pytest.mark.parametrize(
    ("change", "free"),
    [
        ({}, False),
        ({"renewed": 0.0}, True),  # three minutes without a sign of life
        ({"host": socket.gethostname(), "pid": 2**22 + 1}, True),  # no such process
        ({"host": socket.gethostname(), "pid": os.getpid()}, False),
    ],
)
def test_a_signature_counts_as_long_as_it_is_renewed(change, free, tmp_path):
    holder = {"host": "other", "pid": 7, "since": 0.0, "renewed": time.time()}
    (tmp_path / ".lock.json").write_text(json.dumps(holder | change))
    if free:
        with lock._signature(epath.Path(tmp_path)):
            pass
        return
    with (
        pytest.raises(InputError, match="in use by process"),
        lock._signature(epath.Path(tmp_path)),
    ):
        pass


def test_a_long_training_renews_its_signature(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_RENEW_S", 0.01)
    with lock._signature(epath.Path(tmp_path)):
        first = json.loads((tmp_path / ".lock.json").read_text())
        time.sleep(0.2)
        later = json.loads((tmp_path / ".lock.json").read_text())
    assert later["renewed"] > first["renewed"] and later["since"] == first["since"]
    assert not (tmp_path / ".lock.json").exists()


BROKEN = '{"host": "x", "pid": %s, "since": %s, "renewed": 1e99}'


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"host": 1}',
        BROKEN % ('"x"', 1),
        BROKEN % (1, '"a"'),
        BROKEN % (1, 1e99),
    ],
)
def test_a_damaged_signature_blocks_nobody(content, hold, tmp_path):
    (tmp_path / ".lock.json").write_text(content)
    with hold(epath.Path(tmp_path)):
        pass


URL = "gs://pretended"


class _Memory:
    """In place of a bucket: what it has, and what happens before a request."""

    def __init__(self):
        self.content, self.before = None, {}

    def _request(self, kind):
        self.before.pop(kind, lambda: None)()

    def read(self, path):
        self._request("read")
        return self.content

    def delete(self, path):
        self._request("delete")
        self.content = None

    def write(self, path, content, *, only_new=False):
        self._request("write")
        if only_new and self.content is not None:
            raise FileExistsError(path)
        self.content = content


@pytest.fixture
def memory(monkeypatch):
    memory = _Memory()
    for name in ("read", "delete", "write"):
        monkeypatch.setattr(bucket, name, getattr(memory, name))
    monkeypatch.setattr(lock, "_SETTLE_S", 0.0)
    return memory


def signature(renewed: float) -> bytes:
    theirs = {"host": "other", "pid": 7, "since": 0.0, "renewed": renewed}
    return json.dumps(theirs).encode()


@pytest.mark.parametrize("found", [None, signature(0.0), b"damaged"])
def test_who_signs_between_a_look_and_a_signature_keeps_the_bucket(memory, found):
    live = signature(time.time())
    memory.content = found

    def signs():  # before the second request, whatever it is
        memory.before, memory.content = {}, live

    def looked():
        memory.before = dict.fromkeys(("read", "delete", "write"), signs)

    memory.before = {"read": looked}
    # `looked` runs before the first answer, which is what was found.
    with pytest.raises(InputError, match="in use by process 7 on other"):
        lock.lock(epath.Path(URL)).__enter__()
    assert memory.content == live


def test_a_bucket_that_cannot_be_read_is_not_free(memory):
    live = memory.content = signature(time.time())

    def lost():
        raise InputError("lost the bucket")

    memory.before = {"read": lost}
    with pytest.raises(InputError, match="lost the bucket"):
        lock.lock(epath.Path(URL)).__enter__()
    assert memory.content == live


@pytest.mark.parametrize("found", [signature(0.0), b"damaged"])
def test_a_stale_signature_in_a_bucket_is_replaced(memory, found):
    memory.content = found
    ours = {"host": socket.gethostname(), "pid": os.getpid()}
    lock._sign_first(epath.Path(URL), 0.0, found)
    assert ours.items() <= json.loads(memory.content).items()


def test_a_signature_whose_answer_was_lost_is_ours(memory, monkeypatch):
    """The client repeats a request that nobody answered; the bucket has it by then."""
    write = memory.write

    def twice(path, content, *, only_new=False):
        write(path, content, only_new=only_new)
        write(path, content, only_new=only_new)

    monkeypatch.setattr(bucket, "write", twice)
    lock._sign_first(epath.Path(URL), 0.0, None)
    assert json.loads(memory.content)["pid"] == os.getpid()
