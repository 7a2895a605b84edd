"""The device works >= 98 % of the time while many runs train.

The real trainer with AACNN whole, ten runs, 16 steps per call, as
`benchmarks.cross_validation` has it (speech is synthesised: `pip install -e '.[demo]'`),
all runs one after the other (`loop`) or in one call (`vmap`):

- `busy`: of the time from the first to the last kernel of some calls, the share in which
  any of the device's streams works, from `jax.profiler`;
- `waits`: how much longer the calls take than calls that were made ready before and are
  started without waiting: the host's share, without a profiler.

    python -m benchmarks.gpu.busy [--quick] [--only=vmap] [--out=busy.json]
"""

import functools
import tempfile
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np

from benchmarks import cross_validation, measure

RUNS, STEPS, CALLS = 10, 16, 3
ROUNDS = 3


def row_of(mode: str, folder: Path, *, quick: bool) -> dict:
    """The shares of the trainer's calls."""
    size = cross_validation.QUICK if quick else cross_validation.GPU
    num_runs, steps = (2, 2) if quick else (RUNS, STEPS)
    config = cross_validation.config_of(size, num_runs, str(folder))
    trainer, _ = cross_validation.started(config, slice(num_runs), steps)
    placement = trainer.place(mode=mode)
    planned = cross_validation.epoch_of(trainer, CALLS * steps)
    trainer.use(placement)
    cross_validation.train(trainer, planned)  # compiles
    walls, floors = [], []
    for _ in range(1 if quick else ROUNDS):
        walls.append(cross_validation.train(trainer, planned))
        floors.append(cross_validation.busy(trainer, planned))
    seconds = measure.Spread.of(walls)
    samples = num_runs * CALLS * steps * size.batch
    return {
        "mode": mode,
        "runs x steps per call": f"{placement.per_device} x {steps}",
        "samples/s": samples / seconds.median,
        "waits [%]": 100 * (1 - float(np.median(floors)) / seconds.median),
        "busy [%]": 100 * profiled(trainer, planned),
    }


def profiled(trainer, planned) -> float:
    """The share of the time in which the device works."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # would slow the host down
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            cross_validation.train(trainer, planned)
        (file,) = Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(file))
    return share(device_events(data))


def device_events(data: jax.profiler.ProfileData) -> list[tuple[float, float]]:
    """Start and end of all that streams of the device do; of XLA's threads on a CPU."""
    plane, line = "/device:GPU", "Stream"
    if jax.default_backend() == "cpu":
        plane, line = "/host:CPU", "tf_XLA"
    return [
        (event.start_ns, event.start_ns + event.duration_ns)
        for one in data.planes
        if one.name.startswith(plane)
        for row in one.lines
        if row.name.startswith(line)
        for event in row.events
    ]


def share(events: Iterable[tuple[float, float]]) -> float:
    """How much of the time from the first start to the last end is in some interval."""
    if not (events := list(events)):
        raise SystemExit("expected work of the device in the profile; got none")
    covered, reached = 0.0, None
    for start, end in sorted(events):
        if reached is None:
            first = reached = start
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered / (reached - first)


def cases(quick: bool, folder: Path) -> list[measure.Case]:
    """A case per mode."""
    jax.config.update("jax_enable_compilation_cache", False)
    return [
        measure.Case(mode, functools.partial(row_of, mode, folder, quick=quick))
        for mode in ("loop", "vmap")
    ]


if __name__ == "__main__":
    measure.main(
        cases, doc=__doc__, name="gpu_busy", packages=("jax", "jaxlib", "flax")
    )
