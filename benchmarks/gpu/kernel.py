"""Area attention: one kernel is >= 8x faster than torch.compile of PyPI's at 3x3.

Forward and backward pass, 8 examples, D = 80, self-attention of all cells, in a `scan`
of 32 calls, so that starting a call does not count: XLA, the kernel, materialised areas;
and `torch.compile` of PyPI's area-attention, in a process of its own: as many calls, one
after the other, waited for once. Products are TF32's on both sides, or float32's.

Bars: 8x as above, no slower than materialised, a compilation at 5x5 <= 20 s.

    python -m benchmarks.gpu.kernel [--quick] [--only='32x20 3x3'] [--out=kernel.json]
"""

import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from benchmarks import area_attention as peers
from benchmarks import flops, measure
from benchmarks.gpu.programs import Program, timed
from ser_jax.layers.area_attention import area_attention

CALLS = 32
OURS = {
    "pallas": functools.partial(area_attention, implementation="pallas"),
    "xla": functools.partial(area_attention, implementation="xla"),
    "materialised": peers.materialised,
}
TORCH = "torch.compile"
# JAX's names of how exact products of float32 are.
PRECISIONS = {"TF32": "default", "float32": "float32"}
PLACES = [((32, 20), 3), ((32, 20), 5), ((64, 20), 3), ((32, 20), 1), ((64, 20), 5)]


def row_of(grid, side: int, way: str, products: str, *, quick: bool) -> dict:
    """Milliseconds of one call."""
    row = {"map": f"{grid[0]}x{grid[1]}", "area": f"{side}x{side}"}
    row |= {"products": products, "way": way}
    batch, count, rounds = (2, 2, 2) if quick else (peers.BATCH, CALLS, 7)
    if way == TORCH:
        options = {"batch": batch, "count": count, "products": products}
        with measure.apart(torch_attention, grid, side, **options) as call:
            took = timed(call, rounds=rounds, count=count)
        return row | {"ms": took.scaled(1e3)}
    arrays = jax.device_put(peers.inputs(batch, grid))
    with jax.default_matmul_precision(PRECISIONS[products]):
        program = Program.of(many(OURS[way], (side, side), count), *arrays)
    call = lambda: jax.block_until_ready(program.call(*arrays))
    took = timed(call, rounds=rounds, count=count)
    row |= {"ms": took.scaled(1e3), "compile [s]": program.compile_s}
    if products != "TF32":  # the peak is that of TF32
        return row
    return row | flops.rate(program.flops / count, took.median, "float32")


def many(attention: Callable, max_area: tuple[int, int], count: int) -> Callable:
    """A function that makes `count` calls, each of which needs the one before."""
    both = peers.forward_and_backward(attention, max_area)

    def body(carried, _):
        query, *rest = carried
        out, *gradients = both(query, *rest)
        last = sum(jnp.sum(x) for x in gradients)  # nothing computed is unused
        return (query + 1e-9 * (out + last), *rest), None

    return lambda *arrays: jax.lax.scan(body, arrays, None, length=count)[0]


def torch_attention(grid, side: int, *, batch: int, count: int, products: str):
    """What the process of PyTorch measures: `count` calls."""
    import torch

    low = products == "TF32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = low
    arrays = peers.inputs(batch, grid)
    return peers.torch_call((side, side), arrays, compiled=True, calls=count)


def cases(quick: bool, _: Path) -> list[measure.Case]:
    """A case per map, largest area, precision and way, the most wanted first."""
    places, precisions, ways = PLACES, [*PRECISIONS], [*OURS]
    if quick:
        places, precisions = [((8, 5), 2)], ["TF32"]
    if all(importlib.util.find_spec(x) for x in ("torch", "area_attention")):
        ways.insert(1, TORCH)
    else:
        message = f"left out, torch and area-attention are absent: {peers.INSTALL}"
        print(message, file=sys.stderr)
    return [
        measure.Case(
            f"{grid[0]}x{grid[1]} {side}x{side} {products} {way}",
            functools.partial(row_of, grid, side, way, products, quick=quick),
        )
        for products in precisions
        for grid, side in places
        for way in ways
    ]


if __name__ == "__main__":
    measure.main(
        cases,
        doc=__doc__,
        name="gpu_kernel",
        packages=("jax", "jaxlib", "torch", "area-attention"),
    )
