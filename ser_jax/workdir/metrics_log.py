"""metrics.jsonl: a line per validation and run, added while training."""

import collections
import json
from collections.abc import Mapping

from etils import epath

from ser_jax import bucket
from ser_jax.errors import writing
from ser_jax.workdir import files


def append(path, rows: list[dict]) -> None:
    """Adds a validation's lines."""
    path = epath.Path(path)
    if bucket.is_remote(path):  # which cannot append: one read and one write each time
        bucket.write(path, (bucket.read(path) or b"") + _lines(rows).encode())
        return
    with writing(path), open(path, "a") as file:
        file.write(_lines(rows))


def truncate(path, epochs: Mapping[tuple[int, str], float]) -> None:
    """Forgets the lines after each (seed, fold)'s epoch, which will be trained again."""
    rows = read(path)
    rows = [row for row in rows if row["epoch"] <= epochs[row["seed"], row["fold"]]]
    files.write_atomically(path, _lines(rows).encode())


def read(path) -> list[dict]:
    """Reads the log; a missing file is an empty list.

    A training that was killed may leave a torn line, and one that resumed repeats
    lines: torn ones are skipped, and the last line of an epoch and run counts. Where
    validation is counted in updates, epochs are fractions.

    Returns:
      One dict per (seed, fold, epoch), sorted by epoch within a run, runs in the order
      of their first line.
    """
    path = epath.Path(path)
    runs = collections.defaultdict(dict)
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
            runs[row["seed"], row["fold"]][row["epoch"]] = row
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
    return [epochs[epoch] for epochs in runs.values() for epoch in sorted(epochs)]


def _lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
