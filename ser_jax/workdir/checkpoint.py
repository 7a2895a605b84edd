"""Checkpoints of all runs: their last and best states, and where training stands.

One Orbax checkpoint holds every run, stacked [R, ...] as host arrays under readable
names, so it restores on any number of devices and hosts: training gathers them, one host
writes, all read. Orbax writes in the background and publishes a checkpoint by a rename,
or in a bucket by its last file: a kill at any moment leaves the one before it.
"""

import dataclasses
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from ser_jax import bucket, clock
from ser_jax.errors import InputError, first_line, writing
from ser_jax.workdir import files, staging

# Of what a checkpoint holds; grows when a reader of this version could not follow.
FORMAT = 3
_KEEP = 2  # checkpoints

_log = logging.getLogger(__name__)


@dataclasses.dataclass
class RunRecord:
    """What training knew of one run, beyond its arrays, when it was last validated."""

    steps_per_epoch: int = 1  # updates that it makes in an epoch
    updates: int = 0  # trained
    ua: float = -1.0  # of the selecting part; -1 before the first validation
    best_ua: float = -1.0
    best_loss: float = float("inf")  # at the best UA; decides between equal ones
    best_update: int = 0  # after which it was measured; that state is kept
    active: bool = True  # False once stopped early
    halted: int = 0  # update at which other points of a sweep left it behind; 0 = not
    # With `protocol.compare_selections`, of the test part at its best and at the last
    # validation: `test` and `last`: {update, ua, loss, confusion}. It chooses nothing.
    compared: dict[str, dict] = dataclasses.field(default_factory=dict)

    @property
    def epochs(self) -> int | float:
        """Trained; a fraction inside of an epoch."""
        return self.in_epochs(self.updates)

    @property
    def best_epoch(self) -> int | float:
        """At whose end, or inside of which, the best state was."""
        return self.in_epochs(self.best_update)

    def in_epochs(self, updates: int) -> int | float:
        """Updates as epochs, whole where they are."""
        whole, more = divmod(updates, self.steps_per_epoch)
        return updates / self.steps_per_epoch if more else whole

    @classmethod
    def read(cls, stored: dict, steps_per_epoch: int) -> "RunRecord":
        """From the plain values of a checkpoint; format 1 counts in epochs."""
        stored = stored | {"steps_per_epoch": steps_per_epoch}
        if "epochs" in stored:
            stored["updates"] = stored.pop("epochs") * steps_per_epoch
            stored["best_update"] = stored.pop("best_epoch") * steps_per_epoch
            del stored["waited"]
        return cls(**stored)


