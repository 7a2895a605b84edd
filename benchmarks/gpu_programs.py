"""Compiled for an H100, one kernel for all areas moves a quarter of XLA's bytes.

What can be known of a GPU without one: JAX compiles for a GPU that is described to it,
and the compiled program tells its kernels, what each reads and writes, and its memory.
**No time is measured** here (`area_attention` does it on a GPU): bytes over the
bandwidth of the datasheet is a lower bound of what a program takes as long as its
arrays do not fit in the cache (50 MB on an H100).

- Area attention, forward and backward, as in `area_attention`: ours by XLA, ours as a
  Pallas kernel, and with materialised areas. The floor moves queries, keys, values,
  output and their gradients once.
- A training step of every system, full width, own batch size: one run (`alone`), and
  ten under `vmap` as a training takes them (`written out`: one convolution per run) and
  as XLA would (`grouped`). Per run, ten start fewer kernels than one alone, and
  only the last has grouped convolutions.

A loop's kernels count as often as they start (`loops`: turns x kernels in a turn). The
memory is without the workspaces of cuDNN; `at least` is the larger of bytes over the
bandwidth and operations over the peak of the datasheet (TF32; bfloat16 in its rows).

Needs `pip install -e '.[bench,cuda]'` (2.5 GB) on any Linux machine with x86-64.

    python -m benchmarks.gpu_programs [--quick] [--only=asrnn] [--out=FILE]
"""

import functools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies

from benchmarks import area_attention as peers
from benchmarks import cases as train_cases
from benchmarks import flops, gpu_hlo, measure
from benchmarks.gpu import training
from benchmarks.gpu_hlo import Cost
from ser_jax.layers.area_attention import area_attention
from ser_jax.training import state

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
RUNS = 10


@functools.cache
def on_gpu() -> jax.sharding.Sharding:
    """Where arrays would lie."""
    topology = topologies.get_topology_desc(
        platform="cuda", target_config=H100, topology="1x1x1"
    )
    mesh = jax.sharding.Mesh(np.array(topology.devices), ("device",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def row_of(function, shapes, dtype: str = "float32", **names) -> tuple[dict, Cost]:
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
    cost = gpu_hlo.read(compiled.as_text())
    operations = flops.of(traced.jaxpr.jaxpr)
    least = max(cost.moved / BANDWIDTH, operations / flops.HOPPER[dtype])
    return names | {
        "kernels": cost.kernels,
        "in loops": cost.in_loops,
        "loops": ", ".join(f"{turns}x{kernels}" for turns, kernels in cost.loops),
        "grouped": cost.grouped,
        "moved [MiB]": cost.moved / MIB,
        "GFLOP": operations / 1e9,
        "at least [ms]": least * 1e3,
        "temporary [MiB]": compiled.memory_analysis().temp_size_in_bytes / MIB,
        "compiled in [s]": seconds,
    }, cost


def area_rows(grid: tuple[int, int], batch: int, side: int) -> Iterator[dict]:
    """Ours and materialised areas."""
    arrays = peers.inputs(batch, grid)
    half = [jax.ShapeDtypeStruct(x.shape, jnp.bfloat16) for x in arrays]
    kernel = functools.partial(area_attention, implementation="pallas")
    ways = {
        "xla": (functools.partial(area_attention, implementation="xla"), arrays),
        "pallas": (kernel, arrays),
        "pallas, bfloat16": (kernel, half),
        "materialised": (peers.materialised, arrays),
    }
    for name, (attention, inputs) in ways.items():
        both = peers.forward_and_backward(attention, (side, side))
        program = f"area attention {grid[0]}x{grid[1]}, {side}x{side}, {name}"
        dtype = str(inputs[0].dtype)
        row, cost = row_of(both, inputs, dtype, program=program)
        floor = 2 * sum(x.size * x.dtype.itemsize for x in inputs)
        yield row | {"moved / floor": cost.moved / floor}


def step_rows(system: str, *, quick: bool) -> Iterator[dict]:
    """A system's training step: of one run, then of several in each way."""
    case = train_cases.case_of(system, quick=quick)
    if system == "area_attn":  # what `auto` finds on the GPU
        case.config.model.attention_implementation = "pallas"
    graphdef, run = train_cases.our_state(case)
    batch, *fixed = train_cases.our_inputs(case)
    one = batch, run, state.Totals.zero(), *fixed
    count = 2 if quick else RUNS
    many = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((count, *np.shape(x)), x.dtype), one
    )
    # Each way has a step of its own, or JAX would remember the way before.
    for way, runs in (("alone", 1), ("written out", count), ("grouped", count)):
        step = train_cases.our_train_step(case, graphdef)
        function, shapes = (step, one) if way == "alone" else (jax.vmap(step), many)
        with training.conv_way(way):
            row, cost = row_of(function, shapes, program=f"{system} step", way=way)
        row["runs"] = runs
        row["kernels per run"] = cost.kernels / runs
        row["moved per run [MiB]"] = cost.moved / MIB / runs
        yield row


def cases(quick: bool, _: Path) -> list[measure.Case]:
    """A case per map and largest area, and per system."""
    grids, batch, sides, systems = (
        peers.GRIDS,
        peers.BATCH,
        (1, 3, 5),
        train_cases.SYSTEMS,
    )
    if quick:
        grids, batch, sides, systems = ((8, 5),), 2, (2,), ("asrnn",)
    return [
        measure.Case(
            f"attention {grid[0]}x{grid[1]} {side}x{side}",
            functools.partial(area_rows, grid, batch, side),
        )
        for grid in grids
        for side in sides
    ] + [
        measure.Case(f"step {name}", functools.partial(step_rows, name, quick=quick))
        for name in systems
    ]


if __name__ == "__main__":
    os.environ["JAX_PLATFORMS"] = "cpu"
    flags = os.environ.get("XLA_FLAGS", "")
    # Without a GPU nothing can be tried out: libraries' first choices are taken.
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_autotune_level=0"
    measure.main(
        cases, doc=__doc__, name="gpu_programs", packages=("jax", "jaxlib", "flax")
    )
