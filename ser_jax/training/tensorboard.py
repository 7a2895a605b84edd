"""TensorBoard events, one curve per run; needs no TensorFlow."""

import logging
import math
import os
import re
import tempfile
import time
from pathlib import Path

from ser_jax import bucket

_FLUSH_S = 60.0
_UPLOAD_S = 600.0  # a bucket takes all of a file each time


class EventLog:
    """Writes the numbers of metrics.jsonl lines as TensorBoard scalars.

    `axis` is what they stand over, `epoch` or `update`. What `folder` already has from a
    run's first line on is hidden: a resumed training writes it again. Where events
    cannot be written, a warning says so, and training goes on: metrics.jsonl holds the
    same numbers.
    """

    def __init__(self, folder, axis: str):
        """Opens nothing yet."""
        self._folder, self._axis = folder, axis
        remote = bucket.is_remote(folder)
        self._local = tempfile.TemporaryDirectory() if remote else None
        self._place = self._local.name if self._local else folder
        self._writers, self._names = {}, set()
        self._flushed = time.monotonic()

    def write(self, rows: list[dict]) -> None:
        """Adds one validation."""
        self._attempt(self._write, rows)

    def flush(self) -> None:
        """Leaves nothing to a kill; a bucket has to wait, see `_UPLOAD_S`."""
        self._attempt(self._flush)

    def close(self) -> None:
        """Flushes everything."""
        self._attempt(lambda: [writer.close() for writer in self._writers.values()])
        if self._local:
            self._attempt(self._upload)
            self._local.cleanup()

    def _attempt(self, action, *args) -> None:
        if self._writers is None:
            return
        try:
            action(*args)
        except Exception as error:  # noqa: BLE001 - a disk's, or any of a bucket's client
            self._writers = None
            message = "no more TensorBoard events in %s: %s"
            logging.getLogger(__name__).warning(message, self._folder, error)

    def _write(self, rows: list[dict]) -> None:
        from tensorboardX import summary  # a second where torch is, which it imports
        from tensorboardX.proto.event_pb2 import Event

        for row in rows:
            writer = self._writer(row)
            for name, value in row.items():
                if name not in ("epoch", "update", "fold", "seed", "point"):
                    scalar = summary.scalar(name, value)
                    now, step = time.time(), self._step(row)
                    event = Event(wall_time=now, step=step, summary=scalar)
                    writer.write_event(event)
        if time.monotonic() > self._flushed + (_UPLOAD_S if self._local else _FLUSH_S):
            self._flushed = time.monotonic()
            self._flush()
            if self._local:
                self._upload()

    def _flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()

    def _upload(self) -> None:
        bucket.upload_all(Path(self._local.name), str(self._folder))

    def _step(self, row: dict) -> int:
        return math.ceil(row[self._axis])  # a training may end inside of an epoch

    def _writer(self, row: dict):
        # Not `SummaryWriter`: its threads print what a full disk refuses, and then wait
        # forever.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import directory_check

        run = row["fold"], row["seed"], row.get("point")
        if run not in self._writers:
            # Fold names are a corpus's own values and may hold slashes or spaces.
            name = re.sub(r"[^\w.-]|^\.", "_", row["fold"])[:80]
            name, number = f"{name}-seed{row['seed']}", len(self._writers)
            name = name if run[-1] is None else f"point{run[-1]}-{name}"
            name = f"{name}-{number}" if name in self._names else name
            self._names.add(name)
            folder = os.path.join(self._place, name)
            directory_check(folder)
            writer = EventsWriter(os.path.join(folder, "events"))
            start, step = SessionLog(status=SessionLog.START), self._step(row)
            writer.write_event(
                Event(wall_time=time.time(), step=step, session_log=start)
            )
            self._writers[run] = writer
        return self._writers[run]
