"""The features of a built dataset as one file that is mapped, not loaded.

A dataset's records are read once. Their features are appended to `frames.npy`, the rest
of each record to `index.jsonl`; later starts map the first, whose pages the operating
system may drop, and read the second. The index begins with the names, sizes and times of
the files that the cache was made from: if they differ, the cache is written again.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ser_jax.datasets import locking
from ser_jax.errors import writing

_FRAMES, _INDEX = "frames.npy", "index.jsonl"
_SETTING = "--config.data.cache_dir"
_LAYOUT = 1  # increase it when the layout changes: all caches are then written again


# The JSON entry of each block and its [..., F, C] arrays, all of one type.
Blocks = Iterable[tuple[dict, list[np.ndarray]]]
# All blocks' frames [N, F, C], float32 or for samples int16, and their entries.
Cache = tuple[np.ndarray, list[dict]]


def open_or_write(
    folder: Path, directory: str | os.PathLike, blocks: Callable[[], Blocks]
) -> Cache:
    """Maps a folder's frames; writes the folder first if it is absent or outdated.

    Args:
      folder: Where the two files lie; InputError if it cannot be written.
      directory: The dataset that `blocks` reads.
    """
    source = {"layout": _LAYOUT, "dataset": _files(directory)}
    if cache := _read(folder, source):
        return cache
    with locking.lock(folder, _SETTING):
        if cache := _read(folder, source):  # another process was first
            return cache
        _write(folder, source, blocks())
        return _read(folder, source)


def _files(directory: str | os.PathLike) -> dict[str, list[int]]:
    """Size in bytes and time of change in ns of each visible file, by name."""
    files = {}
    for path in sorted(Path(directory).iterdir()):
        if path.is_file() and not path.name.startswith("."):  # locks are hidden
            stat = path.stat()
            files[path.name] = [stat.st_size, stat.st_mtime_ns]
    return files


def _read(folder: Path, source: dict) -> Cache | None:
    try:
        with open(folder / _INDEX) as file:
            if json.loads(next(file)) != source:
                return None
            entries = [json.loads(line) for line in file]
        frames = np.load(folder / _FRAMES, mmap_mode="r")
    except (OSError, ValueError, StopIteration):  # absent or incomplete
        return None
    return frames.view(np.ndarray), entries


def _write(folder: Path, source: dict, blocks: Blocks) -> None:
    unfinished = folder.with_name(f"{folder.name}.incomplete")
    # We hold the lock, so what is there was left by a killed process.
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with writing(folder, _SETTING):
            unfinished.mkdir(parents=True)
            with (
                open(unfinished / _FRAMES, "wb") as frames,
                open(unfinished / _INDEX, "w") as index,
            ):
                index.write(json.dumps(source) + "\n")
                _write_blocks(frames, index, blocks)
                for file in (frames, index):
                    file.flush()
                    os.fsync(file.fileno())
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)  # complete, or not there at all
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_blocks(frames, index, blocks: Blocks) -> None:
    num, header = 0, None
    for entry, arrays in blocks:
        for array in arrays:
            rows = np.ascontiguousarray(array).reshape(-1, *array.shape[-2:])
            if header is None:
                header = np.lib.format.header_data_from_array_1_0(rows)
                np.lib.format.write_array_header_1_0(frames, header)
            frames.write(rows.data)
            num += len(rows)
        index.write(json.dumps(entry) + "\n")
    # The number of frames is known only now. NumPy pads its header so that a longer
    # first axis fits.
    frames.seek(0)
    shape = (num, *header["shape"][1:])
    np.lib.format.write_array_header_1_0(frames, header | {"shape": shape})
