"""recordings.csv: how long each tested recording is and where it lies."""

import csv
import dataclasses
import io
from collections.abc import Iterable

from etils import epath

from ser_jax.errors import InputError
from ser_jax.workdir import files

COLUMNS = ("utterance", "duration_s", "wav")


@dataclasses.dataclass(frozen=True)
class Recording:
    """One line."""

    utterance: str  # id
    duration_s: float  # length of what the model heard
    wav: str  # all of it is the utterance; a path of the machine that trained


def write(path, recordings: Iterable[Recording]) -> None:
    """Writes recordings.csv; durations to 0.1 ms."""
    rows = ([x.utterance, f"{x.duration_s:.4f}", x.wav] for x in recordings)
    files.write_csv(path, COLUMNS, rows)


def read(path) -> dict[str, Recording]:
    """Recordings by utterance; empty if there is no file (older workdirs).

    Raises:
      InputError: The file lacks a column or a line cannot be read.
    """
    path = epath.Path(path)
    if not path.exists():
        return {}
    text = path.read_bytes().decode(errors="replace")  # paths may be in any encoding
    rows = csv.DictReader(io.StringIO(text, newline=""))
    recordings = {}
    try:
        for row in rows:
            fields = {name: row[name] for name in COLUMNS}
            fields["duration_s"] = float(row["duration_s"])
            recordings[row["utterance"]] = Recording(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"expected columns {', '.join(COLUMNS)} and a number of seconds in line "
            f"{rows.line_num} of {path}, got another line ({error}); write the file "
            "again with `run.py evaluate`"
        ) from error
    return recordings
