"""What the groups of a sweep leave behind, and what is kept of the chosen runs."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ser_jax.errors import InputError
from ser_jax.training import sweep
from ser_jax.workdir import checkpoint, files, metrics_log
from ser_jax.workdir import sweep as sweep_files
from ser_jax.workdir.checkpoint import Checkpointer, RunRecord, Snapshot, Stored
from ser_jax.workdir.workdir import Workdir

SweptRun = tuple[int, str, int]  # number of the point, fold, seed


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A group whose runs have ended."""

    group: sweep.Group
    folder: Workdir
    records: Mapping[SweptRun, RunRecord]  # in the order of its checkpoint
    seconds: Mapping[str, float]  # of the job up to there

    def chosen(self, runs: Sequence[SweptRun]) -> list[SweptRun]:
        """Those of some runs that are of this group."""
        return [run for run in runs if run in self.records]

    def cut(self, runs: Sequence[SweptRun]) -> tuple[Snapshot, dict[str, np.ndarray]]:
        """Some runs out of its checkpoint, and their normalisation.

        Trees of the snapshot are flat: arrays by the rest of their names.
        """
        stored, order = self._read(), list(self.records)
        places = np.array([order.index(run) for run in runs])

        def tree(prefix: str) -> dict:
            return {
                name.removeprefix(prefix): array[places]
                for name, array in stored.arrays.items()
                if name.startswith(prefix)
            }

        snapshot = Snapshot(
            states=tree("last/"),
            best=tree("best/"),
            totals=tree("totals/"),
            records=[self.records[run] for run in runs],
            seconds=dict(self.seconds),
        )
        return snapshot, tree("normalisation/")

    def _read(self) -> Stored:
        stored = checkpoint.read_newest(self.folder.path)
        if stored is None:
            raise InputError(
                f"Expected checkpoints in {self.folder.path}; there are none. Restore "
                "them, or delete that folder to train the group again."
            )
        there = [(x["updates"], x["best_update"]) for x in stored.meta["records"]]
        if there != [(x.updates, x.best_update) for x in self.records.values()]:
            raise InputError(
                f"Expected the last checkpoint in {self.folder.path}; got an earlier one, "
                "whose weights are not those that validation chose. Restore it, or delete "
                "that folder to train the group again."
            )
        return stored


def write(folder: Workdir, runs: Sequence[SweptRun], records, seconds: dict) -> None:
    """Writes a group's outcome.json: it has ended."""
    content = {
        "runs": runs,
        "records": [dataclasses.asdict(record) for record in records],
        "seconds": seconds,
    }
    files.write_json(folder.path / files.OUTCOME, content)


def has_ended(workdir: Workdir, group: sweep.Group) -> bool:
    """Whether all runs of a group have."""
    folder = sweep_files.group_folder(workdir.path, group.number)
    return (folder / files.OUTCOME).exists()


def read(workdir: Workdir, group: sweep.Group) -> Outcome:
    """The outcome of a group that has ended."""
    folder = Workdir(sweep_files.group_folder(workdir.path, group.number))
    stored = files.read_json(folder.path / files.OUTCOME)
    records = map(_record, stored["records"])
    runs = map(tuple, stored["runs"])
    return Outcome(
        group, folder, dict(zip(runs, records, strict=True)), stored["seconds"]
    )


def _record(stored: dict) -> RunRecord:
    loss = stored["best_loss"]  # JSON has no infinity, that of what never validated
    return RunRecord(**stored | {"best_loss": float("inf") if loss is None else loss})


def keep_metrics(
    workdir: Workdir,
    outcomes: Sequence[Outcome],
    runs: Sequence[SweptRun],
    *,
    named: bool = True,
) -> None:
    """Writes the curves of some runs to the workdir's own metrics.jsonl.

    Without `named` the lines do not say their point, as those of a training alone.
    """
    rows = {run: [] for run in runs}
    for outcome in outcomes:
        for row in metrics_log.read(outcome.folder.path / files.METRICS):
            run = row["point"], row["fold"], row["seed"]
            if run in rows:
                kept = row if named else {k: x for k, x in row.items() if k != "point"}
                rows[run].append(kept)
    metrics_log.write(
        workdir.path / files.METRICS, [row for of in rows.values() for row in of]
    )


def keep_model(
    workdir: Workdir,
    outcomes: Sequence[Outcome],
    runs: Sequence[SweptRun],
    provenance: dict,
) -> None:
    """Writes a checkpoint of some runs of one network, in this order, to predict from."""
    best, normalisation, records = {}, {}, {}
    for outcome in outcomes:
        if own := outcome.chosen(runs):
            snapshot, statistics = outcome.cut(own)
            for place, run in enumerate(own):
                best[run] = {k: x[place] for k, x in snapshot.best.items()}
                normalisation[run] = {k: x[place] for k, x in statistics.items()}
                records[run] = snapshot.records[place]

    def stacked(of: dict) -> dict:
        return {k: np.stack([of[run][k] for run in runs]) for k in of[runs[0]]}

    kept = Snapshot(
        states=None,  # nobody trains on
        best=stacked(best),
        totals=None,
        records=[records[run] for run in runs],
        seconds=dict(outcomes[-1].seconds),
    )
    _save(workdir, kept, stacked(normalisation), provenance)


def keep_point(
    workdir: Workdir,
    outcome: Outcome,
    point: sweep.Point,
    splits: dict,
    provenance: dict,
) -> None:
    """Writes all runs of a point as the workdir that training it alone would leave.

    Nothing of a point that was stopped early in some fold: it would pass for trained.
    """
    runs = [run for run in outcome.records if run[0] == point.number]
    if any(outcome.records[run].halted for run in runs):
        return
    own = Workdir(sweep_files.point_folder(workdir.path, point.number))
    if own.has_checkpoint():
        return
    own.claim(point.config.to_dict())
    own.settle_splits(splits)
    keep_metrics(own, [outcome], runs, named=False)
    _save(own, *outcome.cut(runs), provenance)


def _save(workdir: Workdir, snapshot, normalisation: dict, provenance: dict) -> None:
    checkpointer = Checkpointer(workdir.path, provenance=provenance)
    try:
        checkpointer.save(snapshot, normalisation=normalisation)
    finally:
        checkpointer.close()
