"""The recordings of a command line: files, folders, manifests, standard input."""

import csv
import dataclasses
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

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
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(
            f"Expected recordings ({' '.join(SUFFIXES)}) in {folder}; got none."
        )
    return [Source(str(p), str(p), str(p), text=text) for p in paths]


def _manifest(file: Path, text) -> Iterator[Source]:
    """Rows of a CSV file with a column `path`; `id`, `emotion` and `text` are read."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restval="")
            # Spreadsheets write a byte-order mark, people write blanks around names.
            reader.fieldnames = names = [x.strip() for x in reader.fieldnames or ()]
            if "path" not in names:
                raise InputError(
                    f"{file}: expected a column `path`; got "
                    f"{', '.join(names) or 'no header'}."
                )
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: expected a CSV file in UTF-8; {error}.") from error
    if not rows:
        raise InputError(
            f"{file}: expected one row or more below the header; got none."
        )
    for row in rows:
        path = row["path"].strip()
        yield Source(
            name=path or f"{file.name} (a row without a path)",
            path=str(file.parent / path),
            # As a training names it: scores ask whether it was trained on.
            id=row.get("id", "").strip() or os.path.splitext(path)[0],
            label=row.get("emotion", "").strip(),
            text=row.get("text", text),
        )
