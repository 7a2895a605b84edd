"""All that one ten-minute call on a GPU can answer, the most wanted first.

Parts, each a benchmark in a process of its own with a share of the time, and a command
that repeats it alone, row by row (`--only`):

- `kernel`: area attention beside `torch.compile` of PyPI's (benchmarks.gpu.kernel);
- `runs`: ten runs, one after the other or together, all systems (benchmarks.gpu.runs);
- `steps`: a training step beside PyTorch's, two dtypes (benchmarks.gpu.steps);
- `whole`: a whole cross-validation, part by part (benchmarks.gpu.whole);
- `busy`: how much of the time the device works (benchmarks.gpu.busy);
- `recurrent`: ways through a BiLSTM (benchmarks.gpu.recurrent);
- `features`: features in JAX, VTLP in the step (benchmarks.features_online).

Every part leaves its numbers in a file as it goes, `<out>/<part>.json`, also if it is
stopped because its time is up; what it did not reach is listed there. Time that a part
does not need goes to those after it. Compilations take most of it: all systems of `runs`
and `steps` take a call of their own each.

    python -m benchmarks.gpu [--quick] [--only=kernel,runs] [--seconds=540] [--out=gpu]
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MODULES = {
    name: f"benchmarks.gpu.{name}"
    for name in ("kernel", "runs", "steps", "whole", "busy", "recurrent")
} | {"features": "benchmarks.features_online"}
SHARES = {
    "kernel": 0.17,
    "runs": 0.3,
    "steps": 0.17,
    "whole": 0.16,
    "busy": 0.1,
    "recurrent": 0.05,
    "features": 0.05,
}


def run_part(part: str, allowed: float, out: Path, *, quick: bool) -> str:
    """Runs a part for so many seconds at most; returns what is wrong with it, or ''."""
    file = out / f"{part}.json"
    file.unlink(missing_ok=True)  # of an earlier call
    command = [sys.executable, "-m", MODULES[part], f"--out={file}"]
    # It stops by itself when no case is likely to end any more.
    command += [f"--seconds={0.8 * allowed:.0f}"] + ["--quick"] * quick
    print(f"\n{part}: at most {allowed:.0f} s", flush=True)
    # A compilation cannot be interrupted, so the process is, with those it started.
    process = subprocess.Popen(command, start_new_session=True)
    try:
        status = process.wait(allowed)
    except subprocess.TimeoutExpired:
        left = json.loads(file.read_text())["left_out"] if file.exists() else ["all"]
        return f"{part}: stopped after {allowed:.0f} s, without {', '.join(left)}"
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return f"{part}: exit status {status}" if status else ""


def main() -> None:
    """Starts the parts one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small, on a CPU as well")
    parser.add_argument("--only", default=",".join(SHARES), help="parts, by commas")
    parser.add_argument("--seconds", type=float, default=540, help="for all parts")
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="folder")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    if unknown := set(parts) - SHARES.keys():
        known = ", ".join(SHARES)
        parser.error(f"--only: expected some of {known}; got {', '.join(unknown)}")
    end, problems = time.monotonic() + arguments.seconds, []
    for number, part in enumerate(parts):
        share = SHARES[part] / sum(SHARES[x] for x in parts[number:])
        allowed = share * (end - time.monotonic())
        problems.append(run_part(part, allowed, arguments.out, quick=arguments.quick))
    if any(problems):
        raise SystemExit("\n" + "\n".join(filter(None, problems)))


if __name__ == "__main__":
    main()
