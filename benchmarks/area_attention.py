"""Area attention should be >= 3x faster at 3x3, >= 5x at 5x5 than the PyPI package.

Forward and backward pass, float32, mean keys and sum values, self-attention of every
cell of a map (N = H W queries, D = 80), 8 examples. Beside ours:

- `materialised`: our own direct formulation, areas formed and attended to;
- `area-attention` 0.1.0 of PyPI (PyTorch), with its memory_height and memory_width set;
- on a GPU also `torch.compile` of it, with PyTorch for CUDA, and ours as one Pallas kernel.

Bars on 2 CPU cores, 32x20 map: 3x and 5x as above (all contestants have large memory
pages here, as run.py has), at most 1/5 of the package's peak memory at 5x5, time growing
at most linearly with the number of area sizes and memory not at all. Output and gradients
must agree to 1e-5 of their largest entry.

On a GPU the table also gives the share of the memory-bandwidth floor: the bytes that
queries, keys, values, output and their gradients take, read or written once, over the
bandwidth of a large copy.

    python -m benchmarks.area_attention [--quick] [--out=area_attention.json]
"""

import functools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from ser_jax.layers import area_pooling
from ser_jax.layers.area_attention import area_attention

BATCH, DEPTH = 8, 80
GRIDS = ((32, 20), (64, 20))
MAX_AREAS = (1, 2, 3, 4, 5)
TOLERANCE = 1e-5  # float32 sums over 640 cells and up to 25 sizes, of the largest entry
INSTALL = "pip install -e '.[bench]'"


def inputs(batch: int, grid: tuple[int, int]) -> list[np.ndarray]:
    """Query [B, N, D], key and value [B, H, W, D], and the output's gradient."""
    rng = np.random.default_rng(0)
    cells = (batch, grid[0] * grid[1], DEPTH)
    shapes = (cells, (batch, *grid, DEPTH), (batch, *grid, DEPTH), cells)
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


def materialised(query, key, value, *, max_area):
    """The formula word by word: keys and values of all areas, then attention."""
    sizes = area_pooling.area_sizes(max_area, key.shape[1:3])
    mask = jnp.ones(key.shape[:3], bool)
    keys = area_pooling.flatten_areas(area_pooling.area_means(key, sizes, mask))
    values = area_pooling.flatten_areas(area_pooling.area_sums(value, sizes))
    logits = jnp.einsum("bnd,bad->bna", query, keys) * DEPTH**-0.5
    return jnp.einsum("bna,bad->bnd", jax.nn.softmax(logits), values)


def forward_and_backward(attention, max_area):
    """A function of query, key, value and the output's gradient."""

    def both(query, key, value, gradient):
        function = functools.partial(attention, max_area=max_area)
        out, pull = jax.vjp(function, query, key, value)
        return out, *pull(gradient)

    return both


def jax_call(attention, max_area, arrays):
    """A call that gives output and three gradients as NumPy arrays."""
    both = jax.jit(forward_and_backward(attention, max_area))
    on_device = jax.device_put(arrays)
    return lambda: jax.block_until_ready(both(*on_device))


def torch_call(max_area, arrays, *, compiled: bool = False, calls: int = 1):
    """The same call of the PyPI package, or `calls` of them, waited for once."""
    import torch
    from area_attention import AreaAttention

    device = "cuda" if torch.cuda.is_available() else "cpu"
    grid = arrays[1].shape[1:3]
    module = AreaAttention(
        DEPTH,
        area_key_mode="mean",
        area_value_mode="sum",
        max_area_height=max_area[0],
        max_area_width=max_area[1],
        memory_height=grid[0],
        memory_width=grid[1],
    )
    module = torch.compile(module) if compiled else module
    flat = [torch.from_numpy(x.reshape(len(x), -1, DEPTH)).to(device) for x in arrays]
    leaves = [x.requires_grad_() for x in flat[:3]]

    def call():
        for _ in range(calls):
            out = module(*leaves)
            results = out, *torch.autograd.grad(out, leaves, flat[3])
        if device == "cuda":
            torch.cuda.synchronize()
        return results

    return call


def peers() -> list[str]:
    """Names of the contestants beside ours that run here."""
    try:
        import area_attention  # noqa: F401
        import torch
    except ImportError:
        print(f"PyPI's area-attention and torch are absent: {INSTALL}", file=sys.stderr)
        return ["materialised"]
    if jax.default_backend() == "gpu" and torch.cuda.is_available():
        return ["kernel", "materialised", "pypi", "pypi compiled"]
    return ["materialised", "pypi"]


