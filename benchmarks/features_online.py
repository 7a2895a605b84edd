"""JAX features are faster than librosa on one core; VTLP adds <= 5 % to a step.

Bars: no slower than librosa, and <= 5 % of an AACNN step.

Table rows but the first: `features.online` on one CPU core (this process may use no other)
against librosa's functions per recording, waveforms in memory, static values with both
deltas. Recordings are sorted by length and padded to batches of 16, which is part of
ours, as is the way to the device and back.

First row: an AACNN training step (3x3, 2 s of `logmel128`, batch 32, all cores) on stored
frames, against the same with a warp factor drawn for every example, whose windows are
made from their samples inside the step (`augment.vtlp=online`); on accelerators 16 steps
per call.

Ours must equal `features.offline` to 1e-4 of the largest value, padding or not: JAX's FFT
is float32, which the quietest bands of a recording feel. On a GPU the same rows are made
there, librosa on the host's one core.

    python -m benchmarks.features_online [--quick] [--out=features_online.json]

Real speech: SER_JAX_BENCHMARK_MANIFEST=/path/to/manifest.csv (16 kHz).
"""

import os
import sys

ONE_CORE = "one_core"
if sys.argv[1:2] == [ONE_CORE]:  # before JAX counts the cores
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])

import functools
import json
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import soundfile
from flax import nnx

from benchmarks import feature_peers as peers
from benchmarks import measure
from configs import area_attn
from ser_jax.data import segment_tables
from ser_jax.data.batches import Index, Tables
from ser_jax.features import offline, online, online_segments
from ser_jax.features.spec import RECIPES
from ser_jax.models import MODELS
from ser_jax.training import optim, state, step
from ser_jax.training.batch import cut_samples, make_batch
from ser_jax.training.state import Totals

NAMES = ("logmel40_3d", "logmel128", "mfcc32_3d")
TOLERANCE = 1e-4
NUM_FILES, BATCH = 96, 16

compiled = jax.jit(online.features, static_argnums=2)


