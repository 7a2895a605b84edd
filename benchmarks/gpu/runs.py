"""Ten runs under `vmap` should train no slower than one after the other, in any system.

A training step of ten runs, float32, in calls of eight steps:

- `loop`: one run after the other, each a call of its own, waited for at the end;
- `alone`: one run of them, each call waited for;
- `vmap`: all in one call; up to 16 runs' convolutions are written out one by one
  (`layers/conv_runs.py`), everything else is batched;
- `grouped`: the same with XLA's grouped convolutions; `looped`: a loop over the runs'.

    python -m benchmarks.gpu.runs [--quick] [--only=asrnn] [--out=runs.json]
"""

import functools
from pathlib import Path

from benchmarks import cases as cases_lib
from benchmarks import measure
from benchmarks.gpu import training

SYSTEMS = (*cases_lib.SYSTEMS, "area_attn:emodb", "asrnn:emodb")
RUNS, STEPS = 10, 8
# Of every system what the claim needs, then the other ways.
ORDER = (("loop", "alone", "vmap"), ("grouped", "looped"))


def row_of(system: str, way: str, options: dict) -> dict:
    """Milliseconds of a step."""
    if way == "alone":
        way_of_run, options = "loop", options | {"runs": 1}
    else:
        way_of_run = way
    row = training.row_of(system, way_of_run, **options)
    return {"system": system, "runs": options["runs"], "way": way} | row


def cases(quick: bool, _: Path) -> list[measure.Case]:
    """A case per system and way."""
    options = {"runs": RUNS, "count": STEPS, "rounds": 5}
    systems = SYSTEMS
    if quick:  # compiling all takes minutes on a CPU
        options, systems = {"runs": 2, "count": 1, "rounds": 2}, ("cnn3d_attn",)
    options |= {"quick": quick, "dtype": "float32"}
    return [
        measure.Case(f"{system} {way}", functools.partial(row_of, system, way, options))
        for ways in ORDER
        for system in systems
        for way in ways
    ]


if __name__ == "__main__":
    measure.main(
        cases, doc=__doc__, name="gpu_runs", packages=("jax", "jaxlib", "flax")
    )
