"""How a command ends: an exit code, and one line where a person can do something."""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import NoReturn

from ser_jax import terminal
from ser_jax.errors import HostLost, InputError


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Ends the process when the block ends by an exception, and says why on stderr.

    SIGTERM ends the block as Ctrl-C does: what is half written is removed on the way.
    Exit codes: that of SystemExit; 2 for InputError; 130 for Ctrl-C; 1 for all else.
    """
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    except SystemExit as end:
        _exit(end.code)
    except InputError as error:
        _fail(str(error), 2)
    except HostLost as error:
        _fail(str(error), 1)
    except BrokenPipeError:  # the reader of our output has gone
        _exit(1)
    except OSError as error:
        _fail(f"{error.filename or 'output'}: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        trains = len(sys.argv) < 2 or sys.argv[1].startswith(("-", "train"))
        advice = "; repeat the same command to go on" if trains else ""
        print(f"Interrupted{advice}.", file=sys.stderr)
        _exit(130)
    except Exception:  # noqa: BLE001 - here of one of several processes as well
        traceback.print_exc()
        _exit(1)


def _fail(problem: str, code: int) -> NoReturn:
    first, *rest = map(terminal.printable, problem.splitlines())
    # Indented: no line of a name that holds line breaks passes for one of ours.
    print("\n  ".join([f"error: {first}", *map(str.strip, rest)]), file=sys.stderr)
    _exit(code)


def _exit(code) -> NoReturn:
    """Ends; of several processes at once, see `joining.let_go`."""
    joining = sys.modules.get("ser_jax.training.joining")
    if joining and joining.several():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    sys.exit(code)


def _stop(number: int, _frame) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    sys.exit(128 + number)
