"""A cross-validation trained together takes less time than its runs one by one.

R = folds x seeds runs of AACNN through the real trainer, on one device: the frames lie
there, windows are gathered in the step, Adam. The same R trainings otherwise:

- `alone`: one after the other as a user would, each compiled on its own. Importing
  and reading the data R times is not counted. The compilation is measured twice and
  counted R times.
- `alone, one compile`: the same with the compiled step kept from run to run.

Together: `loop` (separate calls, one compiled program), `map` (`lax.map` over the runs
in one call), `vmap` (batched), each with 1 step per call, or with S in a `lax.scan`
(the epoch on the device).
On CPU `auto` is `loop` with 1 step.

Columns: start = creating the models, and the first call less a later one; samples/s = of all runs, with the host's
work between calls as in training; total = start and 200 steps of every run, from these
two; host = share of the time in which the device waits for the host (calls
made ready before and started without waiting, against calls as in training); temp =
memory that a call takes beside its arguments, per run that is in it; state =
parameters + statistics, and the optimiser's, per run.

Bars, on a GPU (AACNN whole, R = 50): samples/s and total >= 5x `alone`, host <= 2 %.
Checked in every mode: the first run's loss after some steps is what it is alone.
benchmarks/runs_apart.py checks all runs, and that devices never exchange anything.

    python -m benchmarks.cross_validation [--quick] [--out=cross_validation.json]
"""

import dataclasses
import functools
import math
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks import measure
from configs import area_attn
from ser_jax.data import step_plan
from ser_jax.training import autotune, runs
from ser_jax.training import experiment as experiment_lib
from ser_jax.training.feeder import Call
from ser_jax.training.trainer import Trainer

TOTAL_STEPS = 200
FOLDS = 5
# Sums in another order differ by 1e-7; Adam divides gradients by their size, so that
# such a difference in a tiny gradient grows to a difference of the update, and with the
# steps. An error (another run's data, statistics or seed) moves the loss by percents.
TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Size:
    """How large the network, its input and the measurement are.

    Attributes:
      recipe: Features.
      width: Of all layers; 1 is the paper's.
      pools: After which convolutions the map is halved.
      batch: Windows per step and run.
      runs: Numbers of runs.
      steps: S of a call; also what one measurement takes.
      rounds: Measurements of each way.
    """

    recipe: str
    width: float
    pools: tuple
    batch: int
    runs: tuple[int, ...]
    steps: int
    rounds: int


SMALL_MAP = (True, True, True, False, False)
QUICK = Size("logmel64", 0.1, (True, True, True, (4, 1), False), 4, (5,), 2, 1)
CPU = Size("logmel64", 0.25, SMALL_MAP, 8, (5, 10, 50), 2, 3)
GPU = Size("logmel128", 1.0, (False, True, True, False, False), 32, (5, 10, 50), 16, 3)


def config_of(size: Size, num_runs: int, folder: str, *, devices: int = 1):
    """The flagship's config on synthetic speech: five folds and as many seeds."""
    config = area_attn.get_config("demo")
    config.data.tfds_dir = folder
    config.data.file_format = "array_record"
    config.data.recipe = size.recipe
    config.data.vtlp_copies = 0
    config.data.demo_turns = 24 if size is GPU else 6
    config.augment.vtlp = "none"
    config.protocol.seeds = tuple(range(math.ceil(num_runs / FOLDS)))
    config.model.width = size.width
    config.model.pools = size.pools
    config.train.batch_size = size.batch
    config.train.devices = devices
    return config


def prepare(config, chosen: slice) -> experiment_lib.Experiment:
    """The experiment with some of its runs only."""
    whole = experiment_lib.prepare(config)
    constants = jax.tree.map(lambda x: x[chosen], whole.constants)
    return dataclasses.replace(whole, runs=whole.runs[chosen], constants=constants)


def epoch_of(trainer: Trainer, num_steps: int) -> step_plan.StepPlan:
    """The first steps of the first epoch; all runs must have that many."""
    planned = trainer.plan(trainer.initial_snapshot().records)
    full = np.flatnonzero((planned.index.weight > 0).all(axis=(0, 2)))
    chosen = np.resize(full, num_steps)  # a small corpus is gone round again
    index = jax.tree.map(lambda x: x[:, chosen], planned.index)
    return step_plan.StepPlan(index, planned.window_frames[chosen])


