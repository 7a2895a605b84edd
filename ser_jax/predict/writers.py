"""What `predict` and `explain` write: tables of answers, folders, file names."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from etils import epath
from tabulate import tabulate

from ser_jax import bucket
from ser_jax.errors import InputError, writing
from ser_jax.features.audio import AudioError
from ser_jax.predict.answers import Answer
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.terminal import printable
from ser_jax.workdir import files
from ser_jax.workdir.predictions import POSTERIOR

SUFFIXES = (".csv", ".jsonl")


@contextmanager
def open_writer(
    path: str, trained: TrainedModel
) -> Iterator[Callable[[str, Answer | AudioError], None]]:
    """A function that writes the row of (file, answer); none for an empty path.

    Rows come to `<path>.part` at once, so that a kill loses none of them; it is renamed
    at the end. Every row carries the model, its corpus and its stamps.

    Raises:
      InputError: `path` ends with neither .csv nor .jsonl, or cannot be written.
    """
    if not path:
        yield lambda file, answer: None
        return
    check_suffix(path)
    if bucket.is_remote(path):
        raise InputError(
            f"--out: expected a local file, to which rows are added; got {path}."
        )
    target = Path(path).expanduser()
    # A name of its own: a table that is there from before stays until this is whole.
    part = target.with_name(target.name + ".part")
    with writing(target, "--out"):
        # A name that is not UTF-8 is written with escapes.
        stream = part.open("w", encoding="utf-8", errors="backslashreplace", newline="")
    columns = ["file", "label", *(POSTERIOR + name for name in trained.classes)]
    columns += ["start_s", "end_s", "warnings", "error", "model", "corpus", "stamps"]
    table = csv.DictWriter(files.UnixLines(stream), columns, extrasaction="ignore")

    def write(file: str, answer: Answer | AudioError) -> None:
        row = _row(file, answer, trained)
        with writing(target, "--out"):
            if target.suffix == ".csv":
                table.writerow(_csv_cells(row))
            else:
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            stream.flush()

    try:
        if target.suffix == ".csv":
            table.writeheader()
        yield write
    finally:
        with writing(target, "--out"):
            stream.close()
    part.replace(target)


def _row(file: str, answer: Answer | AudioError, trained: TrainedModel) -> dict:
    """As JSON has it; an error takes the place of the answer's values."""
    row = {"file": file, "label": None, "error": None}
    if isinstance(answer, AudioError):
        row["error"] = str(answer)
    else:
        probabilities = answer.probabilities.tolist()
        row |= {
            "label": answer.label,
            "probabilities": dict(zip(answer.classes, probabilities, strict=True)),
            "start_s": answer.start_s,
            "end_s": answer.end_s,
            "warnings": answer.warnings,
        }
    keys = ("model", "corpus", "selection", "stamps", "workdir")
    row |= {key: trained.provenance[key] for key in keys}
    return row | {"classes": trained.classes, "runs": trained.runs}


def _csv_cells(row: dict) -> dict:
    cells = dict(row)
    for name, p in cells.pop("probabilities", {}).items():
        cells[POSTERIOR + name] = f"{p:.9g}"  # all digits of a float32
    for name in {"start_s", "end_s"} & cells.keys():
        cells[name] = f"{cells[name]:.3f}"
    for name in {"warnings", "stamps"} & cells.keys():
        cells[name] = "; ".join(cells[name])
    return cells


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
        cells.append(
            (printable(file), answer.label, *percent, "; ".join(answer.warnings))
        )
    return tabulate(
        cells,
        tablefmt="plain",
        disable_numparse=True,  # a file may be called 1e3
        colalign=("left", "left", *["right"] * len(classes), "left"),
    )


def make_folder(folder) -> epath.Path:
    """Makes a folder, local or in a bucket; raises InputError if that fails."""
    path = epath.Path(folder).expanduser()
    files.make_folder(path, "--out")
    return path


def unique_name(stem: str, taken: set[str]) -> str:
    """A file name like `stem` that is not yet in `taken`; adds it there."""
    stem = re.sub(r"[^\w.-]", "_", stem)[:80]  # file systems allow 255 bytes
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name
