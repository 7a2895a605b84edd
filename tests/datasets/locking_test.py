"""A lock makes others wait, dies with its process, and says where it cannot be."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from ser_jax.datasets import locking
from ser_jax.errors import InputError

_HOLDER = """
import pathlib, sys, time
from ser_jax.datasets import locking
with locking.lock(pathlib.Path(sys.argv[1]), "--flag"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_others_wait_until_it_is_released(tmp_path):
    events = []

    def second():
        with locking.lock(tmp_path / "data", "--flag"):
            events.append("second")

    thread = threading.Thread(target=second)
    with locking.lock(tmp_path / "data", "--flag"):
        thread.start()
        time.sleep(0.2)  # long enough for a lock that does not wait
        events.append("first")
    thread.join(10)
    assert events == ["first", "second"]


def test_a_killed_process_holds_nothing(tmp_path):
    target = tmp_path / "folder" / "data"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    done = threading.Event()

    def take():
        with locking.lock(target, "--flag"):
            done.set()

    threading.Thread(target=take, daemon=True).start()
    assert done.wait(10)


def test_a_place_that_cannot_be_written_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(
            InputError, match=r"cannot write .*: File exists.* or set --flag, and"
        ),
        locking.lock(tmp_path / "file" / "data", "--flag"),
    ):
        pass