def first_call(trainer: Trainer, planned: step_plan.StepPlan) -> Call:
    """The first call, on the devices."""
    return next(trainer.calls(planned))


def train(trainer: Trainer, planned: step_plan.StepPlan) -> float:
    """Seconds of some steps, as ser_jax/training/loop.py takes them."""
    start = time.perf_counter()
    for call in trainer.calls(planned):
        trainer.train(call)
        jax.block_until_ready(trainer.totals)
    return time.perf_counter() - start


def busy(trainer: Trainer, planned: step_plan.StepPlan) -> float:
    """Seconds of the same steps if the device never waits for the host."""
    calls = list(trainer.calls(planned))
    jax.block_until_ready(([call.rounds for call in calls], trainer.states))
    start = time.perf_counter()
    for call in calls:
        trainer.train(call)
    jax.block_until_ready(trainer.totals)
    return time.perf_counter() - start


@dataclasses.dataclass
class Way:
    """One way of training R runs, ready to be timed.

    Attributes:
      name: In the table.
      trainer: Of all runs, or of one for the ways that train them alone.
      placement: What the trainer must use.
      steps: Steps per call.
      start_s: Creating the models and compiling; seconds.
      starts: How often `start_s` is paid.
      temp_mib: Temporaries of a call, per run in it.
      walls: Seconds of each measurement, as trained.
      floors: Likewise if the device never waits.
    """

    name: str
    trainer: Trainer
    placement: runs.Placement
    steps: int
    start_s: float
    starts: int = 1
    temp_mib: float = 0.0

    walls: list[float] = dataclasses.field(default_factory=list)
    floors: list[float] = dataclasses.field(default_factory=list)

    def measure(self, planned) -> None:
        """Adds the seconds as trained and of the device alone."""
        self.trainer.use(self.placement)
        self.walls.append(train(self.trainer, planned))
        self.floors.append(busy(self.trainer, planned))


def started(config, chosen: slice, steps: int) -> tuple[Trainer, float]:
    """A new trainer, and the seconds it took to create it."""
    config.train.steps_per_call = steps
    experiment = prepare(config, chosen)
    start = time.perf_counter()
    trainer = Trainer(config, experiment)
    return trainer, time.perf_counter() - start


def compiled(trainer: Trainer, placement: runs.Placement, size: Size):
    """(seconds of the first call less a second one, MiB of temporaries per run)."""
    planned = epoch_of(trainer, size.steps)
    trainer.use(placement)
    call = first_call(trainer, planned)
    took = []
    for _ in range(2):
        start = time.perf_counter()
        trainer.train(call)
        jax.block_until_ready(trainer.totals)
        took.append(time.perf_counter() - start)
    analysis = trainer.lowered(call).compile().memory_analysis()
    temp_mib = analysis.temp_size_in_bytes / 2**20 / placement.per_device
    return took[0] - took[1], temp_mib


@functools.lru_cache(maxsize=1)
def alone_started(size: Size, folder: str) -> tuple[Trainer, float, float]:
    """A trainer of one run, its mean start [s] and its temporaries [MiB]."""
    starts = []
    for _ in range(1 if size is QUICK else 2):
        jax.clear_caches()
        trainer, created = started(config_of(size, 1, folder), slice(1), 1)
        seconds, temp_mib = compiled(trainer, trainer.placement, size)
        starts.append(created + seconds)
    return trainer, float(np.mean(starts)), temp_mib


def alone(size: Size, num_runs: int, folder: str) -> list[Way]:
    """The runs one after the other; one of them stands for each."""
    trainer, start, temp_mib = alone_started(size, folder)
    common = (trainer, trainer.placement, 1, start)
    return [
        Way("alone", *common, num_runs, temp_mib),
        Way("alone, one compile", *common, 1, temp_mib),
    ]


