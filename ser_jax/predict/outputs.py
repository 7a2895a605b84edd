"""What `predict` and `explain` write: tables of answers, folders, file names."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from etils import epath
from tabulate import tabulate

from ser_jax.errors import InputError
from ser_jax.features.audio import AudioError
from ser_jax.predict.answers import Answer
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.workdir.predictions import POSTERIOR

SUFFIXES = (".csv", ".jsonl")


class AnswerWriter:
    """Writes answers as they come, so that a kill loses none of them.

    Every row carries the model, its corpus and its stamps.
    """

    def __init__(self, stream, suffix: str, trained: TrainedModel):
        """Writes the header, if the format has one."""
        self._stream, self._trained, self._csv = stream, trained, None
        if suffix == ".csv":
            columns = ["file", "label", *(POSTERIOR + name for name in trained.classes)]
            columns += ["start_s", "end_s", "warnings", "error"]
            columns += ["model", "corpus", "stamps"]
            self._csv = csv.DictWriter(
                stream, columns, extrasaction="ignore", lineterminator="\n"
            )
            self._csv.writeheader()

    def write(self, file: str, answer: Answer | AudioError) -> None:
        """Writes one row; an error leaves the answer's fields empty."""
        row = {"file": file, "label": None, "error": None}
        if isinstance(answer, AudioError):
            row["error"] = str(answer)
        else:
            row["label"] = answer.label
            probabilities = answer.probabilities.tolist()
            row["probabilities"] = dict(zip(answer.classes, probabilities, strict=True))
            row |= {"start_s": answer.start_s, "end_s": answer.end_s}
            row["warnings"] = answer.warnings
        provenance = self._trained.provenance
        keys = ("model", "corpus", "selection", "stamps", "workdir")
        row |= {key: provenance[key] for key in keys}
        if self._csv:
            self._csv.writerow(_flatten(row))
        else:
            row |= {"classes": self._trained.classes, "runs": self._trained.runs}
            self._stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._stream.flush()


def _flatten(row: dict) -> dict[str, str]:
    """The cells of a CSV row."""
    cells = dict(row)
    for name, p in cells.pop("probabilities", {}).items():
        cells[POSTERIOR + name] = f"{p:.9g}"
    for name in {"start_s", "end_s"} & cells.keys():
        cells[name] = f"{cells[name]:.3f}"
    for name in {"warnings", "stamps"} & cells.keys():
        cells[name] = "; ".join(cells[name])
    return cells


@contextmanager
def open_writer(path: str, trained: TrainedModel) -> Iterator[AnswerWriter | None]:
    """A writer to `path`, or None for an empty path.

    Rows go to `<path>.part`, which is renamed at the end and stays after a kill.

    Raises:
      InputError: It ends with neither .csv nor .jsonl, or cannot be written.
    """
    if not path:
        yield None
        return
    check_suffix(path)
    target = Path(path).expanduser()
    part = target.with_name(target.name + ".part")
    try:
        stream = part.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(
            f"--out: expected a file that can be written; {path}: {error.strerror}."
        ) from error
    with stream:
        yield AnswerWriter(stream, target.suffix, trained)
    part.replace(target)


def check_suffix(path: str) -> None:
    """Raises InputError unless `path` is empty or ends with .csv or .jsonl."""
    if path and Path(path).suffix not in SUFFIXES:
        raise InputError(
            f"--out: expected a name that ends with {' or '.join(SUFFIXES)}; got "
            f"{path!r}."
        )


def format_table(rows: Sequence[tuple[str, Answer]], classes: Sequence[str]) -> str:
    """A table of (file, answer) for the terminal; probabilities in percent."""
    # The header is a row like the others: tabulate widens columns that have one.
    cells = [("file", "label", *(f"{name} %" for name in classes), "")]
    for file, answer in rows:
        percent = (f"{100 * p:.1f}" for p in answer.probabilities)
        cells.append((file, answer.label, *percent, "; ".join(answer.warnings)))
    return tabulate(
        cells,
        tablefmt="plain",
        disable_numparse=True,  # a file may be called 1e3
        colalign=("left", "left", *["right"] * len(classes), "left"),
    )


def make_folder(folder) -> epath.Path:
    """Makes a folder, local or `gs://`, for the files of a command.

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
    """A file name like `stem` that is not yet in `taken`; adds it there."""
    stem = re.sub(r"[^\w.-]", "_", stem)[:80]  # file systems allow 255 bytes
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name
