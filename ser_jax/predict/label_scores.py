"""WA and UA of answers against a corpus's own labels, and what they are worth."""

import collections

from ser_jax.errors import InputError
from ser_jax.predict.answers import Answer
from ser_jax.predict.sources import Source
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.scoring import metrics

_IEMOCAP = {"neu": "neutral", "sad": "sad", "ang": "angry"}


def classes_of_labels(trained: TrainedModel, pairs: str = "") -> dict[str, str]:
    """The class of each raw label that the model's config or `pairs` names.

    Args:
      trained: Its config says how its own corpus's labels become classes.
      pairs: More, as `raw=class,raw=class`; they win over the config.

    Raises:
      InputError: `pairs` is malformed or names an unknown class.
    """
    data = trained.config.data
    class_of = {name: name for name in trained.classes}
    if data.corpus != "manifest":
        happy = trained.config.protocol.happy.split("+")
        class_of |= _IEMOCAP | dict.fromkeys(happy, "happy")
    elif data.label_map is not None:
        class_of |= dict(data.label_map)
    for pair in filter(None, pairs.split(",")):
        raw, _, name = (part.strip() for part in pair.partition("="))
        if name not in trained.classes:
            raise InputError(
                "--labels: expected raw=class,raw=class with the classes "
                f"{', '.join(trained.classes)}; got {pair!r}."
            )
        class_of[raw] = name
    return class_of


class LabelScores:
    """Counts answers against the labels of their recordings."""

    def __init__(self, trained: TrainedModel, pairs: str = ""):
        """Starts with no answer; see `classes_of_labels`."""
        self._classes = trained.classes
        self._class_of = classes_of_labels(trained, pairs)
        self._trained_on = {
            utterance
            for fold in trained.folds
            for part in ("train", "val")
            for utterance in fold[part]
        }
        self._labels: list[int] = []
        self._predictions: list[int] = []
        self._num_trained_on = 0
        self._unknown: collections.Counter[str] = collections.Counter()

    def add(self, source: Source, answer: Answer) -> None:
        """Counts an answer if its recording has a label."""
        if not source.label:
            return
        name = self._class_of.get(source.label)
        if name is None:
            self._unknown[source.label] += 1
            return
        self._num_trained_on += source.id in self._trained_on
        self._labels.append(self._classes.index(name))
        self._predictions.append(self._classes.index(answer.label))

    def summary(self) -> str:
        """WA, UA and how far to trust them; empty if no recording had a label."""
        lines = []
        if self._labels:
            confusion = metrics.confusion_matrix(
                self._labels, self._predictions, len(self._classes)
            )
            ua = metrics.unweighted_accuracy(confusion)
            wa = metrics.weighted_accuracy(confusion)
            counts = zip(self._classes, confusion.sum(1), strict=True)
            missing = [name for name, count in counts if not count]
            lines.append(
                f"Against {len(self._labels)} labels: UA {ua:.2%}, WA {wa:.2%}"
                + (f" (no recording of {', '.join(missing)})" if missing else "")
            )
            lines.append(self._caveat())
        if self._unknown:
            counts = ", ".join(f"{k} {n}" for k, n in self._unknown.most_common())
            lines.append(
                f"Not scored, no class of the model: {counts}. "
                "--labels=raw=class,... names their classes."
            )
        return "\n".join(lines)

    def _caveat(self) -> str:
        if self._num_trained_on:
            return (
                f"Not a test result: {self._num_trained_on} of them trained or chose a "
                "run that answers. predictions.csv of the workdir holds the honest "
                "ones."
            )
        return (
            "None is an utterance that the model was trained on by its id, but its "
            "speakers may have been: no test result unless you know better."
        )
