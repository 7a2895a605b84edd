"""The command `explain`: pictures of where a trained model looks."""

import json
from collections.abc import Sequence
from pathlib import Path

from etils import epath
from tqdm import tqdm

from ser_jax.errors import InputError
from ser_jax.explain import (
    corpus,
    corpus_figure,
    corpus_views,
    deletion_report,
    recording_figure,
)
from ser_jax.explain import recording as explaining
from ser_jax.explain.viewer import Viewer
from ser_jax.features.audio import AudioError
from ser_jax.predict import output_paths, sources
from ser_jax.predict import trained_model as trained_workdir
from ser_jax.predict.recognizer import Recognizer
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.workdir.results import write_atomically


def explain_files(
    workdir: str,
    given: Sequence[str],
    *,
    run: str = "",
    out: str = "",
    text: str | None = None,
) -> tuple[str, list[str]]:
    """Writes `<name>.explain.png` for every recording.

    Args:
      workdir: A trained folder.
      given: Files, folders and manifests, see `sources.expand` (but not `-`).
      run: `fold,seed` of the one run to look through; empty: the mean of all.
      out: Folder for the pictures; empty: the current one.
      text: What is said, for models that read words.

    Returns:
      (What was answered and written, a line per recording; a line for each that could
      not be used.)

    Raises:
      InputError: The workdir, the sources or an option cannot be used, or not one
        recording could be read.
    """
    if "-" in given:
        raise InputError("explain: expected files, got - for standard input.")
    wanted = sources.expand(given, text=text)
    recognizer = Recognizer.from_workdir(workdir, run)
    trained = recognizer.trained
    viewer = Viewer(trained)
    folder = output_paths.make_folder(out or ".")
    said, failed, attends = [], [], False
    taken: set[str] = set()
    for source in tqdm(wanted, "explaining", unit="file", delay=2, leave=False):
        try:
            recording = recognizer.open(source.path, source.text)
            found = explaining.explain(recognizer, viewer, source.name, recording)
        except AudioError as error:
            failed.append(f"{source.name}: {error}")
            continue
        path = (
            folder
            / f"{output_paths.unique_name(Path(source.name).stem, taken)}.explain.png"
        )
        picture = recording_figure.recording(
            found, trained.spec, _title(found, trained)
        )
        write_atomically(path, picture)
        attends = attends or found.attention is not None or bool(found.words)
        best = int(found.probabilities.argmax())
        share = found.probabilities[best]
        said.append(f"{source.name}: {found.classes[best]} {share:.1%} -> {path}")
    said.append(trained.description() + ".")
    if not attends and len(failed) < len(wanted):
        said.append(does_not_attend(trained) + " The pictures show saliency alone.")
    return "\n".join(said), failed


def explain_corpus(
    workdir: str, *, run: str = "", out: str = "", data: str = ""
) -> str:
    """Does the deletion test and draws what the classes look like.

    Every run is tested on its own test part, never on what it was trained on. Writes
    `deletion.json`, `deletion.csv`, `deletion.png` and `classes.png`.

    Args:
      workdir: A trained folder whose corpus is at hand.
      run: `fold,seed` of the one run to look at; empty: all.
      out: Folder for the files; empty: `explain` in the workdir.
      data: Manifest or folder of the corpus, if it has moved since the training.

    Returns:
      The table, its conclusion, and where the files are.

    Raises:
      InputError: The workdir, the corpus or the folder cannot be used.
    """
    found = trained_workdir.load(workdir, run)
    viewer = Viewer(found)
    parts = corpus_views.Parts(found, data)
    first = next(parts.batches(0), None)
    if first is None or not viewer.look(0, first.windows).maps:
        return does_not_attend(found) + " There is nothing to delete by attention."
    target = epath.Path(out or epath.Path(workdir) / "explain").expanduser()
    output_paths.make_folder(target)
    runs, pictures = corpus.examine(viewer, parts)
    said = deletion_report.summary(runs, found.provenance)
    title = f"{found.description()}\n"
    for name, content in {
        "deletion.json": json.dumps(said, indent=1).encode(),
        "deletion.csv": deletion_report.as_csv(runs, found.provenance["stamps"]),
        "deletion.png": corpus_figure.deletion_test(
            runs,
            title + "deletion test: UA when cells of the attention grid are hidden",
            len(found.classes),
        ),
        "classes.png": corpus_figure.classes(
            pictures,
            found.classes,
            found.spec,
            title + "means over the test utterances of each true class, each run's own",
        ),
    }.items():
        write_atomically(target / name, content)
    files = "deletion.json, deletion.csv, deletion.png and classes.png"
    return f"{deletion_report.table(runs, found.provenance)}\n{files} in {target}/"


def does_not_attend(trained: TrainedModel) -> str:
    """One line on a model without attention."""
    return f"{trained.provenance['model']} does not attend as it is configured here."


def _title(found: explaining.Explained, trained: TrainedModel) -> str:
    """What was answered, who says so, and what must be said with it."""
    order = found.probabilities.argsort()[::-1]
    likeliest = [f"{found.classes[k]} {found.probabilities[k]:.0%}" for k in order[:3]]
    lines = [f"{Path(found.name).name}: {', '.join(likeliest)}"]
    lines.append(f"{trained.description()}; {trained.provenance['workdir']}")
    if found.attention is None and not found.words:
        lines.append("it does not attend")
    return "\n".join(lines)