def contestant(name: str, max_area, arrays):
    """The call of a contestant."""
    if name == "ours":
        return jax_call(area_attention, max_area, arrays)
    if name == "kernel":
        kernel = functools.partial(area_attention, implementation="pallas")
        return jax_call(kernel, max_area, arrays)
    if name == "materialised":
        return jax_call(materialised, max_area, arrays)
    return torch_call(max_area, arrays, compiled=name == "pypi compiled")


def check_equal(name: str, ours, theirs) -> float:
    """Largest difference of output and gradients, over the largest entry of each."""
    differences = []
    for mine, other in zip(ours, theirs, strict=True):
        other = np.asarray(other.detach().cpu() if hasattr(other, "detach") else other)
        mine = np.asarray(mine).reshape(other.shape)
        differences.append(np.abs(mine - other).max() / np.abs(other).max())
    if not max(differences) < TOLERANCE:
        raise SystemExit(f"{name} and ours differ by {max(differences):.1e}")
    return float(max(differences))


def memory_mib(name: str, batch: int, grid, max_area) -> float:
    """What two calls add to the peak memory of a process of their own."""
    if jax.default_backend() != "cpu":
        return float("nan")
    task = json.dumps([name, batch, list(grid), list(max_area)])
    return measure.in_new_process("benchmarks.area_attention", "memory", task)["mib"]


def _memory_task(task: str) -> None:
    """In the child: prints the growth of the peak over that of a tiny call."""
    name, batch, grid, max_area = json.loads(task)
    contestant(name, (1, 1), inputs(1, (3, 2)))()  # libraries, thread pools
    arrays = inputs(batch, tuple(grid))
    before = measure.peak_mib()
    call = contestant(name, tuple(max_area), arrays)
    call()
    call()
    print(json.dumps({"mib": measure.peak_mib() - before}))


def floor_seconds(arrays) -> float:
    """Least time to move inputs, outputs and gradients once; accelerators only."""
    if jax.default_backend() == "cpu":
        return float("nan")
    big = jnp.ones(1 << 28, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    seconds = measure.seconds({"copy": lambda: copy(big).block_until_ready()})
    bandwidth = 2 * big.nbytes / seconds["copy"].median
    # Read: query, key, value, gradient; written: output and three gradients.
    return 2 * sum(x.nbytes for x in arrays) / bandwidth


def row_of(grid, side: int, *, batch: int, rounds: int, names: list[str]) -> dict:
    """One map with one largest area."""
    arrays, area = inputs(batch, grid), (side, side)
    calls = {name: contestant(name, area, arrays) for name in ["ours", *names]}
    ours = calls["ours"]()
    difference = max(check_equal(n, ours, calls[n]()) for n in names)
    seconds = measure.seconds(calls, rounds=rounds)
    row = {"map": f"{grid[0]}x{grid[1]}", "area": f"{side}x{side}"}
    row["ours [ms]"] = seconds["ours"].scaled(1e3)
    for name in names:
        row[f"{name} [ms]"] = seconds[name].scaled(1e3)
        row[f"{name} / ours"] = seconds[name].median / seconds["ours"].median
    for name in ["ours", *names]:
        row[f"{name} [MiB]"] = memory_mib(name, batch, grid, area)
    row["difference"] = difference
    if np.isfinite(floor := floor_seconds(arrays)):
        row["floor / ours"] = floor / seconds["ours"].median
    return row


def cases(quick: bool, _: Path) -> list[measure.Case]:
    """A case per map and largest area."""
    # PyTorch's default too; JAX's on a GPU would round factors to 10 bits (TF32).
    jax.config.update("jax_default_matmul_precision", "float32")
    options = {"batch": BATCH, "rounds": 7, "names": peers()}
    grids, sides = GRIDS, MAX_AREAS
    if quick:
        options |= {"batch": 2, "rounds": 2}
        grids, sides = ((8, 5),), (1, 3)
    return [
        measure.Case(
            f"{grid[0]}x{grid[1]} {side}x{side}",
            functools.partial(row_of, grid, side, **options),
        )
        for grid in grids
        for side in sides
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        _memory_task(sys.argv[2])
    else:
        measure.main(
            cases,
            doc=__doc__,
            name="area_attention",
            packages=("jax", "flax", "torch", "area-attention"),
        )
