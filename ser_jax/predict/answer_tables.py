"""Answers as rows: for the terminal, as CSV, as JSON lines."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ser_jax.errors import InputError
from ser_jax.features.audio import AudioError
from ser_jax.predict.answers import Answer
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.workdir.results import POSTERIOR

SUFFIXES = (".csv", ".jsonl")


class Writer:
    """Writes answers as they come, so that nothing is lost on the way."""

    def __init__(self, stream, suffix: str, trained: TrainedModel):
        """Writes the header, if the format has one."""
        self._stream, self._suffix, self._trained = stream, suffix, trained
        self._csv = csv.writer(stream, lineterminator="\n")
        if suffix == ".csv":
            names = [POSTERIOR + name for name in trained.classes]
            span = ("start_s", "end_s")
            about = ("warnings", "error", "model", "corpus", "stamps")
            self._csv.writerow(["file", "label", *names, *span, *about])

    def write(self, file: str, answer: Answer | AudioError) -> None:
        """One row; an error leaves the answer's fields empty."""
        if self._suffix == ".csv":
            self._csv.writerow(self._cells(file, answer))
        else:
            line = json.dumps(self._fields(file, answer), ensure_ascii=False)
            self._stream.write(line + "\n")
        self._stream.flush()

    def _cells(self, file: str, answer) -> list[str]:
        known = self._trained.provenance
        about = (known["model"], known["corpus"], "; ".join(known["stamps"]))
        if isinstance(answer, AudioError):
            empty = [""] * (len(self._trained.classes) + 4)
            return [file, *empty, str(answer), *about]
        digits = [f"{p:.9g}" for p in answer.probabilities]
        span = [f"{answer.start_s:.3f}", f"{answer.end_s:.3f}"]
        said = "; ".join(answer.warnings)
        return [file, answer.label, *digits, *span, said, "", *about]

    def _fields(self, file: str, answer) -> dict:
        model = {
            k: self._trained.provenance[k]
            for k in ("model", "corpus", "selection", "stamps", "workdir")
        }
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
def opened(path: str, trained: TrainedModel) -> Iterator[Writer | None]:
    """A writer to `path`, which gets its name when all is written; None for ''.

    What was written before a kill is in `<path>.part`.

    Raises:
      InputError: It ends with neither .csv nor .jsonl, or cannot be written.
    """
    if not path:
        yield None
        return
    check(path)
    target = Path(path).expanduser()
    part = target.with_name(target.name + ".part")
    try:
        stream = part.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(
            f"--out: expected a file that can be written; {path}: {error.strerror}."
        ) from error
    with stream:
        yield Writer(stream, target.suffix, trained)
    part.replace(target)


def check(path: str) -> None:
    """Raises InputError unless `path` is empty or ends with .csv or .jsonl."""
    if path and Path(path).suffix not in SUFFIXES:
        raise InputError(
            f"--out: expected a name that ends with {' or '.join(SUFFIXES)}; got "
            f"{path!r}."
        )


def for_terminal(rows: Sequence[tuple[str, Answer]], trained: TrainedModel) -> str:
    """The answers for a person; probabilities in percent."""
    cells = [("file", "label", *(f"{name} %" for name in trained.classes), "")]
    for file, answer in rows:
        percent = (f"{100 * p:.1f}" for p in answer.probabilities)
        cells.append((file, answer.label, *percent, "; ".join(answer.warnings)))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = [
            cell.ljust(width) if at in (0, 1, len(row) - 1) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)
