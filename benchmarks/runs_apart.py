"""Runs on 8 devices each equal themselves alone, and never exchange anything.

The real trainer with AACNN (reduced) on 8 virtual CPU devices, one process: 10 runs in
every mode, and 3 runs, where spare devices split each run's batch. Beside each is the
same training on one device, one call per run and step.

Bars: no all-reduce, all-gather, all-to-all, collective-permute or reduce-scatter in
the compiled training call, except between the two devices of a run whose batch is
split; losses after 3 steps equal to 1e-3 (why not closer: cross_validation.py).

    python -m benchmarks.runs_apart [--quick] [--out=runs_apart.json]
"""

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import jax

from benchmarks import cross_validation as single
from benchmarks import measure
from ser_jax.training import runs

COLLECTIVE = r"(?:all-reduce|all-gather|all-to-all|collective|reduce-scatter)[\w-]*\("
STEPS = 3
# Four groups of two neighbours: the devices of one run, of a mesh of 4 runs x 2.
WITHIN_RUNS = "[4,2]<=[8]"


def collectives(trainer) -> list[str]:
    """Lines of the compiled training call that move data between devices."""
    call = single.first_call(trainer, single.epoch_of(trainer, 1))
    text = trainer.lowered(call).compile().as_text()
    return [line for line in text.splitlines() if re.search(COLLECTIVE, line)]


def check_apart(mode: str, mesh: dict[str, int], lines: list[str]) -> None:
    """Ends the program if anything moves from run to run."""
    for line in lines:
        if mesh != {"run": 4, "data": 2} or WITHIN_RUNS not in line:
            raise SystemExit(f"{mode}: a collective between runs: {line.strip()}")


def rows_of(num_runs: int, modes: tuple[str, ...], folder: str) -> Iterator[dict]:
    """One row per mode."""
    size = single.QUICK
    config = single.config_of(size, num_runs, folder)
    trainer, _ = single.started(config, slice(num_runs), 1)
    alone = single.losses(trainer, STEPS)
    config = single.config_of(size, num_runs, folder, devices=8)
    trainer, _ = single.started(config, slice(num_runs), 1)
    for mode in modes:
        trainer.use(runs.place(num_runs, mode=mode))
        lines = collectives(trainer)
        mesh = dict(trainer.placement.mesh.shape)
        check_apart(mode, mesh, lines)
        found = single.losses(trainer, STEPS)
        yield {
            "runs": num_runs,
            "mode": mode,
            "mesh (run x data)": f"{mesh['run']} x {mesh['data']}",
            "runs per device and call": trainer.placement.per_device,
            "calls": trainer.placement.rounds,
            "collectives between runs": 0,
            "collectives in a run": len(lines),
            "difference": single.check_losses(mode, found, alone),
        }


def cases(quick: bool, folder: Path) -> list[measure.Case]:
    """A case per number of runs; `quick` leaves out the slowest to compile."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
    modes = {10: ("loop", "map", "vmap"), 3: ("loop",)}
    if quick:
        modes = {10: ("loop", "vmap")}
    return [
        measure.Case(f"{n} runs", functools.partial(rows_of, n, some, str(folder)))
        for n, some in modes.items()
    ]


if __name__ == "__main__":
    measure.main(
        cases,
        doc=__doc__,
        name="runs_apart",
        packages=("jax", "jaxlib", "flax", "optax", "numpy"),
    )
