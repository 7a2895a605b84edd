"""Where windows are cut: on the device from one table, or on the host, call by call.

- `device`: the whole table of frames lies on every device; the host sends places in it.
- `host`: the frames stay in their mapped file. The host cuts the windows of each call
  and sends them, as a small table of their own, through the same compiled step.

Either way the next call is prepared in a thread while the device works, and a training
gives the same numbers.
"""

import dataclasses
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ser_jax.data.batches import Index, Tables
from ser_jax.data.frame_table import FrameBuffer
from ser_jax.data.sample_table import SampleBuffer
from ser_jax.training.runs import Placement

FRAMES_ON = ("auto", "device", "host")
# A table goes to the device in parts of this size, so that the host never holds it.
_PART_BYTES = 64 * 2**20
# Windows of one call, all runs together; up to three calls are in memory at once.
_CALL_BYTES = 256 * 2**20
# Where a container's memory limit stands: cgroup 2, cgroup 1.
_CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (_CGROUP / "memory.max", _CGROUP / "memory" / "memory.limit_in_bytes")

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FrameStorage:
    """Where the frames lie, and why.

    Attributes:
      on: `device` or `host`.
      asked: `data.frames_on`.
      table_bytes: Size of the table of frames; every device would hold one.
      budget_bytes: What it may take of a device's memory.
    """

    on: str
    asked: str
    table_bytes: int
    budget_bytes: int

    def __str__(self) -> str:
        where = {"device": "on each device", "host": "in a mapped file of the host"}
        return (
            f"Frames: {self.table_bytes / 2**20:.0f} MiB {where[self.on]} "
            f"(data.frames_on={self.asked}; a device's share is "
            f"{self.budget_bytes / 2**20:.0f} MiB)."
        )


class Chunk(NamedTuple):
    """What one round of runs reads in one call.

    Attributes:
      index: Windows [W, S, B] of W runs.
      rows: Empty if the device has the table; else for each table of frames its part,
        float32 [W, S, B T, F, C], window b from row b T on.
    """

    index: Index
    rows: dict[str, jax.Array]


def choose_storage(num_bytes: int, data, devices: list) -> FrameStorage:
    """Decides where frames lie.

    Args:
      num_bytes: Size of their table.
      data: `config.data`; `frames_on` and `device_share` are read.
      devices: The devices that would hold a table each.
    """
    budget = int(data.device_share * device_bytes(devices))
    on = data.frames_on
    if on == "auto":
        on = "device" if num_bytes <= budget else "host"
    return FrameStorage(on, data.frames_on, num_bytes, budget)


