"""Writes report.md, report.html and the figures from the files of a workdir (no JAX)."""

import dataclasses
import textwrap
from collections.abc import Callable, Sequence

from ser_jax import figure_style
from ser_jax.errors import InputError
from ser_jax.report import (
    analysis,
    baseline,
    comparison,
    corpus_matrix,
    cross_corpus,
    ensemble,
    figures,
    html,
    markdown,
    score_table,
    selections,
    sweep,
    timing,
    training_report,
)
from ser_jax.report.diagnostics import CURVES_PNG
from ser_jax.report.training_report import CONFUSION_PNG
from ser_jax.scoring import summary
from ser_jax.workdir import contents, files
from ser_jax.workdir.contents import WorkdirContents
from ser_jax.workdir.files import write_atomically
from ser_jax.workdir.predictions import Prediction


def write_report(workdir, seconds: Callable[[], dict] | None = None) -> str:
    """Writes the report of a finished workdir; returns table and times as text.

    Args:
      workdir: Local or `gs://` folder.
      seconds: Gives the job's seconds once the PNG files are drawn, for results.json;
        None leaves those that are there.

    Raises:
      InputError: A required file is missing or damaged, or predictions.csv does not
        score as results.json says.
    """
    workdir = files.resolve(workdir)
    training = _read(workdir)
    results = training.results
    files.make_folder(workdir / "figures", "--workdir")
    matrix = figures.confusion(results)
    write_atomically(workdir / CONFUSION_PNG, figure_style.png(matrix))
    if results.get("corpora"):
        matrix = corpus_matrix.matrix(results)
        write_atomically(workdir / corpus_matrix.MATRIX_PNG, figure_style.png(matrix))
    if panels := analysis.curves(results, training.metrics):
        curves = figures.learning_curves(panels, results, titled=True)
        write_atomically(workdir / CURVES_PNG, figure_style.png(curves))
    if seconds:
        results["seconds"] = seconds()
        files.write_json(workdir / files.RESULTS, results)
    _write(training_report.document(training), workdir, "report")
    table = score_table.text(
        results,
        training.published,
        baseline.rows(training),
        [
            *sweep.lines(results),
            *ensemble.lines(results),
            *baseline.lines(training),
        ],
    )
    if gain := selections.sentence(results):
        table += "\n\n" + textwrap.fill(gain.replace("**", ""), 80)
    return f"{table}\n\n{timing.summary(results)}"


def write_cross_corpus(workdir, name: str) -> str:
    """Rewrites the report; returns the scores on the corpus of that name as text."""
    write_report(workdir)
    (scores,) = (x for x in contents.read(workdir).cross_corpus if x["name"] == name)
    folder = files.resolve(workdir)
    written = folder / files.CROSS_CORPUS / name
    return (
        f"{cross_corpus.text(scores)}\n\n"
        f"Written: {written}.json, .csv; {folder / 'report.html'}, .md"
    )


def write_comparison(workdirs: Sequence, out: str = "") -> str:
    """Writes comparison.html and .md of finished workdirs; returns a line for each.

    Args:
      workdirs: Local or `gs://` folders, at least two.
      out: Folder to write to; empty = the parent of the first workdir.

    Raises:
      InputError: A folder is named twice, or as for `write_report`.
    """
    named = files.resolve_all(workdirs)
    trainings = [dataclasses.replace(_read(x), name=n) for x, n in named.items()]
    folder = files.resolve(out) if out else next(iter(named)).parent
    files.make_folder(folder, "--out")
    _write(comparison.document(trainings), folder, "comparison")
    lines = [f"{one.name}: {score_table.headline(one.results)}" for one in trainings]
    lines += ["", f"Written: {folder / 'comparison.html'}, .md"]
    return "\n".join(lines).replace("**", "")


def _read(workdir) -> WorkdirContents:
    """A workdir whose files match, and those of its baseline."""
    training = contents.read(workdir)
    command = "ensemble" if training.results.get("ensemble") else "evaluate"
    training = _checked(training, workdir, command)
    if not training.baseline:
        return training
    place = workdir / files.BASELINE
    base = _checked(training.baseline, place, "baseline")
    tests = [{_test(x) for x in one.predictions} for one in (training, base)]
    if tests[0] != tests[1]:
        raise InputError(
            f"expected the tests of {workdir} in {place}, got others; repeat `run.py "
            "baseline`, or delete that folder"
        )
    return dataclasses.replace(training, baseline=base)


def _test(line: Prediction) -> tuple:
    return line.fold, line.seed, line.utterance, line.label


def _checked(training: WorkdirContents, place, command: str) -> WorkdirContents:
    """If results.json says what predictions.csv scores, with the lines that count."""
    results = training.results
    try:
        summary.check(training.predictions, training.classes, results)
    except (KeyError, ValueError) as error:
        raise InputError(
            f"expected predictions.csv and results.json of one training in {place}, "
            f"got files that do not match ({error}); repeat `run.py {command}`"
        ) from error
    lines = summary.counted(training.predictions, results["runs"])
    return dataclasses.replace(training, predictions=lines)


def _write(document, folder, name):
    """Both files say the same, because they are made from one document."""
    write_atomically(folder / f"{name}.md", markdown.render(document).encode())
    write_atomically(folder / f"{name}.html", html.render(document).encode())
