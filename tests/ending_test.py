"""How a command ends: exit codes, and what a person reads."""

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, os, signal, sys, types
from ser_jax import ending
from ser_jax.errors import HostLost, InputError
atexit.register(lambda: print("left by its end"))
if sys.argv[1] == "several":
    sys.modules["ser_jax.training.joining"] = types.SimpleNamespace(several=lambda: True)
sys.argv[1:] = []
with ending.told():
    print("done so far")
    {ends}
"""


def ends(how: str, process: str = "alone"):
    program = PROGRAM.format(ends=how)
    return subprocess.run(
        [sys.executable, "-c", program, process],
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("pass", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("raise InputError('expected a')", 2, "error: expected a\n"),
        # No line of a name with line breaks passes for one of ours.
        ("raise InputError('a\\nerror: b\\x1b')", 2, "error: a\n  error: b\\x1b\n"),
        ("raise HostLost('process 1 died')", 1, "error: process 1 died\n"),
        ("raise BrokenPipeError", 1, ""),
        ("open('/no/file')", 1, "error: /no/file: No such file or directory\n"),
        (
            "raise KeyboardInterrupt",
            130,
            "Interrupted; repeat the same command to go on.\n",
        ),
        ("sys.argv[1:] = ['report']; raise KeyboardInterrupt", 130, "Interrupted.\n"),
        ("os.kill(os.getpid(), signal.SIGTERM)", 128 + 15, ""),
    ],
)
def test_one_line_and_a_code(how, code, said):
    done = ends(how)
    assert (done.returncode, done.stderr) == (code, said)
    assert done.stdout == "done so far\nleft by its end\n"


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("pass", 0, ""),
        ("raise InputError('expected a')", 2, "error: expected a\n"),
        ("{}['key']", 1, "KeyError: 'key'\n"),
    ],
)
def test_one_of_several_processes_skips_destructors(how, code, said):
    """Those of a job that others still use crash, whatever it fails of."""
    done = ends(how, "several")
    assert done.returncode == code and done.stderr.endswith(said)
    assert done.stdout == "done so far\n" + "left by its end\n" * (not code)


def test_our_own_faults_are_traced():
    done = ends("{}['key']")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback") and "KeyError: 'key'" in done.stderr
