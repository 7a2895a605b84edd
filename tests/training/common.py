"""What the tests of the main path have in common."""

import os
import signal

import numpy as np

from ser_jax.training.trainer import Trainer
from ser_jax.workdir import predictions


def posteriors_of(workdir) -> np.ndarray:
    """The posteriors in a workdir's predictions.csv, in its order."""
    lines, _ = predictions.read(workdir / "predictions.csv")
    return np.array([line.posteriors for line in lines])


def stop_after(monkeypatch, calls: int):
    """Sends SIGTERM to this process in the given call of `Trainer.train`."""
    original, count = Trainer.train, {"calls": 0}

    def train(self, call):
        count["calls"] += 1
        original(self, call)
        if count["calls"] == calls:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "train", train)
