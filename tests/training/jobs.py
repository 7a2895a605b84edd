"""Jobs of several processes on this machine, each with a CPU device of its own."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_HANGS_S = 300  # JAX itself gives up later

# What a process trains, and the signal that it sends itself in one of its calls.
CONFIG = """
import os
flags = os.environ["XLA_FLAGS"]
import pytest
from tests import conftest, quick_model
from tests.training import common
os.environ["XLA_FLAGS"] = flags  # the tests' eight devices are not meant

def get_config():
    patch = pytest.MonkeyPatch()
    quick_model.replace(patch, "area_attn")
    # Its import takes seconds, and each job would pay them.
    patch.setattr("ser_jax.training.tensorboard.EventLog.write", lambda *_: None)
    if number := int(os.environ.get("SIGNAL", "0")):
        common.stop_after(patch, int(os.environ["CALL"]), number)
    config = conftest.make_tiny_config({manifest!r}, {datasets!r})
    config.train.devices = 0
    return config
"""


def write_config(path: Path, manifest, datasets: str) -> Path:
    """The config file of `quick_config` for processes that a test starts."""
    path.write_text(CONFIG.format(manifest=str(manifest), datasets=datasets))
    return path


def run(config: Path, workdir: Path, processes: int, **special) -> list:
    """Runs `run.py` in so many processes; (exit code, output) of each.

    `special` is what one of them gets: `who`, and `signal` and `call`, or `flag`.

    Raises:
      subprocess.TimeoutExpired: One hangs.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = []
    for number in range(processes):
        mine = special if number == special.get("who") else {}
        devices = r"(device_count)=\d+"
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": re.sub(devices, r"\1=1", os.environ["XLA_FLAGS"]),
            "SIGNAL": str(int(mine.get("signal", 0))),
            "CALL": str(mine.get("call", 0)),
        }
        job = (
            f"--coordinator=localhost:{port}",
            f"--num_processes={processes}",
            f"--process_id={number}",
        )
        flags = (f"--config={config}", f"--workdir={workdir}", *job)
        flags += (mine["flag"],) if "flag" in mine else ()
        started.append(
            subprocess.Popen(
                [sys.executable, "run.py", *flags],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        outputs = [process.communicate(timeout=_HANGS_S)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    codes = [process.returncode for process in started]
    return list(zip(codes, outputs, strict=True))
