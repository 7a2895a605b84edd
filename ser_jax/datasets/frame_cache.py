"""The features of a built dataset as one file that is mapped, not loaded.

A dataset's records are read once. Their features go one after the other into
`frames.npy`, what is known of each utterance into `index.jsonl`; later starts map the
first and read the second. Pages of a mapped file are the system's to drop, so that the
memory a process needs does not grow with the corpus. The folder appears by one rename
and names the files it was made from: whatever else is found there is made anew.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ser_jax.datasets import build
from ser_jax.errors import InputError

_FRAMES, _INDEX = "frames.npy", "index.jsonl"
_LAYOUT = 1  # another number makes every folder anew


@dataclasses.dataclass(frozen=True)
class Flat:
    """Blocks of frames in a file.

    Attributes:
      frames: [N, F, C], float32 (int16 for samples), read-only; pages are read when touched.
      entries: What was said of each block, in the order of the blocks.
    """

    frames: np.ndarray
    entries: list[dict]


Blocks = Iterable[tuple[dict, list[np.ndarray]]]


def ensure(folder: Path, source: dict, blocks: Callable[[], Blocks]) -> Flat:
    """Maps a folder's frames; makes the folder first if it is not there.

    Processes that want the same folder at once wait for the first one.

    Args:
      folder: Where the two files lie.
      source: What the blocks come from, as JSON; a folder of another is replaced.
      blocks: Gives the blocks: an entry, as JSON, and its [..., F, C] arrays, all of
        one type.

    Raises:
      InputError: The folder cannot be written.
    """
    source = json.loads(json.dumps({"layout": _LAYOUT, **source}))
    found = _read(folder, source)
    if found is None:
        with build.lock(folder, "--config.data.cache_dir"):
            found = _read(folder, source)  # another process may have been first
            if found is None:
                _write(folder, source, blocks())
                found = _read(folder, source)
    return found


def files(directory: str | os.PathLike) -> dict[str, list[int]]:
    """Size in bytes and time of change in ns of each file in a folder, by name.

    Hidden files, locks among them, do not count.
    """
    found = {}
    for path in sorted(Path(directory).iterdir()):
        if path.is_file() and not path.name.startswith("."):
            stat = path.stat()
            found[path.name] = [stat.st_size, stat.st_mtime_ns]
    return found


def _read(folder: Path, source: dict) -> Flat | None:
    try:
        with open(folder / _INDEX) as file:
            head = json.loads(next(file))
            if head != source:
                return None
            entries = [json.loads(line) for line in file]
        frames = np.load(folder / _FRAMES, mmap_mode="r")
    except (OSError, ValueError, StopIteration):  # absent, or not a whole one
        return None
    return Flat(frames.view(np.ndarray), entries)


def _write(folder: Path, source: dict, blocks: Blocks) -> None:
    unfinished = folder.with_name(f"{folder.name}.incomplete")
    shutil.rmtree(
        unfinished, ignore_errors=True
    )  # a killed process's; we hold the lock
    try:
        unfinished.mkdir(parents=True)
        with (
            open(unfinished / _FRAMES, "wb") as frames,
            open(unfinished / _INDEX, "w") as index,
        ):
            index.write(json.dumps(source) + "\n")
            _fill(frames, index, blocks)
            for file in (frames, index):
                file.flush()
                os.fsync(file.fileno())
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    except OSError as error:
        raise InputError(
            f"cannot write the features' flat copy {folder}: {error.strerror}. Free "
            "space there or point --config.data.cache_dir at another folder."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _fill(frames, index, blocks: Blocks) -> None:
    """Appends all blocks, then writes the number of frames into the header.

    NumPy leaves room in the header for a first axis of any length.
    """
    num = 0
    for entry, arrays in blocks:
        for array in arrays:
            if not num:
                shape, dtype = array.shape[-2:], array.dtype
                _header(frames, 0, shape, dtype)
            frames.write(np.ascontiguousarray(array, dtype).data)
            num += array.size // (shape[0] * shape[1])
        index.write(json.dumps(entry) + "\n")
    length = frames.tell()
    frames.seek(0)
    _header(frames, num, shape, dtype)
    frames.seek(length)


def _header(file, num: int, shape: tuple[int, int], dtype: np.dtype) -> None:
    np.lib.format.write_array_header_1_0(
        file,
        {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (num, *shape),
        },
    )
