"""Host memory does not grow with the corpus: what does not fit a device is streamed.

Corpora of noise with IEMOCAP's durations, at x1, x4 and x16 of a base size, are built
by the manifest builder (`logmel128`, 7 VTLP copies) and train the flagship at a quarter
of its width, so that feeding it weighs more than it will: one run, with the frames on
the device, then with the frames in their mapped file on the host. Measured, every row in processes of its own:

- `build`: the builder on all cores, and per hour of speech;
- `first open`: reading the records once and writing the flat file; `open`: mapping it,
  with folds, windows and normalisation, in every later start;
- `anonymous`: memory that only this process has and the system cannot take back, its
  peak (RssAnon, sampled) while opening and, after two steps, while training; `peak`:
  with mapped pages, which it can take back, and with compilation (VmHWM);
- `feed`: cutting and sending one step's windows, by itself; in training a thread does
  it while the step before works;
- `step`: one training step, batch 32; `epoch`: the step times the steps of an epoch.

Durations: log-normal with the mean of IEMOCAP's 10039 turns (12.46 h / 10039 = 4.47 s;
Busso et al. 2008 give 4.5 s), sigma 0.68, redrawn outside 0.58 ... 34.14 s, its shortest
and longest turn as they are commonly given. The log-normal shape is our assumption.

Checked in every mode: both placements give the same losses, bit for bit on CPU. Bars:
on the host a growing corpus adds at most a twentieth of its table to anonymous memory,
and feeding a step takes at most a fiftieth of it. Rows of IEMOCAP itself are
extrapolated in proportion to the hours of the largest corpus measured, with the frames
where `auto` puts them on this machine.

    python -m benchmarks.growth [--quick] [--out=growth.json]

Needs 8 GB below $TMPDIR without --quick.
"""

import csv
import functools
import itertools
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks import measure

BASE = 80  # utterances at x1; IEMOCAP has 10039
FACTORS = (1, 4, 16)
IEMOCAP_TURNS, IEMOCAP_HOURS = 10039, 12.46
SHORTEST_S, MEAN_S, LONGEST_S, SIGMA = 0.58, 4.47, 34.14, 0.68
RATE_HZ = 16_000
STEPS = 8  # timed; two more before


def durations_s(num: int, seed: int = 0) -> np.ndarray:
    """Lengths of turns, see above; the redrawing moves the mean by a few percent."""
    rng = np.random.default_rng(seed)
    centre = np.log(MEAN_S) - SIGMA**2 / 2
    found = rng.lognormal(centre, SIGMA, 2 * num + 100)
    return found[(found >= SHORTEST_S) & (found <= LONGEST_S)][:num]


def write_corpus(folder: Path, num: int, more_s: Sequence[float] = ()) -> float:
    """Writes wavs, `num` and some of given lengths, and their manifest; returns hours."""
    import soundfile

    rng = np.random.default_rng(1)
    seconds = np.array([*durations_s(num), *more_s])
    rows = []
    for number, length in enumerate(seconds):
        noise = 0.1 * rng.standard_normal(round(length * RATE_HZ)).astype(np.float32)
        name = f"u{number:06d}.wav"
        soundfile.write(folder / name, noise, RATE_HZ)
        emotion, speaker = "nhsa"[number % 4], f"s{number // 4 % 10}"
        rows.append({"path": name, "emotion": emotion, "speaker": speaker})
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "emotion", "speaker"])
        writer.writeheader()
        writer.writerows(rows)
    return float(seconds.sum() / 3600)


def config_of(folder: Path, quick: bool):
    """The flagship on a corpus: one run on four fifths of it."""
    from configs import area_attn

    config = area_attn.get_config()
    config.data.corpus, config.data.manifest = "manifest", str(folder / "manifest.csv")
    config.data.tfds_dir = str(folder / "tfds")
    config.data.file_format = "array_record"
    config.data.vtlp_copies, config.data.normalize = 7, "fold"
    config.protocol.split, config.protocol.selection = "random_80_20", "last"
    config.protocol.subset, config.train.devices = "all", 1
    config.model.width = 0.25
    if quick:
        config.data.recipe, config.data.vtlp_copies = "logmel64", 1
        config.model.width, config.train.batch_size = 0.15, 8
        config.model.max_area = (1, 1)
    return config


