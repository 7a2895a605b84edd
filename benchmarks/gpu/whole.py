"""A whole cross-validation trains almost all the time: <= 10 % validates, <= 3 % logs.

`run.py` in a new process, first with no compiled program, then with those of the first
time: `area_attn:emodb_small` on the manifest of EMO-DB that SER_JAX_BENCHMARK_MANIFEST
names, else `area_attn:demo`, whose speech is synthesised (`pip install -e '.[demo]'`).
Parts are those of `results.json.seconds`; the first training step is counted to training.

Bars: first step <= 20 s after the start, also with no compiled program; validation
<= 10 %, logs and checkpoints <= 3 % of training.

    python -m benchmarks.gpu.whole [--quick] [--out=whole.json]
"""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks import measure, startup
from ser_jax.report import timing as times

PARTS = [part for part in times.PARTS if part not in ("first_step", "baseline")]
QUICK = ("--config.train.epochs=2", *startup.TINY)


def rows(folder: Path, quick: bool) -> Iterator[dict]:
    """The same command twice."""
    preset, arguments = "demo", QUICK if quick else ()
    if manifest := os.environ.get(measure.MANIFEST):
        preset = "emodb_small"
        arguments += (
            "--config.data.corpus=manifest",
            f"--config.data.manifest={manifest}",
        )
    if importlib.util.find_spec("tensorflow") is None:
        arguments += ("--config.data.file_format=array_record",)
    for name in ("no programs", "later start"):
        found = startup.demo(
            folder,
            name.replace(" ", "_"),
            *arguments,
            preset=preset,
            programs="programs",
        )
        yield {"area_attn": preset, "start": name} | row_of(found)


def row_of(results: dict) -> dict:
    """Columns of a results.json."""
    seconds = results["seconds"]
    seconds["training"] += seconds.pop("first_step", 0.0)
    share = 100 / seconds["training"]
    writing = seconds.get("logs", 0.0) + seconds.get("checkpoints", 0.0)
    return {
        "first step after [s]": results["start_up"]["first_step_after_s"],
        "validation / training [%]": share * seconds.get("validation", 0.0),
        "logs and checkpoints / training [%]": share * writing,
        **{f"{part} [s]": seconds.get(part, 0.0) for part in [*PARTS, "total"]},
    }


def cases(quick: bool, folder: Path) -> list[measure.Case]:
    """One case, of two rows: the second needs the first's programs."""
    return [measure.Case("area_attn", lambda: rows(folder, quick))]


if __name__ == "__main__":
    measure.main(
        cases, doc=__doc__, name="gpu_whole", packages=("jax", "jaxlib", "flax")
    )
