"""The folder `baseline` of a workdir: what a linear SVM answers on the same folds.

It holds the same files as a workdir, so that `workdir.contents` reads it.
"""

from collections.abc import Iterable, Mapping

from etils import epath

from ser_jax.workdir import files, results
from ser_jax.workdir.predictions import Prediction


def write(workdir: epath.Path, content: Mapping, lines: Iterable[Prediction]) -> None:
    """Writes predictions.csv and results.json, in place of older ones.

    Raises:
      InputError: The folder cannot be written to.
    """
    folder = workdir / files.BASELINE
    files.make_folder(folder, "--workdir")
    results.write(folder, content, lines)


def exists(workdir: epath.Path) -> bool:
    """Whether a baseline is complete."""
    return (workdir / files.BASELINE / files.RESULTS).exists()
