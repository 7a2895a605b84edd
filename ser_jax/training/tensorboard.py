"""TensorBoard events, one curve per run; needs no TensorFlow."""

import re

from ser_jax import clock


class EventLog:
    """Writes the numbers of metrics.jsonl lines as TensorBoard scalars.

    Epochs after the first `epochs_done` that are already in `folder` are hidden: a
    resumed training writes them again.
    """

    def __init__(self, folder, epochs_done: int):
        """Opens nothing yet."""
        self._folder, self._epochs_done = folder, epochs_done
        self._writers = {}

    @clock.part("logs")
    def write(self, rows: list[dict]) -> None:
        """Adds one epoch."""
        # More than a second where torch is installed, which it imports.
        from tensorboardX import SummaryWriter

        for row in rows:
            # Fold names are a corpus's own values and may hold slashes or spaces.
            fold = re.sub(r"[^\w.-]", "_", row["fold"])
            run = f"{fold}-seed{row['seed']}"
            if run not in self._writers:
                self._writers[run] = SummaryWriter(
                    str(self._folder / run), purge_step=self._epochs_done + 1
                )
            for name, value in row.items():
                if name not in ("epoch", "fold", "seed"):
                    self._writers[run].add_scalar(name, value, row["epoch"])

    def close(self) -> None:
        """Flushes everything."""
        for writer in self._writers.values():
            writer.close()
