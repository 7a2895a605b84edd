"""The one error for what a user can cause and correct."""

import contextlib
import errno
import os
from collections.abc import Iterator

# What disks refuse, as the texts of the system: libraries wrap them in their own errors.
_DISK = [
    os.strerror(number)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
]


@contextlib.contextmanager
def writing(path, elsewhere: str = "") -> Iterator[None]:
    """Turns what goes wrong with a disk into an InputError that names `path`.

    `elsewhere` is the setting that decides where `path` lies, if one does.
    """
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        reasons = [text for text in _DISK if text in str(error)]
        if isinstance(error, OSError):
            reasons.append(error.strerror or str(error))
        if not reasons:
            raise
        other = f", or set {elsewhere}" if elsewhere else ""
        raise InputError(
            f"cannot write {path}: {reasons[0]}. Free space or allow writing there"
            f"{other}, and repeat the command: what is complete stays."
        ) from error


def first_line(error: Exception) -> str:
    """The start of an error's text, to be quoted; its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one text for a person: what was expected, what came, what to do.
    `run.py` prints it without a traceback and exits with 2.
    """
