"""How every benchmark measures and reports: times beside a peer, a table, a JSON file.

Contestants take turns (one call each, round after round), so that a machine that slows
down slows all of them; a time is the median over rounds, its spread the quartiles.
"""

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.record import Record
from ser_jax import huge_pages

# A manifest of real speech, e.g. EMO-DB's; without it recordings are synthetic.
MANIFEST = "SER_JAX_BENCHMARK_MANIFEST"


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


@dataclasses.dataclass(frozen=True)
class Case:
    """A part of a benchmark that can be measured without the others.

    Attributes:
      name: As `--only` and the list of what was left out have it; no commas.
      measure: Gives its row, or several as they finish. Errors, `SystemExit` of a
        failed check among them, become a row.
    """

    name: str
    measure: Callable[[], dict | Iterable[dict]]


def main(
    cases: Callable[[bool, Path], list[Case]],
    *,
    doc: str,
    name: str,
    packages: Sequence[str],
) -> None:
    """A benchmark's command line: `python -m benchmarks.NAME [--quick] [--out=FILE]`.

    With `--only=NAME,NAME` it measures the cases whose names contain one of these, with
    `--seconds=N` it begins no case later than that. Its exit status is 1 if a case failed.

    Args:
      cases: Gives the cases, the most wanted first. Its arguments: True for the quick
        version, which shows in under a minute that everything runs and is right; and
        an empty folder, which is gone when the benchmark ends.
      doc: The benchmark's docstring; its first line is the claim.
      name: The benchmark's name.
      packages: Distributions whose versions belong beside the numbers.
    """
    huge_pages.ask()  # as run.py does, for ours and for the peers
    # Contestants may have processes of their own on one GPU.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    arguments = _arguments(doc)
    end = time.monotonic() + arguments.seconds
    with tempfile.TemporaryDirectory(prefix=f"{name}_") as folder:
        chosen = _chosen(cases(arguments.quick, Path(folder)), arguments.only)
        found = Record(
            benchmark=name,
            claim=doc.strip().splitlines()[0],
            quick=arguments.quick,
            packages=packages,
            out=arguments.out,
            left_out=[case.name for case in chosen],
        )
        found.write()
        for case in chosen:
            if time.monotonic() > end:
                break
            _measure(case, found)
    print(found.table())
    if found.failed:
        raise SystemExit(1)


def _arguments(doc: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small, under a minute")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    parser.add_argument("--only", default="", help="names of cases, or parts of them")
    help_ = "after which no new case begins"
    parser.add_argument("--seconds", type=float, default=float("inf"), help=help_)
    return parser.parse_args()


def _chosen(cases: list[Case], only: str) -> list[Case]:
    if not only:
        return cases
    names = {case.name for case in cases}
    parts = [part for part in only.split(",") if part]
    if parts and names.issuperset(parts):  # `x1` is not meant to be `x16`, too
        return [case for case in cases if case.name in parts]
    for part in parts or [only]:
        if not any(part in case.name for case in cases):
            known = ", ".join(case.name for case in cases)
            raise SystemExit(f"--only: expected some of {known}; got {part!r}")
    return [case for case in cases if any(part in case.name for part in parts)]


def _measure(case: Case, found: Record) -> None:
    try:
        rows = case.measure()
        for row in [rows] if isinstance(rows, dict) else rows:
            found.add(row)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - others are still wanted
        traceback.print_exc()
        found.add({"case": case.name, "error": repr(error)[:300]})
    found.has_ended(case.name)
