"""A dataset with 7 VTLP copies is built >= 3x faster than librosa makes its features.

Ours is the whole way of `run.py`: every recording is read and checked, features and
copies are computed by 2 workers (threads), the dataset is written (TFRecord where
TensorFlow is installed, else ArrayRecord). Beside it, without anything being checked or written:

- librosa 0.11 called per file (`feature_peers.py` says how a copy is made), in one
  process, as scripts do, and in 2 processes (joblib);
- python_speech_features 0.6 likewise, for `logmel40_3d`; its triangles are those of our
  `logmel40_psf`, which costs the same.

The bar is on the copies: ours takes them from one STFT by warped filterbanks, librosa's
way resynthesises each. The rows without copies are there to be honest about the rest.
`features only` is the time of our worker function in one process, without the dataset.

Ours must agree with the peers' unwarped features to 1e-4 (MFCC, up to 700: 2e-3).

    python -m benchmarks.features [--quick] [--out=features.json]

Real speech: SER_JAX_BENCHMARK_MANIFEST=/path/to/manifest.csv (16 kHz).
"""

import contextlib
import functools
import importlib.util
import itertools
import logging
import os
import tempfile
from pathlib import Path

import joblib
import numpy as np
import soundfile

from benchmarks import feature_peers as peers
from benchmarks import measure
from configs import base
from ser_jax.datasets import build
from ser_jax.features import vtlp
from ser_jax.features.spec import RECIPES

NAMES = ("logmel40_3d", "logmel128", "mfcc32_3d")
WORKERS = 2
COPIES = (0, 7)
PEER_FILES = 48  # rates of the peers come from these files alone
TOLERANCE = {"logmel40_3d": 1e-4, "logmel128": 1e-4, "mfcc32_3d": 2e-3}


def factors_of(copies: int) -> np.ndarray:
    """Warp factors of a recording's copies."""
    return vtlp.warp_factors("benchmark", copies, 0.8, 1.2)


def ours(path: str, recipe: str, copies: int) -> dict:
    """What a worker process does with a recording."""
    spec = RECIPES[recipe]
    return vtlp.recording_features(path, spec, factors_of(copies), "textbook", 0.1)


@functools.cache
def corpus(folder: Path, num: int) -> tuple[str, list[str], float]:
    """The recordings, after the check that all ways give the same without copies."""
    manifest, files, hours = peers.recordings(folder, num)
    for recipe, path in itertools.product(NAMES, files[:4]):
        got = ours(path, recipe, 0)["log_mel"]
        expected = peers.librosa_features(path, recipe, factors_of(0))[0]
        _compare(f"{recipe}, librosa", got, expected, TOLERANCE[recipe])
    got = ours(files[0], "logmel40_psf", 0)["log_mel"]
    expected = peers.psf_features(files[0], factors_of(0))[0]
    _compare("logmel40_psf, python_speech_features", got, expected, 1e-4)
    samples, _ = soundfile.read(files[0], dtype="float32")
    got = vtlp.nlpaug_warp(samples, 0.87, peers.RATE_HZ)
    _compare("nlpaug's warp", got, peers.resynthesised(samples, 0.87), 1e-5)
    return manifest, files, hours


def _compare(what: str, got: np.ndarray, expected: np.ndarray, tolerance: float):
    error = np.abs(got - expected).max() if got.shape == expected.shape else np.inf
    if not error <= tolerance:
        raise SystemExit(f"{what}: features differ by {error}, more than {tolerance}")


def build_dataset(manifest: str, recipe: str, copies: int) -> None:
    """Builds a dataset in a new folder, all files, 2 workers."""
    data = base.get_config().data
    data.corpus, data.manifest = "manifest", manifest
    data.recipe, data.vtlp_copies, data.num_workers = recipe, copies, WORKERS
    if importlib.util.find_spec("tensorflow") is None:
        data.file_format = "array_record"
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as null:
        data.tfds_dir = folder
        with contextlib.redirect_stderr(null):  # its progress bar
            build.ensure_built(data)


def per_file(function, files: list[str], processes: int) -> None:
    """Calls a function on every file; its results come back to this process."""
    if processes == 1:
        for path in files:
            function(path)
        return
    jobs = (joblib.delayed(function)(path) for path in files)
    for _ in joblib.Parallel(processes, return_as="generator")(jobs):
        pass


def row_of(folder: Path, num: int, recipe: str, copies: int, rounds: int) -> dict:
    """Hours of speech per minute."""
    manifest, files, hours = corpus(folder, num)
    hours_of_files = sum(soundfile.info(f).duration for f in files) / 3600
    alone = functools.partial(ours, recipe=recipe, copies=copies)
    librosa = functools.partial(
        peers.librosa_features, recipe=recipe, factors=factors_of(copies)
    )
    calls = {
        "dataset": lambda: build_dataset(manifest, recipe, copies),
        "features": lambda: per_file(alone, files, 1),
        "librosa": lambda: per_file(librosa, files, 1),
        "librosa 2": lambda: per_file(librosa, files, WORKERS),
    }
    if recipe == "logmel40_3d":
        psf = functools.partial(peers.psf_features, factors=factors_of(copies))
        calls["psf 2"] = lambda: per_file(psf, files, WORKERS)
    taken = measure.seconds(calls, rounds=rounds)
    rate = {
        name: measure.Spread(60 * h / s.median, 60 * h / s.high, 60 * h / s.low, rounds)
        for name, s in taken.items()
        for h in [hours if name == "dataset" else hours_of_files]
    }
    got = rate["dataset"].median
    return {
        "recipe": recipe,
        "copies": copies,
        "ours, dataset, 2 workers [h/min]": rate["dataset"],
        "librosa, 1 process [h/min]": rate["librosa"],
        "ratio": got / rate["librosa"].median,
        "librosa, 2 processes [h/min]": rate["librosa 2"],
        "ratio, 2 processes": got / rate["librosa 2"].median,
        "psf, 2 processes [h/min]": rate.get("psf 2", "-"),
        "ours, features only, 1 process [h/min]": rate["features"],
        "ratio, features only": rate["features"].median / rate["librosa"].median,
    }


def cases(quick: bool, folder: Path) -> list[measure.Case]:
    """A case per recipe and number of copies."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    names, rounds = (NAMES[:1], 1) if quick else (NAMES, 5)
    num = 6 if quick else PEER_FILES
    return [
        measure.Case(
            f"{name} {copies} copies",
            functools.partial(row_of, folder, num, name, copies, rounds),
        )
        for name, copies in itertools.product(names, COPIES)
    ]


if __name__ == "__main__":
    measure.main(
        cases,
        doc=__doc__,
        name="features",
        packages=("librosa", "python_speech_features", "numpy", "scipy", "tensorflow"),
    )
