"""What the tests of the main path have in common."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np

from ser_jax.training.trainer import Trainer
from ser_jax.workdir import metrics_log, predictions


def posteriors_of(workdir) -> np.ndarray:
    """The posteriors in a workdir's predictions.csv, in its order."""
    lines, _ = predictions.read(workdir / "predictions.csv")
    return np.array([line.posteriors for line in lines])


def figures_of(workdir) -> dict:
    """results.json without what may differ between two equal trainings."""
    results = json.loads((workdir / "results.json").read_text())
    vary = ("seconds", "start_up", "memory", "frames", "versions")
    return {k: v for k, v in results.items() if k not in vary}


def curves_of(workdir) -> list[dict]:
    """The lines of metrics.jsonl without the seconds they took."""
    rows = metrics_log.read(workdir / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def stop_after(monkeypatch, calls: int, signum: int = signal.SIGTERM, saved=None):
    """Sends a signal to this process in the given call of `Trainer.train`.

    Not before Orbax has begun a checkpoint in the folder `saved`, which a thread does.
    """
    original, count = Trainer.train, 0

    def train(self, call):
        nonlocal count
        count += 1
        original(self, call)
        if count == calls:
            while saved and not any(Path(saved).glob("checkpoints/0*")):
                time.sleep(0.01)
            os.kill(os.getpid(), signum)

    monkeypatch.setattr(Trainer, "train", train)
