"""Where segments are cut: on the device from its tables, or on the host, call by call.

- `device`: the whole table of frames lies on every device; the host sends row numbers.
- `host`: the frames stay in their mapped file, the host cuts and sends the segments.

Either way the next call is prepared in a thread while the device works, and a training
gives the same numbers.
"""

import dataclasses
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ser_jax.data.batches import Index
from ser_jax.data.segment_tables import BlockTable
from ser_jax.data.step_plan import StepPlan
from ser_jax.training import hosts
from ser_jax.training.experiment import Experiment
from ser_jax.training.runs import Placement

FRAMES_ON = ("auto", "device", "host")
# A table goes to the device in parts of this size, so that the host never holds it.
_PART_BYTES = 64 * 2**20
# Segments of one call, all runs together; up to three calls are in memory at once.
_CALL_BYTES = 256 * 2**20
# Where a container's memory limit stands: cgroup 2, cgroup 1.
_CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (_CGROUP / "memory.max", _CGROUP / "memory" / "memory.limit_in_bytes")

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FrameStorage:
    """Where the frames lie, and why; `frames` in results.json."""

    on: str  # `device` or `host`
    asked: str  # `data.frames_on`
    table_bytes: int  # of all tables of segments; every device would hold them
    budget_bytes: int  # what they may take of a device's memory

    def __str__(self) -> str:
        where = {"device": "on each device", "host": "in a mapped file of the host"}
        return (
            f"Frames: {self.table_bytes / 2**20:.0f} MiB {where[self.on]} "
            f"(data.frames_on={self.asked}; a device's share is "
            f"{self.budget_bytes / 2**20:.0f} MiB)."
        )


def choose_storage(num_bytes: int, data, devices: list) -> FrameStorage:
    """Decides where tables of `num_bytes` lie; each of the devices would hold them."""
    budget = min(hosts.share(int(data.device_share * device_bytes(devices))))
    on = data.frames_on
    if on == "auto":
        on = "device" if num_bytes <= budget else "host"
    return FrameStorage(on, data.frames_on, num_bytes, budget)


def device_bytes(devices: list) -> int:
    """Memory of one of several equal devices; CPU devices divide the host's."""
    local = [d for d in devices if d.process_index == jax.process_index()]
    stats = local[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    return host_bytes() // len(local)


def host_bytes() -> int:
    """The host's memory, or the container's share of it."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _LIMITS:
        if path.exists() and (text := path.read_text().strip()).isdigit():
            limits.append(int(text))
    return min(limits)


class Call(NamedTuple):
    """Some steps of all runs, ready on the devices."""

    first_step: int  # its number in the plan
    window_frames: int  # T, frames to which segments are padded
    # For each round of W runs its arrays [W, S, B]; None without examples.
    rounds: list[Index | None]


class Feeder:
    """Puts what the compiled functions read on the devices.

    `tables` lie there for every call. `placement` may be replaced by another on the same
    mesh.
    """

    def __init__(self, experiment: Experiment, placement: Placement, data):
        """Puts the experiment's tables on the devices; `data` is `config.data`."""
        self._segment_tables = segment_tables = experiment.segment_tables
        self.placement = placement
        total = sum(table.num_bytes for table in segment_tables.values())
        devices = placement.mesh.devices.ravel().tolist()
        self.storage = choose_storage(total, data, devices)
        _log.info("%s", self.storage)
        self.tables = placement.replicate(experiment.tables)
        if self.storage.on == "device":
            held = {name: _upload(x, placement) for name, x in segment_tables.items()}
            self.tables = self.tables._replace(**held)

    def steps_per_call(self, most: int, segments: int, window_frames: int) -> int:
        """Steps, each of so many `segments`, that one call should take.

        `most`, if only row numbers are sent.
        """
        if self.storage.on == "device":
            return most
        row = sum(x.num_bytes // x.shape[0] for x in self._segment_tables.values())
        return max(1, min(most, _CALL_BYTES // (segments * window_frames * row)))

    def calls(
        self, plan: StepPlan, steps: int, *, training: bool = True
    ) -> Iterator[Call]:
        """Prepares calls of `steps` steps each, the next while one is worked on."""
        with ThreadPoolExecutor(1, "feeding") as thread:
            ahead = None
            for piece in plan.calls(steps):
                ready, ahead = ahead, thread.submit(self.call, *piece, training)
                if ready:
                    yield ready.result()
            if ahead:
                yield ahead.result()

    def call(
        self, first_step: int, window_frames: int, index: Index, training: bool = True
    ) -> Call:
        """Puts the segments [R, S, B] of some steps of all runs on the devices.

        Training leaves out rounds without examples and, for online VTLP, reads samples.
        """
        name = "samples" if training and "samples" in self._segment_tables else "frames"
        rounds = []
        for number in range(self.placement.rounds):
            part = self.placement.select(index, number)
            filler = self.placement.members(number) >= self.placement.num_runs
            part.weight[filler] = 0.0
            if training and not part.weight.any():
                rounds.append(None)
                continue
            if self.storage.on == "host":
                part = part._replace(**{name: self._cut(name, part, window_frames)})
            rounds.append(self.placement.put(part))
        return Call(first_step, window_frames, rounds)

    def shapes(self, steps: int, batch: int, window_frames: int) -> Index:
        """What a round of a `call` that does not train consists of, without the data."""
        placement, table = self.placement, self._segment_tables["frames"]
        common = placement.round_size, steps, batch

        def like(dtype, *shape: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(
                (*common, *shape), dtype, sharding=placement.by_run
            )

        index = Index(*[like(np.int32)] * 4, weight=like(np.float32))
        if self.storage.on == "device":
            return index
        frames = like(table.flat.dtype, window_frames, *table.shape[1:])
        return index._replace(frames=frames)

    def _cut(self, name: str, part: Index, window_frames: int) -> np.ndarray:
        """The segments of a round's rows; of other hosts' runs nothing is read."""
        table, here = self._segment_tables[name], self.placement.held_here()
        if here.all():
            return table.segments(part.start, window_frames)
        cut = table.segments(part.start[here], window_frames)
        whole = np.zeros((len(here), *cut.shape[1:]), cut.dtype)  # untouched: no memory
        whole[here] = cut
        return whole


def _upload(table: BlockTable, placement: Placement) -> jax.Array:
    """Puts a table on every device; the host holds one part of it at a time."""
    total = table.shape[0]
    rows = max(1, _PART_BYTES * total // table.num_bytes)
    if total <= rows:
        return placement.replicate(table.rows(0, total))
    everywhere = NamedSharding(placement.mesh, PartitionSpec())
    on_devices = jnp.zeros(table.shape, table.flat.dtype, device=everywhere)
    write = jax.jit(
        lambda whole, part, at: jax.lax.dynamic_update_slice_in_dim(whole, part, at, 0),
        donate_argnums=0,
        out_shardings=everywhere,
    )
    for start in range(0, total, rows):
        start = min(start, total - rows)  # of one size, so that it compiles once
        part = placement.replicate(table.rows(start, rows))
        on_devices = jax.block_until_ready(write(on_devices, part, np.int32(start)))
    return on_devices