def batches_of(recordings: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Recordings of similar length together, padded to half seconds."""
    order = sorted(recordings, key=len)
    found = []
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        part += [part[-1]] * (BATCH - len(part))
        half = peers.RATE_HZ // 2
        padded = np.zeros((BATCH, -(-len(part[-1]) // half) * half), np.float32)
        for row, wave in zip(padded, part, strict=True):
            row[: len(wave)] = wave
        found.append((padded, np.array([len(wave) for wave in part], np.int32)))
    return found


def ours(recordings: list[np.ndarray], recipe: str) -> list[np.ndarray]:
    """Features of all recordings, sorted by length, as NumPy batches."""
    found = [
        compiled(padded, lengths, RECIPES[recipe])
        for padded, lengths in batches_of(recordings)
    ]
    return [np.asarray(frames) for frames, _ in found]


def librosas(recordings: list[np.ndarray], recipe: str) -> None:
    """The same with librosa."""
    for wave in recordings:
        static = peers.librosa_static(wave, recipe)
        first = librosa.feature.delta(static, width=5, mode="nearest")
        second = librosa.feature.delta(first, width=5, mode="nearest")
        np.stack([static, first, second], axis=-1)


def check(recordings: list[np.ndarray], recipe: str) -> dict[str, float]:
    """Differences to the builder's features; ends the program if too large."""
    spec, differences, largest = RECIPES[recipe], [], 0.0
    order = sorted(recordings, key=len)
    got = [row for batch in ours(recordings, recipe) for row in batch]
    for wave, frames in zip(order, got, strict=False):
        expected = offline.features(wave, spec)
        differences.append(np.abs(frames[: len(expected)] - expected).ravel())
        largest = max(largest, np.abs(expected).max())
        if frames[len(expected) :].any():
            raise SystemExit(f"{recipe}: frames behind the end of a recording")
    differences = np.concatenate(differences)
    found = {
        "largest difference": float(differences.max()),
        "of the largest value": float(differences.max() / largest),
        "beyond 1e-4 [%]": 100 * float(np.mean(differences > 1e-4)),
    }
    if not found["of the largest value"] <= TOLERANCE:
        raise SystemExit(f"{recipe}: differs from the builder's features: {found}")
    return found


def one_core(name: str, num: int, rounds: int) -> dict:
    """The row of a recipe; in a process of its own, on one core."""
    with tempfile.TemporaryDirectory() as folder:
        _, files, _ = peers.recordings(Path(folder), num)
        recordings = [soundfile.read(f, dtype="float32")[0] for f in files]
    hours = sum(map(len, recordings)) / peers.RATE_HZ / 3600
    differences = check(recordings, name)
    calls = {
        "ours": functools.partial(ours, recordings, name),
        "librosa": functools.partial(librosas, recordings, name),
    }
    taken = measure.seconds(calls, rounds=rounds)
    return {
        "case": f"{name}, one core, {jax.devices()[0].platform}",
        "ours": 60 * hours / taken["ours"].median,
        "peer": 60 * hours / taken["librosa"].median,
        "unit": "hours of speech per minute, librosa",
        "ratio": taken["librosa"].median / taken["ours"].median,
    } | differences


def training_step(width: float, batch: int, rounds: int) -> dict:
    """What drawing VTLP in every step costs."""
    config = area_attn.get_config()
    config.model.width = width
    spec, window = RECIPES["logmel128"], 81
    model = MODELS["area_attn"](
        config.model,
        input_shapes={"frames": (window, 128, 1)},
        num_classes=4,
        rngs=nnx.Rngs(0),
    )
    graphdef, initial = state.create(model, optim.make_optimizer(config.train), None)
    tables, index, constants = corpus(batch, window)
    # Convolutions in a loop use one thread of a CPU.
    count = 1 if jax.default_backend() == "cpu" else 16

    def call(mode: str):
        own = area_attn.get_config()
        own.augment.vtlp = mode
        make = functools.partial(make_batch, config=own, window_frames=window)
        train_step = step.make_train_step(graphdef, own, make)

        @jax.jit
        def steps(tables, state, totals, index, constants):
            def body(carry, _):
                return train_step(tables, *carry, index, constants), None

            if count == 1:
                return body((state, totals), None)[0]
            return jax.lax.scan(body, (state, totals), None, length=count)[0]

        arguments = (tables, initial, Totals.zero(), index, constants)
        return lambda: jax.block_until_ready(steps(*arguments))

    @jax.jit
    def front_end(tables, alpha):
        cut = cut_samples(tables, index, config.data, window)
        return online_segments.features(cut, window, spec, 1, alpha)

    alpha = jnp.linspace(0.8, 1.2, batch)
    calls = {
        "online": call("online"),
        "stored": call("none"),
        "alone": lambda: jax.block_until_ready(front_end(tables, alpha)),
    }
    taken = measure.seconds(calls, rounds=rounds)
    for name in ("online", "stored"):
        taken[name] = taken[name].scaled(1 / count)
    return {
        "case": f"AACNN step, batch {batch}, {jax.devices()[0].platform}",
        "ours": taken["online"].scaled(1e3),
        "peer": taken["stored"].scaled(1e3),
        "unit": "ms a step, stored frames",
        "ratio": taken["online"].median / taken["stored"].median,
        "front end alone [ms]": taken["alone"].scaled(1e3),
        "of the step [%]": 100 * taken["alone"].median / taken["stored"].median,
    }


def corpus(batch: int, window: int):
    """A table of frames and of samples with one recording, and a batch from it."""
    spec, rng = RECIPES["logmel128"], np.random.default_rng(0)
    rows = 2000
    table = rng.normal(0, 2000, (rows + window, 1, spec.hop_samples))
    zero = np.zeros(1, np.int32)
    recordings = segment_tables.Recordings(
        zero, zero + 1, zero + (rows - 1) * spec.hop_samples, zero.astype(np.float32)
    )
    tables = Tables(
        frames=rng.standard_normal((rows + window, 128, 1)).astype(np.float32),
        samples=table.astype(np.int16),
        recordings=recordings,
    )
    start = rng.integers(0, rows - window, batch).astype(np.int32)
    label = rng.integers(0, 4, batch).astype(np.int32)
    full, weight = np.full(batch, window, np.int32), np.ones(batch, np.float32)
    index = Index(np.zeros(batch, np.int32), start, full, label, weight)
    mean, std = np.zeros((128, 1), np.float32), np.ones((128, 1), np.float32)
    constants = state.Constants(
        mean, std, np.ones(4, np.float32), np.int32(100), np.uint32(0)
    )
    return jax.device_put(tables), index, constants


def cases(quick: bool, _: Path) -> list[measure.Case]:
    """The step, and each recipe by a process of its own, which is bound to one core."""
    size = (0.25, 4, 2) if quick else (1.0, 32, 7)
    arguments = ("8", "1") if quick else (str(NUM_FILES), "7")
    alone = functools.partial(
        measure.in_new_process, "benchmarks.features_online", ONE_CORE
    )
    found = [measure.Case(x, functools.partial(alone, x, *arguments)) for x in NAMES]
    return [measure.Case("step", functools.partial(training_step, *size)), *found]


if __name__ == "__main__":
    if sys.argv[1:2] == [ONE_CORE]:
        print(json.dumps(one_core(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    else:
        measure.main(
            cases,
            doc=__doc__,
            name="features_online",
            packages=("jax", "jaxlib", "flax", "librosa", "numpy"),
        )
