"""Checkpoints in a bucket: copied there by this process, whole.

Orbax itself would write to `gs://` only, with credentials of its own and more rights than
objects need, and would say nothing of a bucket that is gone for a quarter of an hour. So
it writes to a local folder, in the background as everywhere, from where checkpoints are
copied. In the bucket one counts once Orbax's own mark, `commit_success.txt`, is there;
here it is what is copied last.
"""

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from etils import epath

from ser_jax import bucket
from ser_jax.background import Background

COMMITTED = "commit_success.txt"


def steps(folder: epath.Path) -> list[int]:
    """Numbers of the complete checkpoints of a folder, local or in a bucket."""
    if not folder.exists():
        return []
    found = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    if not bucket.is_remote(folder):
        return found  # they appeared by a rename
    return [step for step in found if (folder / str(step) / COMMITTED).exists()]


@contextlib.contextmanager
def readable(checkpoint: epath.Path) -> Iterator[epath.Path]:
    """A place where Orbax can read the checkpoint."""
    if not bucket.is_remote(checkpoint):
        yield checkpoint
        return
    with tempfile.TemporaryDirectory(prefix="ser_jax_") as place:
        local = Path(place) / checkpoint.name
        bucket.download(str(checkpoint), local, below=True)
        yield epath.Path(local)


class Staging:
    """Copies what Orbax has written to `remote`, one checkpoint after the other."""

    def __init__(self, remote: epath.Path):
        """Makes the local folder."""
        self._remote = remote
        self._place = tempfile.TemporaryDirectory(prefix="ser_jax_")
        self.folder = epath.Path(self._place.name)
        self._copying = Background()
        self._latest = max(steps(remote), default=None)

    def latest_step(self) -> int | None:
        """As the `CheckpointManager` of a folder that Orbax writes to has it."""
        return self._latest

    def send(self, manager, step: int, keep: int) -> None:
        """Starts to copy; afterwards the newest `keep` checkpoints are left."""
        self._copying.do(functools.partial(self._send, manager, step, keep))
        self._latest = step

    def close(self) -> None:
        """Waits for the last one, and deletes the local folder.

        Raises:
          InputError: It cannot be copied.
        """
        try:
            self._copying.close()
        finally:
            self._place.cleanup()

    def _send(self, manager, step: int, keep: int) -> None:
        manager.wait_until_finished()
        local, there = Path(self.folder) / str(step), str(self._remote / str(step))
        (local / COMMITTED).touch()
        bucket.delete(there)  # what an interrupted copy left
        files = [path for path in local.rglob("*") if path.is_file()]
        bucket.upload(files, local, there, last=COMMITTED)
        for old in steps(self._remote)[:-keep]:
            bucket.delete(self._remote / str(old), first=COMMITTED)
