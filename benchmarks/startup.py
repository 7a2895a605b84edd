"""The first training step comes within seconds, and a job says where its time went.

Processes are started as a user starts them, each anew, and timed from outside:

- `run.py --help`, and importing every module of a package in a new Python, beside
  importing what these cannot do without;
- the demo of AACNN up to its first training step: with nothing there (speech is
  synthesised, features are computed, programs compiled), with the dataset built but no
  compiled program, and as every later start finds things. The time is the one that
  results.json tells (`start_up`), from the end of `run.py`'s own imports on;
- the whole demo by the parts of `results.json.seconds`.

Checked: importing `ser_jax.layers` or `ser_jax.models` brings in no TensorFlow, no
librosa and no TFDS; a second start compiles nothing; parts add up to the total. What
the clock cannot see, Python's own start and end, is the last row.

Bars on two CPU cores: `--help` <= 1 s; first step <= 20 s as a later start.

    python -m benchmarks.startup [--quick] [--out=startup.json]
"""

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import measure
from ser_jax.report import timing as times

ROUNDS = 5
DEMO_ROUNDS = 3
HEAVY = ("tensorflow", "librosa", "tensorflow_datasets")
FLOORS = {
    "run.py --help": "from absl import app, flags",
    "ser_jax.layers": "import jax, flax.nnx",
    "ser_jax.models": "import jax, flax.nnx",
    "ser_jax.report": "import numpy, matplotlib.figure, etils.epath",
}
EVERY_MODULE = """
import importlib, json, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""
TINY = (
    "--config.data.demo_turns=2",
    "--config.data.vtlp_copies=0",
    "--config.data.file_format=array_record",
    "--config.augment.vtlp=none",
    "--config.model.width=0.1",
    "--config.model.max_area=1,2",
)


def python(*arguments: str, env: dict | None = None, rc: int = 0) -> tuple[float, str]:
    """Seconds that a new Python takes, and what it prints."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
    )
    took = time.perf_counter() - start
    if done.returncode != rc:
        raise SystemExit(f"{arguments} failed:\n{done.stdout}{done.stderr}")
    return took, done.stdout


def short_start(name: str, rounds: int) -> dict:
    """`run.py --help`, or the import of a package, in turns with what it needs."""
    floor = FLOORS[name]

    def start():
        if name.startswith("run.py"):
            python("run.py", "--help", rc=1)  # absl's exit status
            return
        _, loaded = python("-c", EVERY_MODULE, name)
        check_light(name, json.loads(loaded))

    calls = {"ours": start, "floor": lambda: python("-c", floor)}
    took = measure.seconds(calls, rounds=rounds)  # the warm-up fills the disk's cache
    return {
        "case": name if name.startswith("run.py") else f"import {name}.*",
        "seconds": took["ours"],
        "bar": 1.0 if name.startswith("run.py") else "",
        "beside": floor,
        "beside [s]": took["floor"],
    }


def check_light(name: str, loaded: list[str]) -> None:
    """Ends the program if a package brings in what its users may not have."""
    heavy = set(HEAVY) & set(loaded)
    if name == "ser_jax.report":
        heavy |= {"jax"} & set(loaded)
    if heavy:
        raise SystemExit(f"importing {name} also imports {', '.join(sorted(heavy))}")


def demo(
    folder: Path, name: str, *arguments: str, programs: str, preset: str = "demo"
) -> dict:
    """Runs the demo; returns its results.json and how long it took from outside.

    Args:
      folder: For datasets, programs and workdirs.
      name: Of the workdir.
      *arguments: Of `run.py`.
      programs: Folder of the compiled programs.
      preset: Another preset of AACNN.
    """
    env = {
        "TFDS_DATA_DIR": str(folder / "datasets"),
        "XDG_CACHE_HOME": str(folder / programs),
        "JAX_COMPILATION_CACHE_DIR": str(folder / programs),
        "XLA_FLAGS": "",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "true",  # as users have it
    }
    workdir = folder / name
    took, _ = python(
        "run.py",
        f"--config=configs/area_attn.py:{preset}",
        f"--workdir={workdir}",
        *arguments,
        env=env,
    )
    results = json.loads((workdir / "results.json").read_text())
    check_clock(results["seconds"], took)
    return results | {"outside": took}


def check_clock(seconds: dict[str, float], outside: float) -> None:
    """The parts add up, and to no more than a watch shows."""
    parts = sum(value for name, value in seconds.items() if name != "total")
    if abs(parts - seconds["total"]) > 0.01:
        raise SystemExit(f"parts add up to {parts}, the total is {seconds['total']}")
    if seconds["total"] > outside:
        raise SystemExit(f"total {seconds['total']} s, from outside {outside:.2f} s")


def check_nothing_compiled(results: dict) -> None:
    """A later start reads every program from the cache."""
    found = results["start_up"]
    if not found["programs"] or found["from_cache"] != found["programs"]:
        raise SystemExit(f"a second start compiled again: {found}")


def first_steps(folder: Path, rounds: int, *arguments: str) -> Iterator[dict]:
    """The time to the first step, from nothing and as a later start."""
    arguments = ("--config.train.epochs=1", *arguments)
    new = demo(folder, "new", *arguments, programs="new")
    yield first_step("nothing there", [new])
    if rounds > 1:
        cold = [
            demo(folder, f"cold{n}", *arguments, programs=f"cold{n}")
            for n in range(rounds)
        ]
        yield first_step("no programs", cold)
    warm = []
    for number in range(rounds):
        warm.append(demo(folder, f"warm{number}", *arguments, programs="new"))
        check_nothing_compiled(warm[-1])
    yield first_step("later start", warm)


def first_step(case: str, several: list[dict]) -> dict:
    """The row of some demos that started alike."""
    start = several[0]["start_up"]
    return {
        "case": f"first step, {case}",
        "seconds": measure.Spread.of(
            [found["start_up"]["first_step_after_s"] for found in several]
        ),
        "bar": 20.0 if case == "later start" else "",
        "programs": start["programs"],
        "compiled": start["programs"] - start["from_cache"],
    }


def whole_demo(folder: Path) -> Iterator[dict]:
    """Every part of the whole demo, with nothing there and as a later start."""
    folder.mkdir()
    found = [demo(folder, name, programs="programs") for name in ("first", "again")]
    check_nothing_compiled(found[1])
    for part in [*times.PARTS, "total"]:
        first, again = (results["seconds"].get(part, 0.0) for results in found)
        case = f"whole demo: {part}"
        yield {"case": case, "seconds": again, "nothing there [s]": first}
    first, again = (x["outside"] - x["seconds"]["total"] for x in found)
    case = "whole demo: outside the clock"
    yield {"case": case, "seconds": again, "nothing there [s]": first}


def cases(quick: bool, folder: Path) -> list[measure.Case]:
    """A case per short start, one of the first steps, one of the whole demo."""
    rounds, starts = (1, 1) if quick else (ROUNDS, DEMO_ROUNDS)
    found = [
        measure.Case(name, functools.partial(short_start, name, rounds))
        for name in FLOORS
    ]
    tiny = TINY if quick else ()
    steps = functools.partial(first_steps, folder, starts, *tiny)
    found.append(measure.Case("first step", steps))
    if not quick:
        whole = functools.partial(whole_demo, folder / "whole")
        found.append(measure.Case("whole demo", whole))
    return found


if __name__ == "__main__":
    measure.main(
        cases,
        doc=__doc__,
        name="startup",
        packages=("jax", "jaxlib", "flax", "orbax-checkpoint", "tensorflow-datasets"),
    )
