"""The recordings of a command line: files, folders, manifests, standard input."""

import dataclasses
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ser_jax.corpora import csv_table
from ser_jax.errors import InputError

# Of what libsndfile reads, when a folder is searched: other files lie there too.
SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"),
    *(".au", ".caf", ".w64", ".rf64", ".sph"),
)


@dataclasses.dataclass(frozen=True)
class Source:
    """One recording of a command line."""

    name: str  # as the user wrote it; `-` for standard input
    path: str  # of the file, which may not exist
    id: str  # of a manifest's row; else its name
    label: str = ""  # the corpus's own, or empty
    text: str | None = None  # transcript


def expand(
    names: Sequence[str], *, text: str | None = None, stdin_to: str = ""
) -> list[Source]:
    """Recordings of the given files, folders, manifests (.csv) and `-`, in that order.

    Folders are searched through; a file given by name is kept whatever it is, so that
    a bad one is reported.

    Args:
      names: Of the command line.
      text: Transcript of recordings that no manifest gives a text for.
      stdin_to: Folder that standard input is copied to; it is needed more than once.

    Raises:
      InputError: Nothing is given, a folder is empty, or a manifest cannot be read.
    """
    recordings: list[Source] = []
    if names.count("-") > 1:
        raise InputError("Expected `-` once: standard input can be read once.")
    for name in names:
        path = Path(name).expanduser()
        if name == "-":
            recordings.append(_standard_input(stdin_to, text))
        elif path.is_dir():
            recordings += _folder(path, text)
        elif path.suffix.lower() == ".csv":
            recordings += _manifest(path, text)
        else:
            recordings.append(Source(name, str(path), name, text=text))
    if not recordings:
        raise InputError(
            "Expected recordings, folders, manifests (.csv) or `-` for standard input; "
            "got none. For example: python run.py predict --workdir=W speech.wav"
        )
    return recordings


def _standard_input(folder: str, text) -> Source:
    path = Path(folder) / "standard_input.wav"
    with path.open("wb") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
    return Source("-", str(path), "-", text=text)


def _folder(folder: Path, text) -> list[Source]:
    paths = sorted(path for path in _walk(folder) if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(
            f"Expected recordings ({' '.join(SUFFIXES)}) in {folder}; got none."
        )
    return [Source(str(p), str(p), str(p), text=text) for p in paths]


def _walk(folder: Path) -> Iterator[Path]:
    """Files of a folder, through links but no folder twice; no Apple metadata."""
    visited = set()
    for at, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        # In this order, a folder's own files come before those that links lead to.
        folders[:] = sorted(
            (x for x in folders if x != "__MACOSX"),
            key=lambda x: (os.path.islink(os.path.join(at, x)), x),
        )
        for name in folders:
            if os.path.islink(link := os.path.join(at, name)):
                logging.getLogger(__name__).info(
                    "%s is a link to %s", link, os.path.realpath(link)
                )
        yield from (Path(at, x) for x in files if not x.startswith("._"))


def _manifest(file: Path, text) -> Iterator[Source]:
    """Rows of a CSV file with a column `path`; `id`, `emotion` and `text` are read."""
    rows = csv_table.read(file, ("path",), ("id", "emotion", "text"))
    if not rows:
        raise InputError(
            f"{file}: expected one row or more below the header; got none."
        )
    for row in rows:
        path = row.cells["path"]
        yield Source(
            name=path or f"{file.name}, line {row.line}",
            path=str(file.parent / path) if path else "",
            # As a training names it: scores ask whether it was trained on.
            id=row.cells.get("id") or os.path.splitext(path)[0],
            label=row.cells.get("emotion", ""),
            text=row.cells.get("text", text),
        )
