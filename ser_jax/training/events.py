"""TensorBoard events, one curve per run; needs no TensorFlow."""

import re
from collections.abc import Iterable

from tensorboardX import SummaryWriter


class EventLog:
    """Writes the numbers of metrics.jsonl lines as TensorBoard scalars."""

    def __init__(self, folder, runs: Iterable, epochs_done: int):
        """Opens one writer per run.

        Args:
          folder: Where the event files go.
          runs: `RunWindows` of every run.
          epochs_done: Later epochs already in the folder are hidden (a resumed run).
        """
        self._writers = {
            (run.fold.name, run.fold.seed): SummaryWriter(
                str(folder / f"{_as_folder(run.fold.name)}-seed{run.fold.seed}"),
                purge_step=epochs_done + 1,
            )
            for run in runs
        }

    def write(self, rows: list[dict]) -> None:
        """Adds one epoch."""
        for row in rows:
            writer = self._writers[row["fold"], row["seed"]]
            for name, value in row.items():
                if name not in ("epoch", "fold", "seed"):
                    writer.add_scalar(name, value, row["epoch"])

    def close(self) -> None:
        """Flushes everything."""
        for writer in self._writers.values():
            writer.close()


def _as_folder(name: str) -> str:
    """Fold names are a corpus's own values and may hold slashes or spaces."""
    return re.sub(r"[^\w.-]", "_", name)
