"""TensorBoard events, one curve per run; needs no TensorFlow."""

import os
import re
import time

from ser_jax import clock
from ser_jax.errors import writing

_FLUSH_S = 60.0  # a bucket takes all of a file each time


class EventLog:
    """Writes the numbers of metrics.jsonl lines as TensorBoard scalars.

    Epochs after the first `epochs_done` that are already in `folder` are hidden: a
    resumed training writes them again.
    """

    def __init__(self, folder, epochs_done: int):
        """Opens nothing yet."""
        self._folder, self._epochs_done = folder, epochs_done
        self._writers = {}
        self._flushed = time.monotonic()

    @clock.part("logs")
    def write(self, rows: list[dict]) -> None:
        """Adds one epoch; InputError if the disk does not take it."""
        from tensorboardX import summary  # a second where torch is, which it imports
        from tensorboardX.proto.event_pb2 import Event

        with writing(self._folder):
            for row in rows:
                writer = self._writer(row)
                for name, value in row.items():
                    if name not in ("epoch", "fold", "seed"):
                        scalar = summary.scalar(name, value)
                        now, epoch = time.time(), row["epoch"]
                        event = Event(wall_time=now, step=epoch, summary=scalar)
                        writer.write_event(event)
            if time.monotonic() > self._flushed + _FLUSH_S:
                self._flushed = time.monotonic()
                for writer in self._writers.values():
                    writer.flush()

    def close(self) -> None:
        """Flushes everything."""
        with writing(self._folder):
            for writer in self._writers.values():
                writer.close()

    def _writer(self, row: dict):
        # Not `SummaryWriter`: its threads print what a full disk refuses, and then wait
        # for ever.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import directory_check

        # Fold names are a corpus's own values and may hold slashes or spaces.
        fold = re.sub(r"[^\w.-]", "_", row["fold"])
        run = f"{fold}-seed{row['seed']}"
        if run not in self._writers:
            folder = str(self._folder / run)
            directory_check(folder)
            writer = EventsWriter(os.path.join(folder, "events"))
            start = SessionLog(status=SessionLog.START)
            writer.write_event(Event(step=self._epochs_done + 1, session_log=start))
            self._writers[run] = writer
        return self._writers[run]
