"""What a sweep has in its workdir beside that of a training.

sweep/1, 2 ...    a folder per group of points that one program trains: checkpoints of
                  all of its runs, metrics.jsonl, outcome.json once they have ended
points/0, 1 ...   chosen points, by their numbers in results.json, as workdirs of their
                  own, where folds chose different networks; else the workdir itself has
                  the chosen runs as a model
"""

from etils import epath

from ser_jax.errors import InputError
from ser_jax.workdir import files, staging


def group_folder(workdir: epath.Path, number: int) -> epath.Path:
    """Of the group with this number, which counts from 0."""
    return workdir / files.SWEEP / str(number + 1)


def point_folder(workdir: epath.Path, number: int) -> epath.Path:
    """Of the point with this number, which counts from 0."""
    return workdir / files.POINTS / str(number)


def has_begun(workdir: epath.Path) -> bool:
    """Whether the workdir is a sweep's, some of which is trained."""
    folder = workdir / files.SWEEP
    return folder.exists() and any(
        staging.steps(group / files.CHECKPOINTS) for group in folder.iterdir()
    )


def refuse(workdir: epath.Path) -> None:
    """Raises InputError if the workdir is a sweep's without a model of its own."""
    if not has_begun(workdir):
        return
    folder = workdir / files.POINTS
    found = sorted(folder.iterdir(), key=lambda x: x.name) if folder.exists() else ()
    if not (workdir / files.RESULTS).exists():
        raise InputError(
            f"Expected a finished sweep; {workdir} has not chosen yet. Repeat the "
            "training command: it goes on from there."
        )
    if not found:
        raise InputError(
            f"Expected a trained workdir; {workdir} is a sweep whose folds chose different "
            "networks, none of which was trained in all folds (train.halving). Train the "
            "point that you want by itself."
        )
    chosen = files.read_json(workdir / files.RESULTS)["sweep"]["chosen"]
    counts = {x: sum(str(n) == x.name for n in chosen.values()) for x in found}
    names = ", ".join(f"{x} (chosen by {n} folds)" for x, n in counts.items())
    raise InputError(
        f"Expected a trained workdir; {workdir} is a sweep whose folds chose different "
        f"networks, which are no single model. Name one of {names}."
    )
