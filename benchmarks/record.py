"""What a benchmark found: rows printed as they come, a JSON file, a table, the machine."""

import dataclasses
import datetime
import functools
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate


@dataclasses.dataclass
class Record:
    """The rows of one benchmark; its file always holds all that there is so far.

    Attributes:
      benchmark: Its name.
      claim: What it is to show.
      quick: Whether sizes are too small for its times to mean much.
      packages: Distributions whose versions belong beside the numbers.
      out: JSON file, if one is wanted.
      left_out: Names of the cases that have not been measured to their end.
      rows: Of the cases measured.
    """

    benchmark: str
    claim: str
    quick: bool
    packages: Sequence[str]
    out: Path | None
    left_out: list[str]
    rows: list[dict] = dataclasses.field(default_factory=list)

    @functools.cached_property
    def machine(self) -> dict:
        """Where and with what the numbers are made; asked once, not between cases."""
        return machine(self.packages)

    def add(self, row: dict) -> None:
        """Keeps and prints a row."""
        self.rows.append(row)
        self.write()
        print(json.dumps(_readable(row), ensure_ascii=False), flush=True)

    def has_ended(self, case: str) -> None:
        """Nothing more is to come of a case."""
        self.left_out.remove(case)
        self.write()

    def write(self) -> None:
        """Replaces the file at once: whoever ends this process, a whole one is there."""
        if not self.out:
            return
        found = {
            "benchmark": self.benchmark,
            "claim": self.claim,
            "quick": self.quick,
            "machine": self.machine,
            "rows": self.rows,
            "left_out": self.left_out,
        }
        self.out.parent.mkdir(parents=True, exist_ok=True)
        new = self.out.with_name(f"{self.out.name}.new")
        new.write_text(json.dumps(found, indent=1, default=_plain) + "\n")
        new.replace(self.out)

    def table(self) -> str:
        """Claim, rows and notes, to be read."""
        rows = [_readable(row) for row in self.rows]
        lines = ["", self.claim, ""]
        lines += [tabulate(rows, headers="keys", tablefmt="github"), ""]
        lines += [", ".join(f"{key} {value}" for key, value in self.machine.items())]
        if self.quick:
            lines += [
                "--quick: sizes and rounds are too small for these times to mean much."
            ]
        if self.left_out:
            lines += [f"left out, the time was up: {', '.join(self.left_out)}"]
        return "\n".join(lines)

    @property
    def failed(self) -> bool:
        """Whether a case ended in an error."""
        return any("error" in row for row in self.rows)


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
    if "jax" in packages:
        import jax

        found["device"] = jax.devices()[0].device_kind
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def _plain(value):
    """What JSON does not know: a spread as its numbers, anything else as its text."""
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else str(value)


def _readable(row: dict) -> dict[str, str]:
    return {
        key: f"{value:.3g}" if isinstance(value, float) else str(value)
        for key, value in row.items()
    }


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
