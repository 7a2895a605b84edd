"""Where commands put what they make: a folder, and a file name per recording."""

import re

from etils import epath

from ser_jax.errors import InputError


def make_folder(folder) -> epath.Path:
    """A folder, local or `gs://`, that can be written to.

    Raises:
      InputError: It cannot be made.
    """
    path = epath.Path(folder).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out: expected a folder that can be written to; {path}: "
            f"{error.strerror}."
        ) from error
    return path


def unique_name(stem: str, taken: set[str]) -> str:
    """A file name that no other recording of this call has, and takes it."""
    stem = re.sub(r"[^\w.-]", "_", stem)[:80]  # systems take 255 bytes
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name
