"""How the runs that share a device are executed, where only a measurement can tell.

On an accelerator it depends on the model, the batch and the memory: `auto` compiles and
times one call of `loop` and one of `vmap`, with as many runs as fit, and takes the
faster. The two differ in the last bits of a float32, so the choice is kept in the
workdir: a resumed training repeats it.
"""

import logging
import math
import time

import jax
import numpy as np

from ser_jax import clock
from ser_jax.data.batches import Index
from ser_jax.training import compilation, hosts, runs
from ser_jax.training.feeder import Call
from ser_jax.training.trainer import Trainer
from ser_jax.workdir import files
from ser_jax.workdir.workdir import Workdir

# Where `loop` is known to be the fastest (docs/performance.md): nothing is measured.
LOOP_PLATFORMS = ("cpu",)
# Of the memory that is free, what the temporaries of a call may take; the rest is for
# the workspaces that libraries try out, which XLA does not count.
MEMORY_SHARE = 0.8
# `vmap` must win by this factor: it needs more memory, and `loop` gives each run the
# bits that it has alone.
WORTH = 1.05
# Up to so many runs `vmap` is compiled before it is known whether they fit.
AHEAD = 16
TIMED_CALLS = 3
TIMED_ROUNDS = 4  # one call's start hides behind the work of the one before

_log = logging.getLogger(__name__)


@clock.part("model")
def tune(trainer: Trainer, workdir: Workdir, *, may_measure: bool = True) -> None:
    """Makes a new trainer use the placement that is best here.

    Measures for `auto` on an accelerator, and for `vmap` without `train.runs_per_call`
    where the device's memory is known. A training that is resumed on an equal machine
    takes the placement that the workdir recorded.
    """
    train = trainer.config.train
    setting = train.runs_per_device
    if setting == "auto":
        is_open = jax.devices()[0].platform not in LOOP_PLATFORMS
    else:
        is_open = setting == "vmap" and not train.runs_per_call
        is_open = is_open and math.isfinite(free_bytes())
    if trainer.place(mode="loop").rounds == 1 or not is_open:
        return
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    path = workdir.path / files.PLACEMENT
    record = {}
    if workdir.has_checkpoint() and path.exists():
        record = files.read_json(path)
    record = hosts.share(record)[0]
    if record and (record["asked"], record["device"]) == (setting, device):
        trainer.use(trainer.place(record["mode"], record["runs_per_call"]))
        return
    if may_measure:
        own = time_placements(trainer, batch_only=setting == "vmap")
        # All take what the first one found, whose memory may hold others.
        found = [[x.mode, x.per_device, seconds] for x, seconds in own.items()]
        first = hosts.share(found)[0]
        seconds = {trainer.place(mode, per_call): s for mode, per_call, s in first}
        best = fastest(seconds)
        trainer.use(best)
        by_name = {f"{x.mode} of {x.per_device}": s for x, s in seconds.items()}
        _log.info("Runs: %s, %d per call; %s s.", best.mode, best.per_device, by_name)
        record = {
            "asked": setting,
            "device": device,
            "mode": best.mode,
            "runs_per_call": best.per_device,
            "seconds_of_a_call": by_name,
        }
        if hosts.is_first():
            files.write_json(path, record)


def time_placements(trainer: Trainer, *, batch_only: bool) -> dict:
    """Seconds of one call for all runs, by each `Placement` that fits on all hosts.

    The trainer is left with one of them, its states trained on zeros. `batch_only`
    leaves out `loop` unless nothing else fits.
    """
    alone = trainer.place(mode="loop")
    together = trainer.place(mode="vmap")
    # XLA may take minutes to squeeze what does not fit into the memory.
    is_small = together.per_device <= AHEAD
    _compile(trainer, [together, alone] if is_small else [alone])
    seconds = {} if batch_only else {alone: _seconds(trainer)}
    room = MEMORY_SHARE * free_bytes()
    # As if the temporaries grew with the runs; XLA says what they really take.
    per_call = int(min(alone.rounds, room / max(1, _temporary_bytes(trainer))))
    per_call = min(hosts.share(per_call))
    while per_call > 1:
        batched = trainer.place(mode="vmap", per_call=per_call)
        took = _seconds_if_it_fits(trainer, batched, room)
        if None not in hosts.share(took):
            return seconds | {batched: took}
        per_call //= 2
    return seconds or {alone: _seconds(trainer)}


def _compile(trainer: Trainer, placements: list) -> None:
    """Compiles the training call of each, side by side; the trainer keeps the last.

    One after the other they are most of a start on a GPU.
    """
    lowered = []
    for placement in placements:
        trainer.use(placement)
        lowered.append(trainer.lowered(_call(trainer, rounds=1)))
    compilation.ahead([x.compile for x in lowered])()


def _seconds_if_it_fits(trainer: Trainer, placement, room: float) -> float | None:
    try:
        trainer.use(placement)
        if _temporary_bytes(trainer) <= room:
            return _seconds(trainer)
    except jax.errors.JaxRuntimeError as error:
        # Libraries' workspaces, which XLA does not count, may not fit either.
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
    return None


def fastest(seconds: dict) -> runs.Placement:
    """The fastest placement, `vmap` only if it is worth its memory."""

    def cost(placement):
        return seconds[placement] * (WORTH if placement.mode == "vmap" else 1)

    return min(seconds, key=cost)


def free_bytes() -> float:
    """Memory that every device has left; infinite where the backend does not say."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    free = min(
        s["bytes_limit"] - s["bytes_in_use"] if "bytes_limit" in s else math.inf
        for s in stats
    )
    return min(hosts.share(free))


def _temporary_bytes(trainer: Trainer) -> int:
    """What one training call takes beside its arguments, per device."""
    lowered = trainer.lowered(_call(trainer, rounds=1))
    return lowered.compile().memory_analysis().temp_size_in_bytes


def _seconds(trainer: Trainer) -> float:
    """One call for all runs, extrapolated from the first rounds."""
    rounds = min(TIMED_ROUNDS, trainer.placement.rounds)
    seconds = []
    for _ in range(1 + TIMED_CALLS):  # the first compiles
        start = time.perf_counter()
        trainer.train(_call(trainer, rounds))
        jax.block_until_ready(trainer.totals)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:])) * trainer.placement.rounds / rounds


def _call(trainer: Trainer, rounds: int) -> Call:
    """A call for the first rounds only, all of whose segments are the first frames."""
    placement, train = trainer.placement, trainer.config.train
    size = trainer.experiment.sizes[-1]
    shape = (placement.num_runs, trainer.steps_per_call, train.batch_size)
    zero = np.zeros(shape, np.int32)
    weight = np.zeros(shape, np.float32)
    weight[: rounds * placement.round_size] = 1.0
    index = Index(zero, zero, np.full(shape, size, np.int32), zero, weight)
    return trainer.feeder.call(0, size, index)
