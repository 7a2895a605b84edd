"""Names from outside reach a terminal escaped; no stream raises."""

import os
import subprocess
import sys

import pytest

from ser_jax.terminal import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("schön, 日本語 $5$.wav", "schön, 日本語 $5$.wav"),
        ("new\nline\ttab", r"new\nline\ttab"),
        ("esc\x1b[31mred", r"esc\x1b[31mred"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        (os.fsdecode(b"caf\xe9.wav"), r"caf\xe9.wav"),
        ("\u202egnp.wav", r"\u202egnp.wav"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown and printable(shown) == shown


def test_nothing_raw_is_printed_or_logged():
    program = (
        "from absl import logging as absl; import logging, sys;"
        "from ser_jax import terminal; terminal.prepare(); absl.use_absl_handler();"
        "print('table\\x1b[31m\\rof\\n\\u202elines', end=''); sys.stdout.write('\\a');"
        "logging.getLogger('ser_jax').warning('%s', 'log\\x1b[31m\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout == "table\\x1b[31m\\rof\n\\u202elines\\x07"
    assert "log\\x1b[31m\\n" in done.stderr and "\x1b" not in done.stderr


@pytest.mark.parametrize("redirect", ["", ">&-", "2>&-", ">&- 2>&-"])
def test_closed_and_ascii_streams_are_written_to(tmp_path, redirect):
    file = tmp_path / "result"
    program = (
        "from ser_jax import terminal; terminal.prepare(); "
        f"file = open({str(file)!r}, 'w'); import os; os.write(1, b'to the terminal'); "
        "print('schön \\udce9'); file.write('whole'); file.close()"
    )
    subprocess.run(
        f'"{sys.executable}" -c "{program}" {redirect}',
        shell=True,
        check=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert file.read_text() == "whole"