@dataclasses.dataclass
class Snapshot:
    """A whole training at one moment; trees are stacked [R, ...], host arrays."""

    states: Any  # `TrainState`
    best: Any  # {params, stats} of the best validations
    totals: Any  # `Totals` since the last validation
    records: list[RunRecord]  # one per run
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)  # by part

    @property
    def position(self) -> dict[str, int | float]:
        """Where training stands: `epoch` and `update` that every run has validated.

        Runs that stopped early do not count unless all did.
        """
        going = [x for x in self.records if x.active] or self.records
        return {
            "epoch": min(x.epochs for x in going),
            "update": min(x.updates for x in going),
        }

    @property
    def _tree(self) -> dict:
        return {"last": self.states, "best": self.best, "totals": self.totals}

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by readable path."""
        leaves = jax.tree_util.tree_flatten_with_path(self._tree)[0]
        return {
            jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
            for path, leaf in leaves
        }

    def with_arrays(self, arrays: dict[str, np.ndarray]) -> "Snapshot":
        """This snapshot with other arrays of the same names and shapes.

        Raises:
          ValueError, KeyError: An array does not fit this snapshot's.
        """
        for name, array in self.arrays().items():
            if arrays[name].shape != array.shape:
                raise ValueError(f"{name}: {arrays[name].shape} is not {array.shape}")
        structure = jax.tree.structure(self._tree)
        new = jax.tree.unflatten(structure, [arrays[name] for name in self.arrays()])
        return dataclasses.replace(
            self, states=new["last"], best=new["best"], totals=new["totals"]
        )


class Checkpointer:
    """Saves and restores snapshots under `workdir/checkpoints`."""

    @clock.part("checkpoints")
    def __init__(self, workdir, *, provenance: dict):
        """Opens the folder.

        Every checkpoint stores the plain values of `provenance` (config, splits,
        classes, versions), so that it can be read on its own.
        """
        self._workdir, self._provenance = workdir, provenance
        self._folder = folder = files.resolve(workdir) / files.CHECKPOINTS
        files.make_folder(folder, "--workdir")
        self._staging = staging.Staging(folder) if bucket.is_remote(folder) else None
        self._manager = ocp.CheckpointManager(
            self._staging.folder if self._staging else folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=_KEEP, create=False, multiprocessing_options=_alone()
            ),
            item_names=("arrays", "meta"),
        )

    @clock.part("checkpoints")
    def save(self, snapshot: Snapshot, *, normalisation: dict[str, np.ndarray]) -> None:
        """Starts saving; returns before the disk is done."""
        meta = {
            "format": FORMAT,
            **snapshot.position,
            "seconds": snapshot.seconds,
            "records": [dataclasses.asdict(r) for r in snapshot.records],
            **self._provenance,
        }
        arrays = snapshot.arrays()
        arrays |= {f"normalisation/{k}": v for k, v in normalisation.items()}
        latest = (self._staging or self._manager).latest_step()
        step = 0 if latest is None else latest + 1
        with writing(self._manager.directory):  # TensorStore's errors are ValueErrors
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    arrays=ocp.args.StandardSave(arrays), meta=ocp.args.JsonSave(meta)
                ),
            )
        if self._staging:
            self._staging.send(self._manager, step, _KEEP)

    @clock.part("checkpoints")
    def restore(self, like: Snapshot) -> Snapshot | None:
        """The newest readable snapshot, or None if there is no checkpoint at all.

        A checkpoint that cannot be read is skipped for the one before it, with a
        warning, and deleted. `like` is a snapshot with the same arrays.

        Raises:
          InputError: There are checkpoints, and none is readable.
        """
        stored = read_newest(self._workdir, accept=like.with_arrays)
        if stored is None:
            return None
        for torn in stored.torn:  # or they would push the good ones out
            self._delete(torn)
        records = zip(stored.meta["records"], like.records, strict=True)
        return dataclasses.replace(
            like.with_arrays(stored.arrays),
            records=[RunRecord.read(one, x.steps_per_epoch) for one, x in records],
            seconds=stored.meta["seconds"],
        )

    @clock.part("checkpoints")
    def close(self) -> None:
        """Waits until everything is on disk, and lets go of the folder."""
        with writing(self._manager.directory):
            self._manager.wait_until_finished()
        self._manager.close()
        if self._staging:
            self._staging.close()

    def _delete(self, step: int) -> None:
        if self._staging:
            bucket.delete(self._folder / str(step), first=staging.COMMITTED)
        else:
            self._manager.delete(step)


def _alone() -> ocp.options.MultiprocessingOptions:
    """Each process works for itself: host arrays have no parts on other hosts."""
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )


def _read(checkpoint, folder) -> tuple[dict, dict]:
    """What `Checkpointer.save` was told, and the arrays."""
    alone = {"multiprocessing_options": _alone()}
    with ocp.Checkpointer(ocp.JsonCheckpointHandler(**alone), **alone) as reader:
        meta = reader.restore(checkpoint / "meta")
    _check_format(meta, folder)
    with ocp.StandardCheckpointer(**alone) as reader:
        return meta, reader.restore(checkpoint / "arrays")


class Stored(NamedTuple):
    """A checkpoint as it is on disk."""

    arrays: dict[str, np.ndarray]  # as in `Snapshot.arrays`, and `normalisation/...`
    meta: dict  # plain values of the snapshot, and the provenance
    torn: list[int]  # numbers of newer checkpoints that could not be read


def read_newest(
    workdir, accept: Callable[[dict[str, np.ndarray]], Any] = lambda arrays: None
) -> Stored | None:
    """Reads the newest readable checkpoint of a workdir; never unpickles.

    None if there is no checkpoint at all. `accept` raises if the arrays are not those
    that are needed.

    Raises:
      InputError: There are checkpoints, and none is readable, or the newest is of
        another program or of a newer version.
    """
    folder = files.resolve(workdir) / files.CHECKPOINTS
    steps, problem = staging.steps(folder), ""
    for number, step in enumerate(reversed(steps)):
        try:
            with staging.readable(folder / str(step)) as place:
                meta, arrays = _read(place, folder)
            arrays = {name: np.asarray(array) for name, array in arrays.items()}
            accept(arrays)
            return Stored(arrays, meta, steps[::-1][:number])
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001 - torn files raise many kinds
            problem = first_line(error)
            _log.warning("Checkpoint %s is torn (%s).", step, problem)
    if steps:
        raise InputError(
            f"Expected a readable checkpoint in {folder}; none of {len(steps)} is "
            f"({problem}). Restore that folder, or delete it to train from the "
            "beginning."
        )
    return None


def _check_format(meta: dict, folder) -> None:
    if not isinstance(meta, dict) or "config" not in meta or "records" not in meta:
        raise InputError(
            f"Expected a checkpoint of ser_jax in {folder}; got one of another program."
        )
    if meta.get("format", 0) > FORMAT:
        raise InputError(
            f"Expected a checkpoint of format {FORMAT} or older in {folder}; got "
            f"{meta['format']}, of a newer version. Update ser_jax."
        )
