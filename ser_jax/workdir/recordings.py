"""recordings.csv of a workdir: how long each tested recording is and where it lies."""

import csv
import dataclasses
import io
from collections.abc import Iterable

from etils import epath

from ser_jax.errors import InputError
from ser_jax.workdir.results import write_atomically

NAME = "recordings.csv"
COLUMNS = ("utterance", "duration_s", "wav")


@dataclasses.dataclass(frozen=True)
class Recording:
    """One line of recordings.csv.

    Attributes:
      utterance: Utterance id.
      duration_s: Length of what the model heard, seconds.
      wav: The file, all of which is the utterance; a path of the machine that trained.
    """

    utterance: str
    duration_s: float
    wav: str


def write(path, recordings: Iterable[Recording]) -> None:
    """Writes recordings.csv; durations to 0.1 ms."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for item in recordings:
        writer.writerow([item.utterance, f"{item.duration_s:.4f}", item.wav])
    write_atomically(path, text.getvalue().encode())


def read(path) -> dict[str, Recording]:
    """Recordings by utterance; empty if there is no file (older workdirs).

    Raises:
      InputError: The file lacks a column or a line cannot be read.
    """
    path = epath.Path(path)
    if not path.exists():
        return {}
    text = path.read_bytes().decode(errors="replace")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    found, row = {}, None
    try:
        for row in rows:
            fields = {name: row[name] for name in COLUMNS}
            fields["duration_s"] = float(row["duration_s"])
            found[row["utterance"]] = Recording(**fields)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"expected {', '.join(COLUMNS)} in line {rows.line_num} of {path}, got "
            f"{row}; write the file again with `run.py evaluate`"
        ) from error
    return found
