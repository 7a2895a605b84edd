"""The recordings of a command line: files, folders, manifests, standard input."""

import dataclasses
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ser_jax.corpora import csv_table
from ser_jax.corpora.recording_folder import RecordingFolder, address_hint
from ser_jax.errors import InputError, writing
from ser_jax.features.audio import AudioError

_log = logging.getLogger(__name__)

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
    fault: tuple[str, str] = ()  # reason and detail, of a row that cannot be used

    def checked_path(self) -> str:
        """The path; AudioError if a table's row cannot be used."""
        if self.fault:
            raise AudioError(*self.fault)
        return self.path


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
        elif os.path.isdir(path):  # unlike Path's, False for names that no folder has
            recordings += _folder(path, text)
        elif path.suffix.lower() == ".csv":
            recordings += _manifest(path, text)
        else:
            recordings.append(_file(name, path, text))
    if not recordings:
        raise InputError(
            "Expected recordings, folders, manifests (.csv) or `-` for standard input; "
            "got none. For example: python run.py predict --workdir=W speech.wav"
        )
    return recordings


def _file(name: str, path: Path, text) -> Source:
    advice = address_hint(name)
    fault = ("missing file", f"expected a path{advice}") if advice else ()
    return Source(name, str(path), name, text=text, fault=fault)


def _standard_input(folder: str, text) -> Source:
    if sys.stdin is None:
        raise InputError("-: expected a recording on standard input; got a closed one.")
    path = Path(folder) / "standard_input.wav"
    with writing(path, "TMPDIR"), path.open("wb") as copy:
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

    def name_unreadable(error: OSError) -> None:
        _log.warning("not searched: %s: %s", error.filename, error.strerror)

    visited = set()
    for at, folders, files in os.walk(folder, True, name_unreadable, followlinks=True):
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
        files = [x for x in files if not x.startswith("._")]
        for name in (*folders, *files):
            if os.path.islink(link := os.path.join(at, name)):
                _log.info("%s is a link to %s", link, os.path.realpath(link))
        yield from (Path(at, x) for x in files)


def _manifest(file: Path, text) -> Iterator[Source]:
    """Rows of a CSV file with a column `path`; `id`, `emotion` and `text` are read."""
    rows = csv_table.read(file, ("path",), ("id", "emotion", "text"))
    if not rows:
        raise InputError(
            f"{file}: expected one row or more below the header; got none."
        )
    folder = RecordingFolder(file.parent.absolute())
    for row in rows:
        path = row.cells["path"]
        yield Source(
            name=path or f"{file.name}, line {row.line}",
            path=str(file.parent / path) if path else "",
            # As a training names it: scores ask whether it was trained on.
            id=row.cells.get("id") or os.path.splitext(path)[0],
            label=row.cells.get("emotion", ""),
            text=row.cells.get("text", text),
            fault=_fault(row, path, file.parent, folder),
        )


def _fault(row, path: str, parent: Path, folder: RecordingFolder) -> tuple[str, str]:
    if row.surplus:
        return "malformed row", csv_table.surplus_detail(row)
    if os.path.basename(path).startswith("._") or "__MACOSX" in path.split(os.sep):
        return "Apple metadata", "expected a recording"
    if path and not os.path.exists(parent / path):
        return "missing file", f"expected a path that exists{folder.hint(path)}"
    return ()
