"""Classes that a trained model and the labels of another corpus have in common."""

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from ser_jax.corpora import taxonomy
from ser_jax.corpora.utterance import Utterance
from ser_jax.errors import InputError
from ser_jax.predict import label_scores
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.scoring import transfer
from ser_jax.workdir import files


@dataclasses.dataclass(frozen=True)
class CommonClasses:
    """Two or more classes, each of one or several of the model's."""

    trained: TrainedModel
    # Label of the corpus -> the model's classes that it is.
    groups: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(
        cls,
        trained: TrainedModel,
        title: str,
        utterances: Sequence[Utterance],
        pairs: str = "",
    ) -> "CommonClasses":
        """What the words on both sides, or `pairs` (raw=class,...), say.

        Raises:
          InputError: `pairs` cannot be used, or fewer than two classes are in common.
        """
        labels = sorted({u.emotion for u in utterances})
        groups = taxonomy.classes_named_alike(labels, trained.classes)
        for raw, name in label_scores.parse_pairs(trained.classes, pairs).items():
            if raw not in labels:
                raise InputError(
                    f"--labels: expected labels of {title}, {', '.join(labels)}; got "
                    f"{raw!r}."
                )
            groups[raw] = (name,)
        distinct = {*groups.values()}
        joined = sorted({name for group in distinct for name in group})
        if len(joined) < sum(map(len, distinct)):
            raise InputError(
                f"--labels: some labels of {title} are {' or '.join(joined)}, others one "
                f"of them: {groups}. Name the class of each."
            )
        if len(distinct) < 2:
            raise InputError(
                f"Expected two or more classes in common; got "
                f"{', '.join(joined) or 'none'}. The model has "
                f"{', '.join(trained.classes)}; {title} has {', '.join(labels)}. "
                "--labels=raw=class,... says which label is which class."
            )
        return cls(trained, groups)

    @functools.cached_property
    def _distinct(self) -> list[tuple[str, ...]]:
        first = self.trained.classes.index
        return sorted({*self.groups.values()}, key=lambda group: first(group[0]))

    @property
    def names(self) -> list[str]:
        """Of the classes, in the model's order; `a+b` where two of its are one here."""
        return ["+".join(group) for group in self._distinct]

    def index(self, label: str) -> int:
        """The class of a label of `groups`."""
        return self._distinct.index(self.groups[label])

    def restrict(self, values: np.ndarray) -> np.ndarray:
        """Sums of the model's probabilities [K] by class; they sum to 1, or are all 0."""
        place = self.trained.classes.index
        sums = [sum(values[place(name)] for name in group) for group in self._distinct]
        return np.array(sums) / (sum(sums) or 1.0)

    def source_counts(self, workdir) -> tuple[np.ndarray, np.ndarray]:
        """How many training utterances of all runs each class had, and how much it saw.

        The second is as in `transfer.seen_counts`.

        Raises:
          InputError: splits.json is missing or damaged.
        """
        labels = files.read_json(workdir / files.SPLITS)["labels"]
        place, config = self.trained.classes.index, self.trained.config
        several, size = config.data.corpus == "multi", len(self.trained.classes)
        counts, seen = np.zeros(size, int), np.zeros(size)
        for fold in self.trained.folds:
            classes = [place(labels[name]) for name in fold["train"]]
            counts += np.bincount(classes, None, size)
            seen += transfer.seen_counts(
                classes,
                [x.partition("/")[0] if several else "" for x in fold["train"]],
                size,
                sampling=config.train.sampling,
                weights=config.train.class_weights,
            )
        groups = [[place(x) for x in group] for group in self._distinct]
        return tuple(
            np.array([x[group].sum() for group in groups]) for x in (counts, seen)
        )

    def describe(self, utterances: Sequence[Utterance]) -> dict:
        """What is scored and what is dropped, for `workdir.cross_corpus`."""
        counts = collections.Counter(u.emotion for u in utterances).most_common()
        used = {name for group in self._distinct for name in group}
        return {
            "classes": self.names,
            "labels": {label: "+".join(x) for label, x in self.groups.items()},
            "dropped_labels": {x: n for x, n in counts if x not in self.groups},
            "dropped_classes": [x for x in self.trained.classes if x not in used],
        }
