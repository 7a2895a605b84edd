"""WA and UA of answers against a corpus's own labels, with what they are worth."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

from ser_jax.errors import InputError
from ser_jax.predict.answers import Answer
from ser_jax.predict.sources import Source
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.scoring import metrics

_IEMOCAP = {"neu": "neutral", "sad": "sad", "ang": "angry"}


def labels(trained: TrainedModel, given: str = "") -> dict[str, str]:
    """The class of each raw label that the model knows.

    Args:
      trained: Its config says how its own corpus's labels become classes.
      given: More, as `raw=class,raw=class`; wins over the config.

    Raises:
      InputError: `given` is malformed or names an unknown class.
    """
    data = trained.config.data
    known = {name: name for name in trained.classes}
    if data.corpus != "manifest":
        happy = trained.config.protocol.happy.split("+")
        known |= _IEMOCAP | dict.fromkeys(happy, "happy")
    elif data.label_map is not None:
        known |= dict(data.label_map)
    for pair in filter(None, given.split(",")):
        raw, _, name = (part.strip() for part in pair.partition("="))
        if name not in trained.classes:
            raise InputError(
                "--labels: expected raw=class,raw=class with the classes "
                f"{', '.join(trained.classes)}; got {pair!r}."
            )
        known[raw] = name
    return known


@dataclasses.dataclass
class Score:
    """Answers against labels.

    Attributes:
      classes: Names of the K classes.
      class_of: See `labels`.
      trained_on: Ids of the utterances that the answering runs were trained on.
    """

    classes: Sequence[str]
    class_of: Mapping[str, str]
    trained_on: frozenset[str]
    _true: list[int] = dataclasses.field(default_factory=list)
    _said: list[int] = dataclasses.field(default_factory=list)
    _seen: int = 0
    _unknown: collections.Counter = dataclasses.field(
        default_factory=collections.Counter
    )

    @classmethod
    def of(cls, trained: TrainedModel, given: str = "") -> "Score":
        """An empty score; see `labels`."""
        seen = (u for fold in trained.folds for u in (*fold["train"], *fold["val"]))
        return cls(trained.classes, labels(trained, given), frozenset(seen))

    def add(self, source: Source, answer: Answer) -> None:
        """Counts an answer if its recording has a label."""
        if not source.label:
            return
        name = self.class_of.get(source.label)
        if name is None:
            self._unknown[source.label] += 1
            return
        self._seen += source.id in self.trained_on
        self._true.append(self.classes.index(name))
        self._said.append(self.classes.index(answer.label))

    def text(self) -> str:
        """WA, UA and what to think of them; empty if nothing had a label."""
        lines = []
        if self._true:
            confusion = metrics.confusion_matrix(
                self._true, self._said, len(self.classes)
            )
            ua = metrics.unweighted_accuracy(confusion)
            wa = metrics.weighted_accuracy(confusion)
            missing = [
                name
                for name, count in zip(self.classes, confusion.sum(1), strict=True)
                if not count
            ]
            lines.append(
                f"Against {len(self._true)} labels: UA {ua:.2%}, WA {wa:.2%}"
                + (f" (no recording of {', '.join(missing)})" if missing else "")
            )
            lines.append(self._note())
        if self._unknown:
            counts = ", ".join(f"{k} {n}" for k, n in self._unknown.most_common())
            lines.append(
                f"Not scored, no class of the model: {counts}. "
                "--labels=raw=class,... names their classes."
            )
        return "\n".join(lines)

    def _note(self) -> str:
        if self._seen:
            return (
                f"Not a test result: {self._seen} of them trained or chose a run that "
                "answers. predictions.csv of the workdir holds the honest ones."
            )
        return (
            "None is an utterance that the model was trained on by its id, but its "
            "speakers may have been: no test result unless you know better."
        )
