"""The command `explain`: figures of what a trained model attends to."""

from collections.abc import Sequence
from pathlib import Path

from etils import epath
from tqdm import tqdm

from ser_jax.errors import InputError
from ser_jax.explain import corpus, corpus_figure, deletion_report, recording_figure
from ser_jax.explain import recording as recording_lib
from ser_jax.explain.explainer import Explainer
from ser_jax.features.audio import AudioError
from ser_jax.predict import sources, trained_model, writers
from ser_jax.predict.recognizer import Recognizer
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.terminal import printable
from ser_jax.workdir import files


def explain_files(
    workdir: str,
    names: Sequence[str],
    *,
    run: str = "",
    out: str = "",
    text: str | None = None,
) -> tuple[str, list[str]]:
    """Writes `<name>.explain.png` for every recording.

    Args:
      workdir: A trained folder.
      names: Files, folders and manifests, see `sources.expand` (but not `-`).
      run: `fold,seed` of the one run to explain; empty: the mean of all.
      out: Folder for the figures; empty: the current one.
      text: Transcript, for models that read words.

    Returns:
      (A line per recording with its class and figure, then the model; a line for each
      that could not be used.)

    Raises:
      InputError: The workdir, the sources or an option cannot be used.
    """
    if "-" in names:
        raise InputError("explain: expected files, got - for standard input.")
    recordings = sources.expand(names, text=text)
    recognizer = Recognizer.from_workdir(workdir, run)
    trained = recognizer.trained
    explainer = Explainer(trained)
    folder = writers.make_folder(out or ".")
    lines, failed, attends = [], [], False
    taken: set[str] = set()
    for source in tqdm(recordings, "explaining", unit="file", delay=2, leave=False):
        try:
            recording = recognizer.open(source.checked_path(), source.text)
            explanation = recording_lib.explain(recognizer, explainer, recording)
        except AudioError as error:
            failed.append(printable(f"{source.name}: {error}"))
            continue
        stem = writers.unique_name(Path(source.name).stem, taken)
        path = folder / f"{stem}.explain.png"
        title = _title(source.name, explanation, trained)
        figure = recording_figure.draw(explanation, trained.spec, title)
        files.write_atomically(path, figure)
        attends = attends or explanation.attends
        answer = explanation.answer
        share = answer.probabilities.max()
        name = printable(source.name)
        lines.append(f"{name}: {answer.label} {share:.1%} -> {path}")
    lines.append(trained.description() + ".")
    if not attends and len(failed) < len(recordings):
        lines.append(_does_not_attend(trained) + " The pictures show saliency alone.")
    return "\n".join(lines), failed


def explain_corpus(
    workdir: str, *, run: str = "", out: str = "", data: str = ""
) -> str:
    """Does the deletion test and draws the mean maps of the classes.

    Every run is tested on its own test part, never on what it was trained on. Writes
    `deletion.json`, `deletion.csv`, `deletion.png` and `classes.png`.

    Args:
      workdir: A trained folder whose corpus is at hand.
      run: `fold,seed` of the one run to test; empty: all.
      out: Folder for the files; empty: `explain` in the workdir.
      data: Manifest or folder of the corpus, if it has moved since the training.

    Returns:
      The table, its conclusion, and where the files are.

    Raises:
      InputError: The workdir, the corpus or the folder cannot be used.
    """
    trained = trained_model.load(workdir, run)
    explainer = Explainer(trained)
    segments = corpus.CorpusSegments(trained, data)
    first = next(segments.batches(0), None)
    if first is None or not explainer.explain(0, first).maps:
        return _does_not_attend(trained) + " There is nothing to delete by attention."
    # Made before the long computation, so that a bad --out is reported at once.
    folder = writers.make_folder(out or epath.Path(workdir) / "explain")
    runs, class_maps = corpus.explain(explainer, segments)
    summary = deletion_report.summarise(runs, trained.provenance)
    files.write_json(folder / "deletion.json", summary)
    rows = deletion_report.csv_rows(runs, trained.provenance["stamps"])
    files.write_csv(folder / "deletion.csv", deletion_report.COLUMNS, rows)
    figure = corpus_figure.draw_deletion_test(runs, trained)
    files.write_atomically(folder / "deletion.png", figure)
    figure = corpus_figure.draw_classes(class_maps, trained)
    files.write_atomically(folder / "classes.png", figure)
    table = deletion_report.make_table(runs, trained.provenance)
    names = "deletion.json, deletion.csv, deletion.png and classes.png"
    return f"{table}\n{names} in {folder}/"


def _does_not_attend(trained: TrainedModel) -> str:
    return f"{trained.provenance['model']} does not attend as it is configured here."


def _title(
    name: str, explanation: recording_lib.RecordingExplanation, trained: TrainedModel
) -> str:
    """The three likeliest classes, the model, and the stamps of its training."""
    probabilities = explanation.answer.probabilities
    likeliest = probabilities.argsort()[::-1][:3]
    shares = ", ".join(
        f"{trained.classes[k]} {probabilities[k]:.0%}" for k in likeliest
    )
    trained_as = f"{trained.description()}; {trained.provenance['workdir']}"
    title = f"{printable(Path(name).name)}: {shares}\n{trained_as}"
    return title if explanation.attends else f"{title}\nit does not attend"
