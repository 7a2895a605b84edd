"""Compiled for an H100, one kernel for all areas moves a quarter of XLA's bytes.

What can be known of a GPU without one: JAX compiles for a GPU that is described to it,
and the compiled program tells its kernels, what each reads and writes, and its memory.
**No time is measured** here (`area_attention` does it on a GPU): bytes over the
bandwidth of the datasheet is a lower bound of what a program takes as long as its
arrays do not fit in the cache (50 MB on an H100).

- Area attention, forward and backward, as in `area_attention`: ours by XLA, ours as a
  Pallas kernel, and with materialised areas. The floor moves queries, keys, values,
  output and their gradients once.
- AACNN's training step, alone and for R runs under `vmap`: kernels of a call, and what
  a run takes of the memory (without the workspaces of cuDNN).

Needs `pip install -e '.[bench,cuda]'` (2.5 GB) on any Linux machine with x86-64.

    python -m benchmarks.gpu_programs [--quick] [--out=gpu_programs.json]
"""

import functools
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import jax
import numpy as np
from jax.experimental import topologies

from benchmarks import area_attention as peers
from benchmarks import measure, train_step
from ser_jax.layers.area_attention import area_attention
from ser_jax.training import optim, state

# The device description that XLA asks a real one for; the datasheet's figures.
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84929347584
  cuda_compute_capability { major: 9 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 9 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
BANDWIDTH = 3.35e12  # bytes per second
MIB = 2**20
# Instructions that are kernels; the others are bookkeeping.
KERNEL = {"fusion", "copy", "custom-call", "dot", "convolution", "reduce", "transpose"}
KERNEL |= {"scatter", "gather", "sort", "dynamic-slice", "dynamic-update-slice"}
BYTES = {"pred": 1, "s8": 1, "u8": 1, "f16": 2, "bf16": 2, "s64": 8, "u64": 8, "f64": 8}


@functools.cache
def on_gpu() -> jax.sharding.Sharding:
    """Where arrays would lie."""
    topology = topologies.get_topology_desc(
        platform="cuda", target_config=H100, topology="1x1x1"
    )
    mesh = jax.sharding.Mesh(np.array(topology.devices), ("device",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def row_of(function, shapes, **names) -> dict:
    """Compiles for the GPU and reads the program."""
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=on_gpu()), shapes
    )
    started = time.perf_counter()
    # What our layers choose by the backend has to be what they choose there.
    with mock.patch.object(jax, "default_backend", return_value="gpu"):
        traced = jax.jit(function).trace(*shapes)
        compiled = traced.lower(lowering_platforms=("cuda",)).compile()
    seconds = time.perf_counter() - started
    kernels, moved = read(compiled.as_text())
    return names | {
        "kernels": kernels,
        "moved [MiB]": moved / MIB,
        "at full bandwidth [us]": moved / BANDWIDTH * 1e6,
        "temporary [MiB]": compiled.memory_analysis().temp_size_in_bytes / MIB,
        "compiled in [s]": seconds,
    }


def read(text: str) -> tuple[int, int]:
    """Kernels that a program starts, and the bytes of what they read and write."""
    computations: dict[str, list[tuple[str, ...]]] = {}
    entry = ""
    for line in text.splitlines():
        if start := re.match(r"(ENTRY )?%([\w.\-]+) \(.*\{$", line):
            current = computations.setdefault(start[2], [])
            entry = start[2] if start[1] else entry
        elif instruction := re.match(
            r"\s+(?:ROOT )?%(\S+) = (.*?) ([\w\-]+)\((.*)", line
        ):
            current.append(instruction.groups())

    def cost(name: str) -> tuple[int, int]:
        shapes = {name: kind for name, kind, *_ in computations[name]}
        kernels = moved = 0
        for _, kind, operation, rest in computations[name]:
            if operation == "while":
                (times,) = re.findall(r'known_trip_count":\{"n":"(\d+)"', rest)
                inner = cost(re.search(r"body=%([\w.\-]+)", rest)[1])
            elif operation == "call":
                times, inner = 1, cost(re.search(r"to_apply=%([\w.\-]+)", rest)[1])
            elif operation in KERNEL:
                operands = re.findall(r"%([\w.\-]+)", rest.split(")")[0])
                moved_here = size(kind) + sum(size(shapes[x]) for x in operands)
                times, inner = 1, (1, moved_here)
            else:
                continue
            kernels += int(times) * inner[0]
            moved += int(times) * inner[1]
        return kernels, moved

    return cost(entry)


def size(kind: str) -> int:
    """Bytes of an array, or of all arrays of a tuple."""
    arrays = re.findall(r"(\w+)\[([\d,]*)\]", kind)
    return sum(
        BYTES.get(dtype, 4) * int(np.prod([int(n) for n in shape.split(",") if n]))
        for dtype, shape in arrays
    )


def area_rows(grid: tuple[int, int], batch: int, side: int) -> Iterator[dict]:
    """Ours and materialised areas."""
    arrays = peers.inputs(batch, grid)
    floor = 2 * sum(x.nbytes for x in arrays)
    ways = {
        "xla": area_attention,
        "pallas": functools.partial(area_attention, implementation="pallas"),
        "materialised": peers.materialised,
    }
    for name, attention in ways.items():
        both = peers.forward_and_backward(attention, (side, side))
        program = f"area attention {grid[0]}x{grid[1]}, {side}x{side}, {name}"
        row = row_of(both, arrays, program=program)
        row["moved / floor"] = row["moved [MiB]"] * MIB / floor
        yield row


def step_row(runs: int, *, quick: bool, implementation: str = "xla") -> dict:
    """AACNN's training step for several runs at once."""
    case = train_step.case_of("area_attn", quick=quick)
    case.config.model.attention_implementation = implementation
    optimizer = optim.make_optimizer(case.config.train)
    graphdef, run = state.create(train_step.our_model(case), optimizer)
    step = train_step.our_train_step(case, graphdef)
    batch, *fixed = train_step.our_inputs(case)
    one = batch, run, state.Totals.zero(), *fixed
    stacked = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((runs, *np.shape(x)), x.dtype), one
    )
    program = f"AACNN step, {runs} runs, {implementation}"
    row = row_of(jax.vmap(step), stacked, program=program)
    row["temporary per run [MiB]"] = row["temporary [MiB]"] / runs
    return row


def cases(quick: bool, _: Path) -> list[measure.Case]:
    """A case per map and largest area, and per number of runs."""
    grids, batch, sides = peers.GRIDS, peers.BATCH, (1, 3, 5)
    steps = [(1, "xla"), (5, "xla"), (50, "xla"), (5, "pallas")]
    if quick:
        grids, batch, sides, steps = ((8, 5),), 2, (2,), [(2, "xla")]
    return [
        measure.Case(
            f"attention {grid[0]}x{grid[1]} {side}x{side}",
            functools.partial(area_rows, grid, batch, side),
        )
        for grid in grids
        for side in sides
    ] + [
        measure.Case(
            f"step {runs} runs {implementation}",
            functools.partial(
                step_row, runs, quick=quick, implementation=implementation
            ),
        )
        for runs, implementation in steps
    ]


if __name__ == "__main__":
    os.environ["JAX_PLATFORMS"] = "cpu"
    flags = os.environ.get("XLA_FLAGS", "")
    # Without a GPU nothing can be tried out: libraries' first choices are taken.
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_autotune_level=0"
    measure.main(
        cases, doc=__doc__, name="gpu_programs", packages=("jax", "jaxlib", "flax")
    )
