"""Writes report.md, report.html and the figures from the files of a workdir (no JAX)."""

from collections.abc import Callable

from etils import epath

from ser_jax.evaluation import (
    figures,
    finished,
    html,
    markdown,
    sections,
    table,
    times,
)
from ser_jax.evaluation.details import CURVES_PNG
from ser_jax.evaluation.results import write_atomically, write_results
from ser_jax.evaluation.sections import CONFUSION_PNG


def write_report(workdir, seconds: Callable[[], dict] | None = None) -> str:
    """Writes the report of a finished workdir into it.

    Args:
      workdir: Local or `gs://` folder.
      seconds: Gives the job's seconds once the figures are drawn, for results.json;
        None leaves those that are there.

    Returns:
      The terminal table, and below it where the time went.

    Raises:
      InputError: A required file is missing or damaged, or predictions.csv does not
        score as results.json says.
    """
    workdir = epath.Path(workdir).expanduser()
    found = finished.read(workdir)
    results = found.results
    (workdir / "figures").mkdir(parents=True, exist_ok=True)
    figures.confusion(results, workdir / CONFUSION_PNG)
    curves = figures.learning_curves(results, found.metrics, workdir / CURVES_PNG)
    if seconds:
        results["seconds"] = seconds()
        write_results(workdir / "results.json", results)
    document = sections.document(found, curves=curves)
    _write(document, workdir, "report")
    return f"{table.text(results, found.published)}\n\n{times.summary(results)}"


def _write(document, folder, name):
    """Both say the same: they are made from one document."""
    write_atomically(folder / f"{name}.md", markdown.render(document).encode())
    write_atomically(folder / f"{name}.html", html.render(document).encode())