def together(size: Size, num_runs: int, folder: str) -> list[Way]:
    """The ways of the trainer; `vmap` with as many runs per call as fit."""
    few = size is CPU and num_runs > FOLDS
    modes = ("loop", "vmap") if size is QUICK else ("loop", "map", "vmap")
    found, created = [], []
    if size is not QUICK:
        jax.clear_caches()
    for steps in (1, size.steps) if size is not QUICK else (size.steps,):
        config = config_of(size, num_runs, folder)
        trainer, seconds = started(config, slice(num_runs), steps)
        created.append(seconds)  # the first one's counts: the next finds caches
        for mode in ("loop",) if few and steps > 1 else modes:
            placement = trainer.place(mode=mode)
            if mode == "vmap" and math.isfinite(autotune.free_bytes()):
                seconds_of = autotune.time_placements(trainer, batch_only=True)
                placement = next(iter(seconds_of))
            seconds, temp_mib = compiled(trainer, placement, size)
            start = created[0] + seconds
            way = Way(mode, trainer, placement, steps, start, temp_mib=temp_mib)
            found.append(way)
    return found


def state_mib(trainer: Trainer) -> str:
    """Parameters + statistics, and the optimiser's state, of one run."""
    states = trainer.initial_snapshot().states
    parts = ((states.params, states.stats), states.opt_state)
    mib = [sum(x.nbytes for x in jax.tree.leaves(p)) / 2**20 for p in parts]
    return " + ".join(f"{x / trainer.placement.num_runs:.2f}" for x in mib)


def losses(trainer: Trainer, num_steps: int) -> np.ndarray:
    """Each run's mean loss over the first steps of a training."""
    trainer.use(trainer.placement)
    train(trainer, epoch_of(trainer, num_steps))
    totals = trainer.placement.collect(trainer.totals)
    return np.asarray(totals.loss / totals.count)


def check_losses(name: str, found: np.ndarray, expected: np.ndarray) -> float:
    """The largest relative difference of any run's loss; ends the program if large."""
    difference = float(np.abs(found / expected - 1).max())
    if not difference < TOLERANCE:
        raise SystemExit(f"{name}: a run differs from itself alone by {difference:.1e}")
    return difference


def rows_of(size: Size, num_runs: int, folder: str) -> list[dict]:
    """One row per way, the first being the peer."""
    ways = [*alone(size, num_runs, folder), *together(size, num_runs, folder)]
    expected = None
    for way in ways:  # also compiles again what clearing the caches threw away
        way.trainer.use(way.placement)
        found = losses(way.trainer, size.steps)
        expected = found if expected is None else expected
        check_losses(way.name, found[:1], expected)
    for _ in range(size.rounds):
        for way in ways:
            way.measure(epoch_of(way.trainer, size.steps))
    rows = []
    for way in ways:
        rows.append(row_of(way, size, num_runs, rows[0] if rows else None))
    return rows


def row_of(way: Way, size: Size, num_runs: int, peer: dict | None) -> dict:
    """A way's row; `peer` is the first way's."""
    samples = way.placement.num_runs * size.steps * size.batch
    per_second = measure.Spread.of([samples / x for x in way.walls])
    all_samples = num_runs * size.batch * TOTAL_STEPS
    total = way.starts * way.start_s + all_samples / per_second.median
    peer = peer or {"samples/s": per_second, "total [s]": total}
    return {
        "runs": num_runs,
        "way": way.name,
        "runs x steps per call": f"{way.placement.per_device} x {way.steps}",
        "start [s]": way.start_s,
        "samples/s": per_second,
        "samples/s over alone": per_second.median / peer["samples/s"].median,
        "total [s]": total,
        "alone's total over it": peer["total [s]"] / total,
        "host [%]": 100 * (1 - np.median(way.floors) / np.median(way.walls)),
        "temp [MiB]": way.temp_mib,
        "state [MiB]": state_mib(way.trainer),
    }


def cases(quick: bool, folder: Path) -> list[measure.Case]:
    """A case per number of runs; its ways take turns, so their rows come together."""
    jax.config.update("jax_enable_compilation_cache", False)
    size = QUICK if quick else (CPU if jax.default_backend() == "cpu" else GPU)
    if size is not GPU:
        print("No accelerator here: AACNN is reduced, the GPU's bars stay open.")
    return [
        measure.Case(f"{n} runs", functools.partial(rows_of, size, n, str(folder)))
        for n in size.runs
    ]


if __name__ == "__main__":
    measure.main(
        cases,
        doc=__doc__,
        name="cross_validation",
        packages=("jax", "jaxlib", "flax", "optax", "numpy"),
    )
