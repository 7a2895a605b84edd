"""The one error for what a user can cause and correct."""

import contextlib
import errno
import os
from collections.abc import Iterator

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
_PLACE = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
_REFUSALS = (*_DISK, *_PLACE, errno.ENOENT, errno.ENAMETOOLONG)


@contextlib.contextmanager
def writing(path, setting: str = "") -> Iterator[None]:
    """Turns what goes wrong with a disk into an InputError that names `path`.

    `setting` decides where `path` lies, if anything does. Other files that cannot be
    read or written within are not `path`'s fault: their errors pass.
    """
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        file = getattr(error, "filename", None)
        if file and not os.fsdecode(file).startswith(os.path.dirname(os.fspath(path))):
            raise
        # Libraries wrap what a disk refuses in errors of their own.
        known = (*map(os.strerror, _DISK), "Not enough disk space")  # the last: TFDS
        texts = [text for text in known if text in str(error)]
        if isinstance(error, OSError) and error.errno in _REFUSALS:
            texts.append(error.strerror)
        if not texts:
            raise
        other = f", or set {setting}" if setting else ""
        raise InputError(
            f"cannot write {path}: {texts[0]}. Free space or allow writing there"
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


class HostLost(Exception):
    """Another process of a job on several hosts has failed or died.

    The message is one text for a person. `run.py` prints it and exits with 1.
    """
