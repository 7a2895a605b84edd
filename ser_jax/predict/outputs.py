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
    """Writes answers as they come, so that a kill loses none that was given.

    Every row carries the model, its corpus and its stamps.
    """

    def __init__(self, stream, suffix: str, trained: TrainedModel):
        """Writes the header, if the format has one."""
        self._stream, self._suffix, self._trained = stream, suffix, trained
        self._csv = csv.writer(stream, lineterminator="\n")
        if suffix == ".csv":
            columns = ["file", "label", *(POSTERIOR + name for name in trained.classes)]
            columns += ["start_s", "end_s", "warnings", "error"]
            self._csv.writerow([*columns, "model", "corpus", "stamps"])

    def write(self, file: str, answer: Answer | AudioError) -> None:
        """Writes one row; an error leaves the answer's fields empty."""
        if self._suffix == ".csv":
            self._csv.writerow(self._cells(file, answer))
        else:
            line = json.dumps(self._fields(file, answer), ensure_ascii=False)
            self._stream.write(line + "\n")
        self._stream.flush()

    def _cells(self, file: str, answer) -> list[str]:
        known = self._trained.provenance
        model = (known["model"], known["corpus"], "; ".join(known["stamps"]))
        if isinstance(answer, AudioError):
            empty = [""] * (len(self._trained.classes) + 4)
            return [file, *empty, str(answer), *model]
        digits = [f"{p:.9g}" for p in answer.probabilities]
        span = [f"{answer.start_s:.3f}", f"{answer.end_s:.3f}"]
        warnings = "; ".join(answer.warnings)
        return [file, answer.label, *digits, *span, warnings, "", *model]

    def _fields(self, file: str, answer) -> dict:
        known = self._trained.provenance
        keys = ("model", "corpus", "selection", "stamps", "workdir")
        model = {key: known[key] for key in keys}
        model |= {"classes": self._trained.classes, "runs": self._trained.runs}
        if isinstance(answer, AudioError):
            return {"file": file, "label": None, "error": str(answer), **model}
        numbers = zip(answer.classes, answer.probabilities.tolist(), strict=True)
        return {
            "file": file,
            "label": answer.label,
            "probabilities": dict(numbers),
            "start_s": answer.start_s,
            "end_s": answer.end_s,
            "warnings": answer.warnings,
            "error": None,
            **model,
        }


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
