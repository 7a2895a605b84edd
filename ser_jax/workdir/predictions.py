"""predictions.csv: a line for every tested utterance of every run."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence

from ser_jax.errors import InputError
from ser_jax.workdir import files

COLUMNS = ("utterance", "fold", "seed", "speaker", "session", "label", "prediction")
POSTERIOR = "p_"  # prefix of a class's posterior column


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One line."""

    utterance: str  # id
    fold: str  # that tested it
    seed: int  # of the run
    speaker: str
    session: str
    label: str  # true class, by name
    prediction: str  # predicted class, by name
    posteriors: tuple[float, ...]  # K probabilities, in the order of the classes


def write(path, predictions: Iterable[Prediction], classes: Sequence[str]) -> None:
    """Writes predictions.csv; posteriors keep float32 precision (9 digits).

    Raises:
      ValueError: A line has another number of posteriors or an unknown class.
    """
    rows = []
    for line in predictions:
        _check(line, classes)
        digits = (f"{float(value):.9g}" for value in line.posteriors)
        rows.append([*(getattr(line, name) for name in COLUMNS), *digits])
    files.write_csv(path, [*COLUMNS, *(POSTERIOR + name for name in classes)], rows)


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
    lines = []
    for row in rows:
        try:
            fields = {name: row[name] for name in COLUMNS} | {"seed": int(row["seed"])}
            values = tuple(float(row[name]) for name in posteriors)
            line = Prediction(**fields, posteriors=values)
            _check(line, classes)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"expected a prediction in line {rows.line_num} of {path}, got {row} "
                f"({error}); write the file again with `run.py evaluate`"
            ) from error
        lines.append(line)
    return lines, classes


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