class Peak:
    """The largest of what a function gives, MiB, called again while the block runs."""

    def __init__(self, current_mib: Callable[[], float]):
        self._current_mib = current_mib

    def __enter__(self):
        self.mib, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _sample(self):
        while not self._stop.wait(0.01):
            self.mib = max(self.mib, self._current_mib())


def status_mib(field: str, process: int | str = "self") -> float:
    """A line of /proc/<process>/status; 0 once the process has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    found = [line for line in lines if line.startswith(field)]
    return int(found[0].split()[1]) / 1024 if found else 0.0


def build(folder: Path, num: int, quick: bool) -> dict:
    """Writes a corpus, builds its dataset and opens it once."""
    from ser_jax.datasets import build, store

    hours = write_corpus(folder, num)
    config = config_of(folder, quick)
    start = time.perf_counter()
    directory = build.ensure_built(config.data)
    built = time.perf_counter()
    store.load(directory, channels=config.data.channels)
    return {
        "hours": hours,
        "build": built - start,
        "first_open": time.perf_counter() - built,
        "records_mib": size_mib(Path(directory).glob("*array_record*")),
        "flat_mib": size_mib(Path(directory).glob("flat*/*")),
    }


def size_mib(paths) -> float:
    """Bytes of files, in MiB."""
    return sum(path.stat().st_size for path in paths) / 2**20


def train(folder: Path, frames_on: str, quick: bool) -> dict:
    """Opens a built dataset and trains some steps."""
    import jax

    from ser_jax.training import experiment as experiment_lib
    from ser_jax.training.trainer import Trainer

    config = config_of(folder, quick)
    config.data.frames_on = frames_on
    config.train.steps_per_call = 1
    steps = 2 if quick else STEPS
    start = time.perf_counter()
    with Peak(lambda: status_mib("RssAnon")) as opening:
        experiment = experiment_lib.prepare(config)
    opened = time.perf_counter() - start
    trainer = Trainer(config, experiment)
    planned = trainer.plan(trainer.initial_snapshot().records)
    took, anonymous = [], 0.0
    for call in trainer.calls(planned):
        start = time.perf_counter()
        trainer.train(call)
        jax.block_until_ready(trainer.totals)
        took.append(time.perf_counter() - start)
        if len(took) > 2:
            anonymous = max(anonymous, status_mib("RssAnon"))
        if len(took) == steps + 2:
            break
    feeding = []
    for _, frames, index in itertools.islice(planned.calls(1), 12):
        start = time.perf_counter()
        jax.block_until_ready(trainer.feeder.call(0, frames, index).rounds)
        feeding.append(time.perf_counter() - start)
    stats = jax.devices()[0].memory_stats() or {}
    step = measure.Spread.of(took[2:])
    return {
        "open": opened,
        "opening_mib": opening.mib,
        "training_mib": anonymous,
        "peak_mib": status_mib("VmHWM"),
        "table_mib": trainer.feeder.storage.table_bytes / 2**20,
        "device_mib": stats.get("peak_bytes_in_use", 0) / 2**20,
        "feed": float(np.median(feeding)),
        "step": [step.median, step.low, step.high, step.rounds],
        "epoch_steps": planned.steps,
        "loss": float(trainer.totals[0].loss[0]),
        "platform": jax.devices()[0].platform,
    }


@functools.cache
def rows_of(factor: int, quick: bool) -> list[dict]:
    """Builds one corpus and trains on it both ways."""
    num = factor * (24 if quick else BASE)
    with tempfile.TemporaryDirectory(prefix="growth_") as folder:
        return _rows_of(Path(folder), factor, num, quick)


def _rows_of(folder: Path, factor: int, num: int, quick: bool) -> list[dict]:
    def child(*arguments):
        name, flag = "benchmarks.growth", str(int(quick))
        # What both placements compile alike is compiled once; memory then says less.
        cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")} if quick else {}
        return measure.in_new_process(name, "child", *arguments, flag, env=cache)

    built = child("build", str(folder), str(num))
    rows = []
    for frames_on in ("device", "host"):
        found = child("train", str(folder), frames_on)
        step = measure.Spread(*found["step"])
        on_cpu = found["platform"] == "cpu"
        table = found["table_mib"] if frames_on == "device" else 0.0
        rows.append(
            {
                "case": f"x{factor}, {num} turns",
                "speech [h]": built["hours"],
                "build [s]": built["build"],
                "build [s/h]": built["build"] / built["hours"],
                "records [MiB]": built["records_mib"],
                "flat file [MiB]": built["flat_mib"],
                "first open [s]": built["first_open"],
                "open [s]": found["open"],
                "frames on": frames_on,
                "anonymous, opening [MiB]": found["opening_mib"],
                "anonymous, training [MiB]": found["training_mib"],
                "peak [MiB]": found["peak_mib"],
                "device table [MiB]": table,
                "device peak [MiB]": "host's" if on_cpu else found["device_mib"],
                "feed [s]": found["feed"],
                "step [s]": step,
                "epoch [s]": step.median * found["epoch_steps"],
                "loss": found["loss"],
            }
        )
    check_losses(*(row["loss"] for row in rows), exact=on_cpu)
    return rows


def check_losses(device: float, host: float, *, exact: bool) -> None:
    """Both placements train alike."""
    if not np.isclose(device, host, rtol=0.0 if exact else 1e-4, atol=0.0):
        raise SystemExit(f"losses differ: {device} on the device, {host} on the host")


def extrapolated(rows: list[dict]) -> Iterator[dict]:
    """IEMOCAP x1, x4, x16 as `auto` would take it here, in proportion to hours."""
    import jax

    from configs import base
    from ser_jax.training import feeder as feeding

    grows = ("build [s]", "records [MiB]", "flat file [MiB]", "first open [s]")
    grows += ("open [s]", "device table [MiB]", "epoch [s]")
    for factor in FACTORS:
        share = factor * IEMOCAP_HOURS / rows[-2]["speech [h]"]
        size = int(share * rows[-2]["device table [MiB]"] * 2**20)
        storage = feeding.choose_storage(
            size, base.get_config().data, jax.devices()[:1]
        )
        row = next(x for x in rows[-2:] if x["frames on"] == storage.on)
        new = {"case": f"IEMOCAP x{factor}, extrapolated", "frames on": storage.on}
        new["speech [h]"] = factor * IEMOCAP_HOURS
        yield new | {key: share * row[key] for key in grows}


def cases(quick: bool, _: Path) -> list[measure.Case]:
    """A case per corpus, and what the largest says of IEMOCAP."""
    found = [
        measure.Case(f"x{factor}", functools.partial(rows_of, factor, quick))
        for factor in (FACTORS[:1] if quick else FACTORS)
    ]
    if not quick:
        largest = functools.partial(rows_of, max(FACTORS), quick)
        found.append(measure.Case("IEMOCAP", lambda: extrapolated(largest())))
    return found


def child(kind: str, folder: str, *rest: str) -> dict:
    """One measurement in a process of its own."""
    quick = bool(int(rest[-1]))
    if kind == "build":
        return build(Path(folder), int(rest[0]), quick)
    return train(Path(folder), rest[0], quick)


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        print(json.dumps(child(*sys.argv[2:])))
    else:
        packages = ("jax", "flax", "numpy", "librosa", "tensorflow-datasets")
        measure.main(cases, doc=__doc__, name="growth", packages=packages)
