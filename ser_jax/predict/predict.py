"""The command `predict`: recordings in, a table out."""

import dataclasses
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence

from tqdm import tqdm

from ser_jax.features.audio import AudioError
from ser_jax.predict import answer_tables, label_scores, sources, timeline
from ser_jax.predict.answers import SpeechInput
from ser_jax.predict.recognizer import Recognizer
from ser_jax.predict.sources import Source

_PRINTED = 50  # rows, if all are in a file as well


@dataclasses.dataclass(frozen=True)
class Options:
    """What the user may choose.

    Attributes:
      run: `fold,seed` of the one run to use; empty: the mean of all.
      out: .csv or .jsonl file that answers are written to; with `window_s` a folder.
      window_s: Length of the windows of a timeline; 0 = one answer per recording.
      hop_s: From one window to the next.
      labels: See `scoring.labels`.
      text: What is said, for models that read words.
    """

    run: str = ""
    out: str = ""
    window_s: float = 0.0
    hop_s: float = 0.5
    labels: str = ""
    text: str | None = None


def predict(workdir: str, given: Sequence[str], options: Options) -> int:
    """Does the command; prints a table, the bad files last.

    Args:
      workdir: A trained folder.
      given: See `sources.expand`.
      options: What the user chose.

    Returns:
      The exit code: 1 if a recording could not be used.

    Raises:
      InputError: The workdir, the sources or an option cannot be used.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = sources.expand(given, text=options.text, stdin_to=folder)
        if not options.window_s:
            answer_tables.check(options.out)
        recognizer = Recognizer.from_workdir(workdir, options.run)
        if options.window_s:
            failed = timeline.write_all(
                recognizer,
                wanted,
                out=options.out,
                window_s=options.window_s,
                hop_s=options.hop_s,
            )
        else:
            failed = _answer_all(recognizer, wanted, options)
    for source, error in failed:
        print(f"failed: {source.name}: {error}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} of {len(wanted)} recordings failed.", file=sys.stderr)
    return int(bool(failed))


def _answer_all(recognizer: Recognizer, wanted: list[Source], options: Options):
    trained = recognizer.trained
    score = label_scores.Score.of(trained, options.labels)
    recognizer.remember([x.text for x in wanted if x.text])
    rows, failed = [], []
    with answer_tables.opened(options.out, trained) as writer:
        found = recognizer.answers(_recordings(recognizer, wanted))
        bar = tqdm(found, "predicting", len(wanted), unit="file", delay=2)
        for source, answer in bar:
            if writer:
                writer.write(source.name, answer)
            if isinstance(answer, AudioError):
                failed.append((source, answer))
                continue
            score.add(source, answer)
            if not options.out or len(rows) < _PRINTED:
                rows.append((source.name, answer))
    print(answer_tables.for_terminal(rows, trained))
    hidden = len(wanted) - len(failed) - len(rows)
    if hidden:
        print(f"... and {hidden} more in {options.out}")
    print("\n".join(filter(None, (trained.description() + ".", score.text()))))
    return failed


def _recordings(
    recognizer: Recognizer, wanted: Iterable[Source]
) -> Iterator[tuple[Source, SpeechInput | AudioError]]:
    for source in wanted:
        try:
            yield source, recognizer.open(source.path, source.text)
        except AudioError as error:
            yield source, error
