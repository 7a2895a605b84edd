"""One process at a time writes a dataset or a cache; the others wait for it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from ser_jax.errors import writing


@contextlib.contextmanager
def lock(target: Path, setting: str) -> Iterator[None]:
    """Makes other processes that lock the same target wait.

    Raises InputError, which names the `setting` that decides where `target` lies, if
    nothing can be written there.
    """
    path = target.parent / f".{target.name}.lock"
    with writing(path.parent, setting):
        path.parent.mkdir(parents=True, exist_ok=True)
        # The operating system releases it, even when this process is killed.
        held = filelock.FileLock(path).acquire()
    with held:
        yield
