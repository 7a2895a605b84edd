"""TensorBoard events, one curve per run; needs no TensorFlow."""

import functools
import re
from collections.abc import Iterable

from ser_jax import clock


class EventLog:
    """Writes the numbers of metrics.jsonl lines as TensorBoard scalars."""

    def __init__(self, folder, runs: Iterable, epochs_done: int):
        """Opens nothing yet.

        Args:
          folder: Where the event files go.
          runs: Every `Run`.
          epochs_done: Later epochs already in the folder are hidden (a resumed run).
        """
        self._folder = folder
        self._epochs_done = epochs_done
        self._runs = [(run.fold.name, run.fold.seed) for run in runs]

    @functools.cached_property
    def _writers(self) -> dict:
        # More than a second where torch is installed, which it imports.
        from tensorboardX import SummaryWriter

        return {
            (fold, seed): SummaryWriter(
                str(self._folder / f"{_as_folder(fold)}-seed{seed}"),
                purge_step=self._epochs_done + 1,
            )
            for fold, seed in self._runs
        }

    @clock.part("logs")
    def write(self, rows: list[dict]) -> None:
        """Adds one epoch."""
        for row in rows:
            writer = self._writers[row["fold"], row["seed"]]
            for name, value in row.items():
                if name not in ("epoch", "fold", "seed"):
                    writer.add_scalar(name, value, row["epoch"])

    def close(self) -> None:
        """Flushes everything."""
        if "_writers" in vars(self):
            for writer in self._writers.values():
                writer.close()


def _as_folder(name: str) -> str:
    """Fold names are a corpus's own values and may hold slashes or spaces."""
    return re.sub(r"[^\w.-]", "_", name)
