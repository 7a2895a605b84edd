"""metrics.jsonl: a line per validation and run, added while training."""

import collections
import json
from collections.abc import Iterable, Mapping

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


def truncate(path, epochs: Mapping[tuple, float]) -> None:
    """Forgets lines after the epoch of each `run_of`, which will be trained again.

    And those of runs that are not in `epochs`.
    """
    rows = read(path)
    write(path, [x for x in rows if x["epoch"] <= epochs.get(run_of(x), -1)])


def write(path, rows: Iterable[Mapping]) -> None:
    """Writes the log anew."""
    files.write_atomically(path, _lines(rows).encode())


def run_of(row: Mapping) -> tuple[int, str, int | None]:
    """Seed, fold and, in a sweep, number of the point of a line."""
    return row["seed"], row["fold"], row.get("point")


def read(path) -> list[dict]:
    """Reads the log; a missing file is an empty list.

    A training that was killed may leave a torn line, and one that resumed repeats
    lines: torn ones are skipped, and the last line of an epoch and run counts. Where
    validation is counted in updates, epochs are fractions.

    Returns:
      One dict per run and epoch, sorted by epoch within a run, runs in the order
      of their first line.
    """
    path = epath.Path(path)
    runs = collections.defaultdict(dict)
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
            runs[run_of(row)][row["epoch"]] = row
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
    return [epochs[epoch] for epochs in runs.values() for epoch in sorted(epochs)]


def _lines(rows: Iterable[Mapping]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
