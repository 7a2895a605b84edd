"""predictions.csv and recordings.csv: what was tested, and how it was answered."""

import csv
import dataclasses
import io
from collections.abc import Callable, Iterable, Sequence

from etils import epath

from ser_jax.errors import InputError
from ser_jax.workdir import files

COLUMNS = ("utterance", "fold", "seed", "speaker", "session", "label", "prediction")
CORPUS = "corpus"  # a column where several corpora are tested
POSTERIOR = "p_"  # prefix of a class's posterior column


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A tested utterance of one run, a line of predictions.csv."""

    utterance: str  # id
    fold: str  # that tested it
    seed: int  # of the run
    speaker: str
    session: str
    label: str  # true class, by name
    prediction: str  # predicted class, by name
    posteriors: tuple[float, ...]  # K probabilities, in the order of the classes
    corpus: str = ""  # that the utterance comes from; empty if there is one only


@dataclasses.dataclass(frozen=True)
class Recording:
    """A tested utterance, whoever tested it, a line of recordings.csv."""

    utterance: str  # id
    duration_s: float  # length of what the model heard
    wav: str  # all of it is the utterance; a path of the machine that trained


def write(path, predictions: Iterable[Prediction], classes: Sequence[str]) -> None:
    """Writes predictions.csv; posteriors keep float32 precision (9 digits).

    Raises:
      ValueError: A line has another number of posteriors or an unknown class.
    """
    rows, lines = [], list(predictions)
    columns = [*COLUMNS, *([CORPUS] if any(line.corpus for line in lines) else [])]
    for line in lines:
        _check(line, classes)
        digits = (f"{float(value):.9g}" for value in line.posteriors)
        rows.append([*(getattr(line, name) for name in columns), *digits])
    files.write_csv(path, [*columns, *(POSTERIOR + name for name in classes)], rows)


def read(path) -> tuple[list[Prediction], tuple[str, ...]]:
    """Reads the lines of predictions.csv, in order, and the class names.

    Raises:
      InputError: The file is missing, lacks a column, or a line cannot be read.
    """
    rows = csv.DictReader(io.StringIO(files.read_text(path), newline=""))
    header = rows.fieldnames or []
    posteriors = [name for name in header if name.startswith(POSTERIOR)]
    if not set(COLUMNS) <= set(header) or not posteriors:
        raise InputError(
            f"expected columns {', '.join(COLUMNS)}, {POSTERIOR}<class> ... in {path}, "
            f"got {', '.join(header) or 'an empty file'}; write it again with "
            "`run.py evaluate`"
        )
    classes = tuple(name.removeprefix(POSTERIOR) for name in posteriors)

    def parse(row: dict) -> Prediction:
        fields = {name: row[name] for name in COLUMNS} | {"seed": int(row["seed"])}
        fields[CORPUS] = row.get(CORPUS) or ""
        values = tuple(float(row[name]) for name in posteriors)
        line = Prediction(**fields, posteriors=values)
        _check(line, classes)
        return line

    return _parse(rows, path, parse), classes


def write_recordings(path, recordings: Iterable[Recording]) -> None:
    """Writes recordings.csv; durations to 0.1 ms."""
    rows = ([x.utterance, f"{x.duration_s:.4f}", x.wav] for x in recordings)
    files.write_csv(path, ("utterance", "duration_s", "wav"), rows)


def read_recordings(path) -> dict[str, Recording]:
    """Recordings by utterance; empty if there is no file (older workdirs).

    Raises:
      InputError: The file lacks a column or a line cannot be read.
    """
    path = epath.Path(path)
    if not path.exists():
        return {}
    text = path.read_bytes().decode(errors="replace")  # paths may be in any encoding

    def parse(row: dict) -> Recording:
        return Recording(row["utterance"], float(row["duration_s"]), row["wav"])

    lines = _parse(csv.DictReader(io.StringIO(text, newline="")), path, parse)
    return {line.utterance: line for line in lines}


def _parse(rows: csv.DictReader, path, parse: Callable) -> list:
    """Parses all rows; InputError names the first line that cannot be."""
    lines = []
    for row in rows:
        try:
            lines.append(parse(row))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"expected an utterance in line {rows.line_num} of {path}, got {row} "
                f"({error}); write the file again with `run.py evaluate`"
            ) from error
    return lines


def _check(line: Prediction, classes: Sequence[str]) -> None:
    if len(line.posteriors) != len(classes):
        raise ValueError(
            f"expected {len(classes)} posteriors for {line.utterance}, got "
            f"{len(line.posteriors)}; give one per class"
        )
    for name in (line.label, line.prediction):
        if name not in classes:
            raise ValueError(
                f"expected one of the classes {list(classes)} for {line.utterance}, "
                f"got {name!r}"
            )
