"""The command `evaluate --corpus`: a trained workdir on a corpus that it has never met."""

import collections
import dataclasses
import logging
import re
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from ser_jax import user_cache
from ser_jax.corpora import demo, source
from ser_jax.corpora.source import Source
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError
from ser_jax.features.audio import AudioError
from ser_jax.predict import known_recordings, trained_model
from ser_jax.predict.answers import Answer, SpeechInput
from ser_jax.predict.common_classes import CommonClasses
from ser_jax.predict.recognizer import Recognizer
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.scoring import transfer
from ser_jax.workdir import cross_corpus, files, provenance, results
from ser_jax.workdir.config import corpus_names

_log = logging.getLogger(__name__)
_DEMO = "demo"


def evaluate(
    workdir: str, corpus: str, *, root: str = "", name: str = "", labels: str = ""
) -> dict:
    """Scores a workdir on another corpus and keeps that in its folder `cross_corpus`.

    The mean of all runs answers, as in `predict`. What is scored is which of the classes
    in common a recording has; nothing of the corpus is used but for that.

    Args:
      workdir: A folder whose training is complete.
      corpus: A name that `run.py corpora` lists, `demo`, or a manifest's path.
      root: Folder of a corpus with a name; empty: what its variable says.
      name: Of the files, which replace older ones; empty: the corpus's.
      labels: `raw=class,...`: which class of the model a label of the corpus is, where
        `taxonomy.classes_named_alike` says otherwise.

    Returns:
      The content of the JSON file, see `workdir.cross_corpus`.

    Raises:
      InputError: The workdir or the corpus cannot be used, the workdir was trained on
        it, or fewer than two classes are in common.
    """
    path = files.resolve(workdir)
    trained = trained_model.load(path)
    files.read_json(path / files.RESULTS)  # is the training complete?
    recognizer = Recognizer(trained)
    found = _find(trained, corpus, root)
    name = _file_name(name, found)
    utterances, excluded, notes = known_recordings.leave_out(trained, path, found)
    for note in notes:
        _log.warning("%s", note)
    common = CommonClasses.of(trained, found.title, utterances, labels)
    chosen = [u for u in utterances if u.emotion in common.groups]
    answered, failed, warnings = _answer(recognizer, chosen, name)
    if not answered:
        first = f"{failed[0].id}: {failed[0].reason} {failed[0].detail}".strip()
        raise InputError(
            f"Expected recordings of {found.title} that can be used; got none of "
            f"{len(chosen)}, first {first}."
        )
    content = {
        "name": name,
        "corpus": found.title,
        "place": found.place,
        "warning": found.warning,
        **_origin(trained),
        **common.describe(utterances),
        "speakers": len({u.speaker for u, _ in answered} - {""}),
        "utterances": results.count_utterances(
            len(answered), [*found.excluded, *excluded, *failed]
        ),
        "warnings": dict(warnings.most_common()),
        "notes": [*notes, *_differing_counts(found)],
        **_score(common, *common.source_counts(path), answered),
    }
    cross_corpus.write(path, content, _rows(common, answered), trained.classes)
    return files.plain(content)


def _find(trained: TrainedModel, corpus: str, root: str) -> Source:
    """The corpus; InputError if it is the one trained on."""
    data = trained.config.data
    called = re.sub("[- ]", "_", corpus.lower())
    if called in corpus_names(data):
        raise InputError(
            f"--corpus: expected another corpus than {corpus}, which "
            f"{trained.provenance['workdir']} was trained on; `run.py evaluate` without "
            "--corpus repeats its own test."
        )
    if called != _DEMO:
        return source.find(corpus, root)
    if not root:
        folder = user_cache.folder(_DEMO) / f"turns{data.demo_turns}_{data.demo_seed}"
        root = str(demo.make(folder, turns=data.demo_turns, seed=data.demo_seed))
    return dataclasses.replace(source.find(source.IEMOCAP, root), name=_DEMO)


def _differing_counts(found: Source) -> list[str]:
    counts = collections.Counter(u.emotion for u in found.utterances)
    differing = [
        f"{label} {counts[label]} of {number}"
        for label, number in found.published.items()
        if counts[label] != number
    ]
    text = f"Not as many recordings as were published: {', '.join(differing)}."
    return [text] if differing else []


def _file_name(name: str, found: Source) -> str:
    if not name:
        return re.sub(r"[^\w.-]", "_", found.name).lstrip(".") or "corpus"
    if not re.fullmatch(r"[\w-][\w.-]{0,79}", name):
        raise InputError(
            f"--name: expected letters, digits, `-`, `_` and dots; got {name!r}."
        )
    return name


def _answer(
    recognizer: Recognizer, utterances: Sequence[Utterance], name: str
) -> tuple[list[tuple[Utterance, Answer]], list[Exclusion], collections.Counter]:
    """(Answers, what could not be answered, how many answers had which warning)."""
    failed, warnings = [], collections.Counter()
    if recognizer.words:
        failed = [
            Exclusion(u.id, "no text", "the model reads words")
            for u in utterances
            if not u.text.strip()
        ]
        utterances = [u for u in utterances if u.text.strip()]
        # All at once: the file of vectors is read from end to end.
        recognizer.words.look_up([u.text for u in utterances])
    answers = recognizer.answers(_open_all(recognizer, utterances))
    answered = []
    for utterance, answer in tqdm(
        answers, f"testing on {name}", len(utterances), unit="file", delay=2
    ):
        if isinstance(answer, AudioError):
            failed.append(Exclusion(utterance.id, answer.reason, answer.detail))
        else:
            answered.append((utterance, answer))
            warnings.update(x.partition(":")[0] for x in answer.warnings)
    return answered, failed, warnings


def _open_all(
    recognizer: Recognizer, utterances: Sequence[Utterance]
) -> Iterator[tuple[Utterance, SpeechInput | AudioError]]:
    for u in utterances:
        try:
            yield u, recognizer.open(u.wav, u.text)
        except AudioError as error:
            yield u, error


def _score(common: CommonClasses, counts, seen, answered) -> dict:
    posteriors = np.array([common.restrict(x.probabilities) for _, x in answered])
    labels = np.array([common.index(u.emotion) for u, _ in answered])
    score = transfer.score(
        posteriors,
        labels,
        common.names,
        counts,
        [u.speaker for u, _ in answered],
        seen=seen,
    )
    return {"balanced_training": bool(np.allclose(seen, seen[0])), **score}


def _rows(common: CommonClasses, answered) -> Iterator[list]:
    for u, answer in answered:
        true = common.names[common.index(u.emotion)]
        chosen = common.names[int(common.restrict(answer.probabilities).argmax())]
        digits = (f"{p:.9g}" for p in answer.probabilities)
        yield [u.id, u.speaker, u.emotion, true, chosen, *digits]


def _origin(trained: TrainedModel) -> dict:
    known = trained.provenance
    return {
        "model": known["model"],
        "trained_on": known["corpus"],
        "runs": trained.runs,
        "stamps": known["stamps"],
        "target_use": "none",
        "versions": provenance.versions(),
        "git_commit": provenance.git_commit(),
    }
