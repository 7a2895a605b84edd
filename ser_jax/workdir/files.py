"""Which files a workdir has, and how they are read and written.

A workdir is local, `gs://` or `s3://`, so all goes through `etils.epath`. Local files are
written beside their place and moved there in one step, and objects in a bucket appear
whole: a reader sees the old file or the new one, never half of one.
"""

import contextlib
import csv
import io
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

import numpy as np
from etils import epath

from ser_jax import bucket
from ser_jax.errors import InputError, writing

CONFIG = "config.json"
SPLITS = "splits.json"
PLACEMENT = "placement.json"
CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
PROFILE = "profile"
PREDICTIONS = "predictions.csv"
VALIDATION = "validation.csv"  # as predictions.csv, of the part that chose the state
RECORDINGS = "recordings.csv"
SWEEP = "sweep"  # a folder of a sweep's groups, a folder each
POINTS = "points"  # a sweep's chosen points as workdirs, where networks differ
OUTCOME = "outcome.json"  # of a group that has trained: how its runs validated
CROSS_CORPUS = "cross_corpus"
BASELINE = "baseline"  # a folder with results and predictions of its own
RESULTS = "results.json"  # written last: where it is, the training is complete


def check_name(path, key: str) -> None:
    """Raises InputError if libraries could not write to `path`, the value of `key`."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{key}: expected a name in UTF-8; got {path!r}. Choose another."
        ) from error


def resolve(path) -> epath.Path:
    """A workdir's whole path: local ones absolute, those in a bucket as they are."""
    if re.match(r"(gs|s3):/(?!/)", str(path)):
        raise InputError(f"expected gs://BUCKET/... or s3://BUCKET/..., got {path}")
    path = epath.Path(path).expanduser()
    if bucket.is_remote(path):
        bucket.prepare()
    else:
        path = path.resolve()
    check_name(path, "--workdir")
    return path


def resolve_all(paths: Sequence) -> dict[epath.Path, str]:
    """The whole path of several workdirs, and what to call each; their order stays.

    Raises:
      InputError: One is named twice.
    """
    whole = [resolve(path) for path in paths]
    # Whatever links lead to them.
    real = {x if bucket.is_remote(x) else os.path.realpath(x) for x in whole}
    if len(real) < len(whole):
        raise InputError(
            f"expected every workdir once, got {', '.join(map(str, paths))}; leave one "
            "out"
        )
    # Workdirs are often called by their config, in folders of different experiments.
    are_distinct = len({path.name for path in whole}) == len(whole)
    return {path: path.name if are_distinct else str(path) for path in whole}


def make_folder(path: epath.Path, setting: str) -> None:
    """Makes a folder, which a bucket does without.

    Raises InputError, which names the `setting` that decides where it lies.
    """
    if not bucket.is_remote(path):
        with writing(path, setting):
            path.mkdir(parents=True, exist_ok=True)


def write_atomically(path, content: bytes) -> None:
    """Writes `content` to `path` so that no reader ever sees a part of it.

    Raises:
      InputError: It cannot be written: a full disk, a read-only folder.
    """
    if bucket.is_remote(path):
        bucket.write(path, content)
        return
    path = epath.Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            beside.write_bytes(content)
            beside.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):  # of a read-only folder, again
                beside.unlink(missing_ok=True)
            raise


def write_json(path, value: Mapping) -> None:
    """Writes JSON; NumPy values become plain ones, NaN and infinity become null."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    # A path may hold bytes that are not UTF-8.
    write_atomically(path, (text + "\n").encode(errors="backslashreplace"))


def read_json(path) -> dict:
    """Reads a JSON object.

    Raises:
      InputError: The file is missing or no JSON object.
    """
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"expected JSON in {path}, got a file that breaks off or is damaged "
            f"({error}); run the training command again, it resumes"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"expected a JSON object in {path}, got {type(content)}")
    return content


def read_text(path) -> str:
    """Reads a file that a finished training has left.

    Raises:
      InputError: It is missing.
    """
    path = epath.Path(path)
    if not path.exists():
        # In a bucket a folder is there only with what is in it.
        if not path.parent.exists():
            raise InputError(
                f"expected a trained folder at {path.parent}, got none; check its name"
            )
        raise InputError(
            f"expected the file {path}, got none; a workdir has it once training has "
            "ended: run the training command again, it resumes"
        )
    return path.read_bytes().decode()


def write_csv(path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Writes a table with a header."""
    text = io.StringIO()
    writer = csv.writer(UnixLines(text))
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode(errors="backslashreplace"))


class UnixLines:
    """What a `csv.writer` writes into `stream`, with lines that end with \\n alone.

    Told to do so, the csv module leaves cells with a \\r unquoted, and breaks the row.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, line: str) -> None:
        """Takes a whole line, as the csv module gives it."""
        self._stream.write(line.removesuffix("\r\n") + "\n")


def plain(value):
    """Python's own types only; tuples and arrays as lists, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
