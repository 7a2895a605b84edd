"""Twice as many runs take twice the time, one program, and little memory.

The demo corpus under AACNN at an eighth of its width, one epoch, five folds, by `run.py`:
with 1, 4 and 16 seeds; with 1, 4 and 16 points of a sweep over learning rates; and four
seeds by 1 and 2 processes of one job. Every row is a job of its own. Measured:

- `runs`: folds x seeds x points;
- `compile`, `training`: seconds of the job, as results.json has them, and `a run`: of
  training, by runs;
- `host`: peak resident memory of the process that writes the results;
- `checkpoint`: the newest one on disk.

On two cores two processes share what one has: their rows show the cost of a job, not a
gain. Checked in every mode: UA of a seed is the same beside others, and in a job of two.

    python -m benchmarks.growth_runs [--quick] [--out=growth_runs.json]
"""

import functools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from benchmarks import measure

ROOT = Path(__file__).resolve().parent.parent
COUNTS = (1, 4, 16)
SEEDS_OF_A_JOB = 4
COMMON = (
    "--config=configs/area_attn.py:demo",
    "--config.train.epochs=1",
    "--config.model.width=0.125",
    "--config.data.file_format=array_record",
)


def checked_row(folder: Path, seeds: int, points: int, processes: int) -> dict:
    """The row of a job whose seed 0 scores as it does alone."""
    alone = row(folder / "first", 1, 1, 1)["UA of seed 0"]  # builds, compiles
    found = dict(row(folder, seeds, points, processes))
    score = found.pop("UA of seed 0")
    if points == 1 and score != alone:
        raise AssertionError(f"seed 0: expected {alone}, got {score} in {found}")
    return found


@functools.cache
def row(folder: Path, seeds: int, points: int, processes: int) -> dict:
    """Trains and reads what the workdir says."""
    workdir = folder / f"{seeds}-{points}-{processes}"
    options = [f"--workdir={workdir}", f"--config.protocol.seeds={tuple(range(seeds))}"]
    if points > 1:
        rates = tuple(1e-4 * (1 + point) for point in range(points))
        options.append(f"--config.sweep={{'train.learning_rate': {rates}}}")
    train(options, processes)
    results = json.loads((workdir / "results.json").read_text())
    runs = 5 * seeds * points
    seconds = results["seconds"]
    training = seconds["training"] + seconds.get("first_step", 0.0)
    return {
        "seeds": seeds,
        "points": points,
        "processes": processes,
        "runs": runs,
        "compile [s]": seconds["compile"],
        "training [s]": training,
        "a run [s]": training / runs,
        "host [MiB]": results["memory"]["host_peak_bytes"] / 2**20,
        "checkpoint [MB]": checkpoint_mb(workdir),
        "UA of seed 0": [x["ua"] for x in results["runs"] if x["seed"] == 0],
    }


def train(options: list[str], processes: int) -> None:
    """Runs the command by so many processes of one job."""
    job = [[]]
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        common = [f"--coordinator={address}", f"--num_processes={processes}"]
        job = [[*common, f"--process_id={number}"] for number in range(processes)]
    command = [sys.executable, "run.py", *COMMON, *options]
    env = os.environ | {"JAX_PLATFORMS": "cpu", "TQDM_DISABLE": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    started = [
        subprocess.Popen([*command, *own], cwd=ROOT, env=env, **quiet) for own in job
    ]
    for process in started:
        _, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{' '.join(options)}: {errors.strip()[-2000:]}")


def checkpoint_mb(workdir: Path) -> float:
    """Of the newest checkpoint of a training, or of a sweep's group."""
    groups = workdir / "sweep"
    folders = groups.iterdir() if groups.exists() else [workdir]
    steps = [step for x in folders for step in (x / "checkpoints").iterdir()]
    newest = max(steps, key=lambda step: step.stat().st_mtime)
    return sum(x.stat().st_size for x in newest.rglob("*") if x.is_file()) / 1e6


def cases(quick: bool, folder: Path) -> list[measure.Case]:
    """A case per job."""
    counts = COUNTS[:2] if quick else COUNTS
    jobs = [(seeds, 1, 1) for seeds in counts]
    jobs += [(1, points, 1) for points in counts[1:]]
    jobs += [(1 if quick else SEEDS_OF_A_JOB, 1, 2)]
    return [
        measure.Case(
            f"{seeds} seeds {points} points {processes} processes",
            functools.partial(checked_row, folder, seeds, points, processes),
        )
        for seeds, points, processes in jobs
    ]


if __name__ == "__main__":
    measure.main(
        cases, doc=__doc__, name="growth_runs", packages=("jax", "jaxlib", "flax")
    )