def device_bytes(devices: list) -> int:
    """Memory of one of several equal devices; CPU devices divide the host's."""
    stats = devices[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    local = [d for d in devices if d.process_index == devices[0].process_index]
    return host_bytes() // len(local)


def host_bytes() -> int:
    """The host's memory, or the container's share of it."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _LIMITS:
        if path.exists() and (text := path.read_text().strip()).isdigit():
            found.append(int(text))
    return min(found)


class Feeder:
    """Gives the compiled functions what they read.

    Attributes:
      storage: Where the frames lie.
      tables: What every call reads, on the devices.
      placement: Where runs live; another one must have the same mesh.
    """

    def __init__(
        self,
        buffers: Mapping[str, FrameBuffer | SampleBuffer],
        tables: Tables,
        placement: Placement,
        data,
    ):
        """Puts the tables on the devices.

        Args:
          buffers: Tables of frames, by their field of `Tables`.
          tables: All other tables.
          placement: Where runs live.
          data: `config.data`.
        """
        self._buffers = buffers
        self.placement = placement
        total = sum(buffer.num_bytes for buffer in buffers.values())
        self.storage = choose_storage(
            total, data, placement.mesh.devices.ravel().tolist()
        )
        _log.info("%s", self.storage)
        self.tables = placement.replicate(tables)
        if self.storage.on == "device":
            held = {name: _upload(x, placement) for name, x in buffers.items()}
            self.tables = self.tables._replace(**held)

    def steps_per_call(self, most: int, windows: int, window_frames: int) -> int:
        """Steps that one call should take, at most `most`.

        Args:
          most: What is best if only places are sent.
          windows: Of all runs in one step.
          window_frames: Of the longest window.
        """
        if self.storage.on == "device":
            return most
        row = sum(x.num_bytes // x.shape[0] for x in self._buffers.values())
        return max(1, min(most, _CALL_BYTES // (windows * window_frames * row)))

    def chunks(
        self, pieces: Iterable[tuple[int, int, Index]], *, skip: bool = True
    ) -> Iterator[tuple[int, int, list[Chunk | None]]]:
        """Prepares calls, one ahead of the call that is being worked on.

        Args:
          pieces: (first step, frames of the windows, arrays [R, S, B]), see
            `schedule.chunks`.
          skip: See `chunk`.

        Yields:
          The same with what `chunk` makes of the arrays.
        """

        def prepare(first, window_frames, index):
            return first, window_frames, self.chunk(index, window_frames, skip=skip)

        with ThreadPoolExecutor(1, "feeding") as thread:
            waiting = deque()
            for piece in pieces:
                waiting.append(thread.submit(prepare, *piece))
                if len(waiting) > 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def chunk(
        self, index: Index, window_frames: int, *, skip: bool = True
    ) -> list[Chunk | None]:
        """What each round reads, on its devices.

        Args:
          index: Windows of all runs, arrays [R, S, B].
          window_frames: T.
          skip: Whether a round without examples is None.
        """
        chunks = []
        for number in range(self.placement.rounds):
            part = self.placement.select(index, number)
            filler = self.placement.members(number) >= self.placement.num_runs
            part.weight[filler] = 0.0
            if skip and not part.weight.any():
                chunks.append(None)
                continue
            rows = self._rows(part.start, window_frames)
            chunks.append(self.placement.put(Chunk(part, rows)))
        return chunks

    def _rows(self, start: np.ndarray, window_frames: int) -> dict[str, np.ndarray]:
        if self.storage.on == "device":
            return {}
        cut = {
            name: x.windows(start, window_frames) for name, x in self._buffers.items()
        }
        return {
            name: x.reshape(*start.shape[:-1], -1, *x.shape[start.ndim + 1 :])
            for name, x in cut.items()
        }


def own_table(tables: Tables, chunk: Chunk, window_frames: int) -> tuple[Tables, Index]:
    """Inside a compiled function: the tables and the places that one step reads.

    Args:
      tables: What every call reads.
      chunk: Of one run and one step: index [B], rows [B T, F, C].
      window_frames: T.
    """
    if not chunk.rows:
        return tables, chunk.index
    start = jnp.arange(len(chunk.index.start)) * window_frames
    return tables._replace(**chunk.rows), chunk.index._replace(start=start)


def _upload(buffer: FrameBuffer | SampleBuffer, placement: Placement) -> jax.Array:
    """Puts a table on every device; the host holds one part of it at a time."""
    total = buffer.shape[0]
    rows = max(buffer.window_frames, _PART_BYTES * total // buffer.num_bytes)
    if total <= rows:
        return placement.replicate(buffer.rows(0, total))
    everywhere = NamedSharding(placement.mesh, PartitionSpec())
    table = jax.jit(
        lambda: jnp.zeros(buffer.shape, buffer.dtype), out_shardings=everywhere
    )()
    write = jax.jit(
        lambda table, part, at: jax.lax.dynamic_update_slice_in_dim(table, part, at, 0),
        donate_argnums=0,
        out_shardings=everywhere,
    )
    for start in range(0, total, rows):
        start = min(start, total - rows)
        part = placement.replicate(buffer.rows(start, start + rows))
        table = jax.block_until_ready(write(table, part, np.int32(start)))
    return table
