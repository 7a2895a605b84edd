"""What reaches a terminal: nothing that it cannot show, and never an exception."""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator

from absl import logging as absl_logging


def printable(text: str) -> str:
    """A name or value from outside, with control and invisible characters escaped.

    So is what is not UTF-8 in a file's name: `caf\\xe9.wav`.
    """
    return "".join(c if c.isprintable() else _escape(c) for c in text)


class _Escaping(io.TextIOWrapper):
    """Standard output, on which labels, speakers and names may be printed as they are."""

    def write(self, text: str) -> int:
        if text.isprintable():
            return super().write(text)
        return super().write("\n".join(map(printable, text.split("\n"))))


def _escape(c: str) -> str:
    if "\udc80" <= c <= "\udcff":  # how Python keeps a byte that it cannot decode
        return f"\\x{ord(c) - 0xDC00:02x}"
    return c.encode("unicode_escape").decode()


def prepare() -> None:
    """Escapes what is printed and logged; lets standard output be closed or ASCII."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Else the next file that is opened would get what libraries print.
            os.open(os.devnull, os.O_RDWR)
    if isinstance(sys.stderr, io.TextIOWrapper):  # it may be closed, or a notebook's
        sys.stderr.reconfigure(errors="backslashreplace")
    if isinstance(out := sys.stdout, io.TextIOWrapper):
        ways = {"encoding": out.encoding, "line_buffering": out.line_buffering}
        ways |= {"write_through": out.write_through, "errors": "backslashreplace"}
        sys.stdout = sys.__stdout__ = _Escaping(out.detach(), **ways)
    absl_logging.get_absl_handler().addFilter(_escape_message)
    sys.unraisablehook = _print_unraisable


def _print_unraisable(unraisable) -> None:
    # What TensorStore says of each write after the first that a full disk refused; of
    # that one the main thread tells.
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _escape_message(record: logging.LogRecord) -> bool:
    record.msg, record.args = printable(record.getMessage()), ()
    return True


@contextlib.contextmanager
def flushed() -> Iterator[None]:
    """Writes what output holds back, while there is somebody to tell of failures.

    Raises OSError, which at the interpreter's own end would be a traceback.
    """
    try:
        yield
    except Exception:
        with contextlib.suppress(OSError):  # the first failure is the one to tell
            _flush()
        raise
    except SystemExit:
        _flush()
        raise
    _flush()


def _flush() -> None:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        # Or the interpreter tries again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
