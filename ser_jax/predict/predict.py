"""The command `predict`: recordings in, a table out."""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence

from tqdm import tqdm

from ser_jax.errors import InputError
from ser_jax.features.audio import AudioError
from ser_jax.predict import label_scores, sources, timeline, writers
from ser_jax.predict.answers import SpeechInput
from ser_jax.predict.recognizer import Recognizer
from ser_jax.predict.sources import Source
from ser_jax.terminal import printable

_PRINTED = 50  # rows, if all are in a file as well


def predict(
    workdir: str,
    names: Sequence[str],
    *,
    run: str = "",
    out: str = "",
    window_s: float = 0.0,
    hop_s: float = 0.5,
    labels: str = "",
    text: str | None = None,
) -> int:
    """Runs the command; prints a table, then the files that failed.

    Args:
      workdir: A trained folder.
      names: See `sources.expand`.
      run: `fold,seed` of the one run to use; empty: the mean of all.
      out: .csv or .jsonl file for the answers; with `window_s` a folder.
      window_s: Length of the windows of a timeline; 0 = one answer per recording.
      hop_s: From one window to the next.
      labels: See `label_scores.classes_of_labels`.
      text: Transcript, for models that read words.

    Returns:
      The exit code: 1 if a recording could not be used.

    Raises:
      InputError: The workdir, the sources or an option cannot be used.
    """
    with tempfile.TemporaryDirectory() as folder:  # for standard input
        recordings = sources.expand(names, text=text, stdin_to=folder)
        if not window_s:
            writers.check_suffix(out)  # before the model is loaded
        if out and os.path.exists(out) and any(_is_same(out, name) for name in names):
            raise InputError(
                f"--out: expected another file than those given; got {out}."
            )
        recognizer = Recognizer.from_workdir(workdir, run)
        if window_s:
            failed = timeline.write_all(
                recognizer, recordings, out=out, window_s=window_s, hop_s=hop_s
            )
        else:
            failed = _answer_all(recognizer, recordings, out, labels)
    for source, error in failed:
        print(f"failed: {printable(f'{source.name}: {error}')}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} of {len(recordings)} recordings failed.", file=sys.stderr)
    return int(bool(failed))


def _is_same(out: str, name: str) -> bool:
    return os.path.isfile(name) and os.path.samefile(out, name)


def _answer_all(
    recognizer: Recognizer, recordings: list[Source], out: str, labels: str
) -> list[tuple[Source, AudioError]]:
    trained = recognizer.trained
    # Before the work, so that a bad --labels is reported at once.
    class_of = label_scores.classes_of_labels(trained, labels)
    if recognizer.words:  # all at once: the file of vectors is read from end to end
        recognizer.words.look_up([x.text for x in recordings if x.text])
    rows, predictions, failed = [], [], []
    with writers.open_writer(out, trained) as write:
        answers = recognizer.answers(_open_all(recognizer, recordings))
        bar = tqdm(answers, "predicting", len(recordings), unit="file", delay=2)
        for source, answer in bar:
            write(source.name, answer)
            if isinstance(answer, AudioError):
                failed.append((source, answer))
                continue
            predictions.append((source, answer.label))
            if not out or len(rows) < _PRINTED:
                rows.append((source.name, answer))
    print(writers.format_table(rows, trained.classes))
    if hidden := len(predictions) - len(rows):
        print(f"... and {hidden} more in {printable(out)}")
    print(f"{trained.description()}.")
    if scores := label_scores.summarise(trained, class_of, predictions):
        print(scores)
    return failed


def _open_all(
    recognizer: Recognizer, recordings: Iterable[Source]
) -> Iterator[tuple[Source, SpeechInput | AudioError]]:
    # Each when its turn comes: the first answer need not wait for thousands of headers.
    for source in recordings:
        try:
            yield source, recognizer.open(source.checked_path(), source.text)
        except AudioError as error:
            yield source, error
