"""Many runs over many devices: how one run's step is mapped over all of them.

States of all runs are stacked on a leading axis R and spread over the mesh axis `run` by
`jit(shard_map(...))`: no run ever talks to another, so the compiled step has no
collective between runs. How the runs that share a device are executed is the `mode`:

- `loop`: one after the other, as separate calls ("rounds" of one run per device). The
  way on CPU, where it is the fastest (docs/performance.md).
- `map`: one after the other inside one call (`lax.map`).
- `vmap`: batched. Takes the memory of all its runs at once; what does not fit is cut
  into rounds of `per_call` runs per device.

`auto` is `loop` here; on accelerators `autotune.py` measures what is faster.

The mesh spans the devices of all processes of a job (`hosts.py`): each holds its runs, and
no call needs another.

When there are at least twice as many devices as runs, a second mesh axis `data` splits
each run's batch; XLA partitions it, so results stay those of the whole batch.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ser_jax.errors import InputError
from ser_jax.training import hosts

MODES = ("loop", "map", "vmap", "auto")


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where R runs live."""

    mesh: Mesh  # with the axes `run` and `data`
    mode: str  # `loop`, `map` or `vmap`
    num_runs: int  # R, the real runs
    per_device: int  # runs that one device holds in one call
    rounds: int  # calls it takes to reach every run

    @property
    def round_size(self) -> int:
        """Runs of one call; the last round is filled up by repeating run 0."""
        return self.mesh.shape["run"] * self.per_device

    def members(self, number: int) -> np.ndarray:
        """Run numbers of a round; numbers >= `num_runs` only fill the mesh."""
        return np.arange(number * self.round_size, (number + 1) * self.round_size)

    def held_here(self) -> np.ndarray:
        """Which of a round's runs lie on devices of this process, bool [round_size]."""
        me = jax.process_index()
        here = [any(d.process_index == me for d in row) for row in self.mesh.devices]
        return np.repeat(here, self.per_device)

    def select(self, tree, number: int):
        """Takes a round's part of a host tree [R, ...], filling up with run 0."""
        runs = self.members(number)
        return jax.tree.map(lambda x: x[np.where(runs < self.num_runs, runs, 0)], tree)

    @property
    def by_run(self) -> NamedSharding:
        """How a round's arrays [W, ...] are sharded."""
        return NamedSharding(self.mesh, PartitionSpec("run"))

    def put(self, tree):
        """Places a round's host tree on the devices, sharded by run."""
        return hosts.spread(tree, self.by_run)

    def replicate(self, tree):
        """Places a host tree on every device."""
        return hosts.spread(tree, NamedSharding(self.mesh, PartitionSpec()))

    def scatter(self, tree) -> list:
        """Spreads a host tree [R, ...] over the devices, one entry per round."""
        return [self.put(self.select(tree, number)) for number in range(self.rounds)]

    def collect(self, rounds: Sequence):
        """Brings the rounds back as one host tree [R, ...], on every host."""
        host = hosts.gather(list(rounds))
        return jax.tree.map(lambda *x: np.concatenate(x)[: self.num_runs], *host)

    def compile(self, function: Callable, *, donate: tuple[int, ...] = ()) -> Callable:
        """Compiles `function(shared, *one_run)` for a round: `(shared, *stacked)`.

        `shared` is the same for all runs; the memory of the arguments numbered in
        `donate` may be reused.
        """

        def local(shared, *stacked):
            if self.per_device == 1:
                one = jax.tree.map(lambda x: jnp.squeeze(x, 0), stacked)
                return jax.tree.map(lambda x: x[None], function(shared, *one))
            if self.mode == "vmap":
                return jax.vmap(lambda *one: function(shared, *one))(*stacked)
            return jax.lax.map(lambda one: function(shared, *one), stacked)

        def sharded(shared, *stacked):
            specs = (PartitionSpec(), *[PartitionSpec("run")] * len(stacked))
            return jax.shard_map(
                local,
                mesh=self.mesh,
                in_specs=specs,
                out_specs=PartitionSpec("run"),
                axis_names={"run"},  # leaves `data` to the partitioner
                check_vma=False,
            )(shared, *stacked)

        return jax.jit(sharded, donate_argnums=donate)

    def split_batch(self, batch):
        """Inside a compiled function: spreads the batch axis over the axis `data`."""
        if self.mesh.shape["data"] == 1:
            return batch
        return jax.lax.with_sharding_constraint(batch, PartitionSpec("data"))


def place(
    num_runs: int, *, mode: str = "auto", num_devices: int = 0, per_call: int = 0
) -> Placement:
    """Chooses the mesh for R runs on some devices (0: all).

    A device takes at most `per_call` runs in one call of `map` or `vmap` (0: all); the
    rounds are made as equal as possible.

    Raises:
      InputError: More devices are asked for than there are.
    """
    devices = jax.devices()
    if num_devices > len(devices):
        raise InputError(
            f"train.devices: expected at most {len(devices)} ({devices[0].platform}); "
            f"got {num_devices}. Use 0 for all."
        )
    mode = "loop" if mode == "auto" else mode
    devices = devices[: num_devices or None]
    if not _reaches_all_hosts(devices):
        raise InputError(
            f"train.devices: expected some of each of {jax.process_count()} processes, or "
            f"0 for all; got the first {num_devices}."
        )
    data = max(1, len(devices) // num_runs)
    while data > 1 and not _reaches_all_hosts(devices[: len(devices) // data * data]):
        data -= 1
    run = len(devices) // data
    mesh = Mesh(
        np.array(devices[: run * data]).reshape(run, data),
        ("run", "data"),
        # Explicit axes, the default of `jax.make_mesh`, would want a sharding of every
        # operation of a model.
        axis_types=(AxisType.Auto, AxisType.Auto),
    )
    share = -(-num_runs // run)  # of the fullest device
    most = 1 if mode == "loop" else min(share, per_call or share)
    per_device = -(-share // -(-share // most))
    rounds = -(-num_runs // (run * per_device))
    return Placement(mesh, mode, num_runs, per_device, rounds)


def _reaches_all_hosts(devices: Sequence) -> bool:
    """Whether every process has one: who has none could not take part in a call."""
    return len({device.process_index for device in devices}) == jax.process_count()
