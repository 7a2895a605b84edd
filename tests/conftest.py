"""Eight virtual CPU devices, strict shapes, and one tiny corpus of tones."""

import os
import tempfile

# Compiling is most of the suite's time: level 1 takes a fifth off it, and without fusion
# emitters a third of what is left. The commands that tests start on their own are
# compiled as a user's are.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=1"
    + " --xla_cpu_use_fusion_emitters=false"
)

# Tests compile the same small programs again and again, in child processes too.
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers share what the first one made
    os.environ.setdefault(
        "JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp(prefix="ser_jax_tests_")
    )
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import csv
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import filelock
import numpy as np
import pytest
import soundfile

from configs import area_attn

# Beside TensorFlow's LLVM, Triton's crashes the process that imports both. PyTorch, which
# only the references need, does without.
sys.modules["triton"] = None

RATE_HZ = 16_000
TONES_HZ = {"low": 300.0, "mid": 900.0, "high": 2700.0}
SPEAKERS = ("s1", "s2", "s3", "s4", "s5")


def write_tones(folder: Path, *, per_cell: int = 3, seed: int = 0) -> Path:
    """Writes a manifest corpus: one noisy tone per class, 0.4 to 0.9 s."""
    rng = np.random.default_rng(seed)
    rows = []
    for speaker in SPEAKERS:
        for emotion, tone_hz in TONES_HZ.items():
            for take in range(per_cell + (speaker == "s2")):  # folds differ in length
                seconds = rng.uniform(0.4, 0.9)
                t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
                wave = 0.3 * np.sin(2 * np.pi * tone_hz * rng.uniform(0.9, 1.1) * t)
                wave += 0.05 * rng.standard_normal(len(t))
                name = f"{speaker}_{emotion}_{take}.wav"
                soundfile.write(folder / name, wave, RATE_HZ)
                rows.append({"path": name, "emotion": emotion, "speaker": speaker})
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "emotion", "speaker"])
        writer.writeheader()
        writer.writerows(rows)
    return manifest


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """`once(name, make)`: the folder that `make(folder)` filled, for all workers."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with filelock.FileLock(root / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # what a failure left
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def tones(once) -> Path:
    """The manifest of the tiny corpus."""
    return once("tones", write_tones) / "manifest.csv"


@pytest.fixture(scope="session")
def datasets(once) -> str:
    """Where tests build datasets: once per session, never in the user's home."""
    return str(once("tfds", lambda folder: None))


@pytest.fixture
def tiny_config(tones, datasets):
    """The real config of the flagship, shrunk: five folds."""
    return make_tiny_config(tones, datasets)


def make_tiny_config(tones, datasets):
    """As the fixture `tiny_config`, for wider scopes and other processes."""
    config = area_attn.get_config()
    config.data.corpus = "manifest"
    config.data.manifest = str(tones)
    config.data.tfds_dir = datasets
    config.data.recipe = "logmel64"
    config.data.file_format = "array_record"
    config.data.num_workers = 1
    config.data.vtlp_copies = 1
    config.data.normalize = "fold"
    config.segment.window_s = 0.5
    config.segment.train_step_s = 0.2
    config.segment.test_step_s = 0.1
    config.protocol.subset = "all"
    config.protocol.split = "group"
    config.model.width = 0.15
    config.model.pools = (True, True, True, (4, 1), False)
    config.model.max_area = (2, 2)
    config.train.epochs = 2
    config.train.batch_size = 8
    config.model.bn_momentum = 0.5
    config.model.head = "time_mean"
    config.model.attention_dropout = 0.2
    config.train.learning_rate = 1e-2
    config.train.devices = 1
    return config


@pytest.fixture
def quick_config(tiny_config, monkeypatch):
    """`tiny_config` with a model that compiles in a second in the AACNN's place."""
    from tests import quick_model  # JAX, once its flags are set

    quick_model.replace(monkeypatch, tiny_config.model.name)
    return tiny_config


@pytest.fixture(scope="session")
def quick_workdir(tones, datasets, once) -> Path:
    """A finished training of `quick_config`; tests that write take a copy."""
    from ser_jax.training import loop
    from tests import quick_model

    config = make_tiny_config(tones, datasets)

    def train(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            quick_model.replace(patch, config.model.name)
            loop.train_and_evaluate(config, str(folder))

    return once("quick", train)


@pytest.fixture(scope="session")
def workdirs(tones, datasets, once):
    """`workdirs(name)`: a tiny workdir of that system, made when first asked for."""
    from tests import workdirs as tiny  # JAX, once its flags are set

    def made(name: str) -> Path:
        return once(name, lambda folder: tiny.make(name, tones, datasets, folder))

    return made
