"""How every benchmark measures and reports: times beside a peer, a table, a JSON file.

Contestants take turns (one call each, round after round), so that a machine that slows
down slows all of them; a time is the median over rounds, its spread the quartiles.
"""

import argparse
import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from ser_jax import huge_pages


@dataclasses.dataclass(frozen=True)
class Spread:
    """Repeated measurements of one quantity.

    Attributes:
      median: Of all rounds.
      low: First quartile.
      high: Third quartile.
      rounds: How many.
    """

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The median and quartiles of some measurements."""
        low, median, high = np.percentile(values, [25, 50, 75])
        return cls(float(median), float(low), float(high), len(values))

    def scaled(self, factor: float) -> "Spread":
        """The same in another unit."""
        parts = (self.median, self.low, self.high)
        return Spread(*(factor * x for x in parts), self.rounds)

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}–{self.high:.3g})"


def seconds(
    calls: dict[str, Callable[[], object]],
    *,
    rounds: int = 7,
    warmup: int = 1,
    before: int = 0,
) -> dict[str, Spread]:
    """Times calls in turn; a call must wait for its own result.

    Args:
      calls: Name to function without arguments.
      rounds: Timed calls of each.
      warmup: Calls of each before, untimed (compilation, caches).
      before: Untimed calls at the start of each turn, for what is called again and
        again where it is used: a virtual machine may lose the memory freed meanwhile.
    """
    for _ in range(warmup):
        for call in calls.values():
            call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            for _ in range(before):
                call()
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return {name: Spread.of(values) for name, values in taken.items()}


def peak_mib() -> float:
    """Largest resident memory of this process so far; MiB. Linux only.

    Not getrusage's figure, which a child inherits from the process that started it.
    """
    status = Path("/proc/self/status").read_text()
    kib = next(x for x in status.splitlines() if x.startswith("VmHWM")).split()[1]
    return int(kib) / 1024


def in_new_process(module: str, *arguments: str, env: dict | None = None) -> dict:
    """Runs `python -m module arguments`; the last line it prints is JSON.

    For what a process can measure only once: peak memory, start-up, other devices.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **(env or {})},
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextlib.contextmanager
def apart(make: Callable[..., Callable[[], object]], *arguments, **options):
    """A contestant in a process of its own, which waits while the others are measured.

    So that neither its threads nor the memory it has freed touch another's times.

    Args:
      make: A module's function whose result, made in that process, is measured there.
      *arguments: For `make`.
      **options: For `make`.

    Yields:
      A function for `seconds`.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    made = (theirs, make, arguments, options)
    process = context.Process(target=_serve, args=made, daemon=True)
    process.start()
    theirs.close()  # or nobody would notice that the process has died

    def call():
        ours.send(None)
        if problem := ours.recv():
            raise SystemExit(problem)

    try:
        yield call
    finally:
        process.kill()  # its memory is wanted for the next contestants
        process.join()


def _serve(pipe, make, arguments, options) -> None:
    try:
        call = make(*arguments, **options)
        while True:
            pipe.recv()
            call()
            pipe.send("")
    except Exception as error:  # noqa: BLE001 - told to the process that measures
        pipe.send(f"{make}: {error!r}")


def machine(packages: Sequence[str]) -> dict:
    """Where and with what the numbers were made."""
    found = {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "device": "cpu",
        "malloc": os.environ.get("GLIBC_TUNABLES", "default"),
        "python": platform.python_version(),
        "commit": _commit(),
    }
    if "jax" in sys.modules:
        import jax

        found["device"] = jax.devices()[0].device_kind
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def main(
    measure: Callable[[bool], list[dict]], *, doc: str, name: str, packages: Sequence
) -> None:
    """A benchmark's command line: `python -m benchmarks.NAME [--quick] [--out=FILE]`.

    Args:
      measure: Gives the rows of the table; True asks for the quick version, which
        shows in under a minute that everything runs and is right.
      doc: The benchmark's docstring; its first line is the claim.
      name: The benchmark's name.
      packages: Distributions whose versions belong beside the numbers.
    """
    huge_pages.ask()  # as run.py does, for ours and for the peers
    # Contestants may have processes of their own on one GPU.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small, under a minute")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    arguments = parser.parse_args()
    rows = measure(arguments.quick)
    where = machine(packages)
    print(f"\n{doc.strip().splitlines()[0]}\n")
    print(tabulate(_readable(rows), headers="keys", tablefmt="github"))
    print("\n" + ", ".join(f"{key} {value}" for key, value in where.items()))
    if arguments.quick:
        print("--quick: sizes and rounds are too small for these times to mean much.")
    if arguments.out:
        record = {
            "benchmark": name,
            "claim": doc.strip().splitlines()[0],
            "quick": arguments.quick,
            "machine": where,
            "rows": rows,
        }
        text = json.dumps(record, indent=1, default=dataclasses.asdict)
        arguments.out.write_text(text + "\n")


def _readable(rows: list[dict]) -> list[dict]:
    return [
        {
            key: f"{value:.3g}" if isinstance(value, float) else str(value)
            for key, value in row.items()
        }
        for row in rows
    ]


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [x.split(":")[1].strip() for x in lines if x.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        check=False,  # an installed package has no repository
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or "unknown"
