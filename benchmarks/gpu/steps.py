"""A training step should be faster than torch.compile's, in TF32 and in bfloat16.

Forward pass, backward pass and Adam, full width, the system's own batch size, dropout on:
16 steps, waited for once. In float32 both sides may round products to TF32; beside our
bfloat16 stands PyTorch's autocast. The peer is that of `benchmarks.train_step`, which
checks that it is the same network, channels last, in a process of its own.

    python -m benchmarks.gpu.steps [--quick] [--only=acrnn] [--out=steps.json]
"""

import functools
from pathlib import Path

from benchmarks import cases as cases_lib
from benchmarks import measure, train_step
from benchmarks.gpu import training
from benchmarks.gpu.programs import timed

DTYPES = ("float32", "bfloat16")
PEERS = ("torch.compile", "torch")
# Without a peer.
OTHERS = [x for x in cases_lib.SYSTEMS if x not in train_step.SYSTEMS]


def row_of(system: str, dtype: str, way: str, *, quick: bool) -> dict:
    """Milliseconds of a step."""
    count, rounds = (1, 2) if quick else (16, 5)
    row = {"system": system, "dtype": dtype, "way": way}
    if way == "ours":
        options = {"runs": 1, "count": count, "rounds": rounds, "quick": quick}
        return row | training.row_of(system, "loop", dtype=dtype, **options)
    make = functools.partial(torch_steps, system, dtype, way, count=count, quick=quick)
    with measure.apart(make) as call:
        took = timed(call, rounds=rounds, count=count)
    return row | {"ms": took.scaled(1e3)}


def torch_steps(system: str, dtype: str, way: str, *, count: int, quick: bool):
    """What the process of PyTorch measures: `count` steps."""
    import torch

    train_step.has_torch()  # sets its threads
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    case = cases_lib.case_of(system, quick=quick, dtype=dtype)
    compiled = way == "torch.compile"
    return train_step.torch_call(
        case, channels_last=True, compiled=compiled, calls=count
    )


def cases(quick: bool, _: Path) -> list[measure.Case]:
    """A case per system, dtype and way."""
    has_peers = train_step.has_torch()
    systems, dtypes = train_step.SYSTEMS, DTYPES
    if quick:
        systems, dtypes = systems[:1], ("bfloat16",)
    ways = ["ours", *PEERS] if has_peers else ["ours"]
    chosen = [(x, dtype, way) for x in systems for dtype in dtypes for way in ways]
    if not quick:
        chosen += [(x, dtype, "ours") for x in OTHERS for dtype in DTYPES]
    return [
        measure.Case(" ".join(one), functools.partial(row_of, *one, quick=quick))
        for one in chosen
    ]


if __name__ == "__main__":
    measure.main(
        cases,
        doc=__doc__,
        name="gpu_steps",
        packages=("jax", "jaxlib", "flax", "torch", "area-attention"),
    )
