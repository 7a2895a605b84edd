"""WA and UA of answers against a corpus's own labels, and what they are worth."""

import collections
from collections.abc import Iterable, Mapping, Sequence

from ser_jax.corpora import taxonomy
from ser_jax.corpora.several import IEMOCAP_CORPORA
from ser_jax.errors import InputError
from ser_jax.predict.sources import Source
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.scoring import metrics

# Raw labels of IEMOCAP, whose happy class is a choice of the protocol.
_IEMOCAP = {"neu": "neutral", "sad": "sad", "ang": "angry"}


def classes_of_labels(trained: TrainedModel, pairs: str = "") -> dict[str, str]:
    """The class of each raw label that the model's config or `pairs` names, or ''.

    `pairs` has the form `raw=class,raw=class` and wins over the config.

    Raises:
      InputError: `pairs` is malformed or names an unknown class.
    """
    data = trained.config.data
    class_of = {name: name for name in trained.classes}
    if data.corpus in IEMOCAP_CORPORA:
        happy = trained.config.protocol.happy.split("+")
        class_of |= _IEMOCAP | dict.fromkeys(happy, "happy")
    if data.taxonomy:
        class_of |= taxonomy.class_of_words(data.taxonomy)
    if data.label_map is not None:
        class_of |= dict(data.label_map)
    told = collections.defaultdict(set)  # by the maps of several corpora
    for _, own in data.label_maps or ():
        for raw, name in dict(own).items():
            told[raw].add(name)
    # Whose labels are scored nobody knows: where corpora differ, none is right.
    class_of |= {x: "" if len(names) > 1 else min(names) for x, names in told.items()}
    return class_of | parse_pairs(trained.classes, pairs)


def parse_pairs(classes: Sequence[str], pairs: str) -> dict[str, str]:
    """`raw=class,raw=class` as a dictionary.

    Raises:
      InputError: It has another form or names none of `classes`.
    """
    class_of = {}
    for pair in filter(None, pairs.split(",")):
        raw, _, name = (part.strip() for part in pair.partition("="))
        if name not in classes:
            raise InputError(
                "--labels: expected raw=class,raw=class with the classes "
                f"{', '.join(classes)}; got {pair!r}."
            )
        class_of[raw] = name
    return class_of


def summarise(
    trained: TrainedModel,
    class_of: Mapping[str, str],
    predictions: Iterable[tuple[Source, str]],
) -> str:
    """WA, UA and how far to trust them, as lines for people.

    Args:
      trained: The model that answered.
      class_of: See `classes_of_labels`.
      predictions: (recording, predicted class); those without a label do not count, and
        without any label the text is empty.
    """
    scored, unknown = [], collections.Counter()
    for source, prediction in predictions:
        if not source.label:
            continue
        if name := class_of.get(source.label, class_of.get(source.label.lower())):
            scored.append((source, name, prediction))
        else:
            unknown[source.label] += 1
    lines = _score(trained, scored) if scored else []
    if unknown:
        counts = ", ".join(f"{label} {n}" for label, n in unknown.most_common())
        lines.append(
            f"Not scored, no class of the model: {counts}. "
            "--labels=raw=class,... names their classes."
        )
    return "\n".join(lines)


def _score(trained: TrainedModel, scored: list[tuple[Source, str, str]]) -> list[str]:
    classes = trained.classes
    confusion = metrics.confusion_matrix(
        [classes.index(name) for _, name, _ in scored],
        [classes.index(prediction) for *_, prediction in scored],
        len(classes),
    )
    ua = metrics.unweighted_accuracy(confusion)
    wa = metrics.weighted_accuracy(confusion)
    score = f"Against {len(scored)} labels: UA {ua:.2%}, WA {wa:.2%}"
    counts = zip(classes, confusion.sum(1), strict=True)
    # UA is the mean of the other classes' recalls alone.
    if missing := [name for name, count in counts if not count]:
        score += f" (no recording of {', '.join(missing)})"
    # Validation utterances chose the epochs, so they are no test either.
    parts = [fold[part] for fold in trained.folds for part in ("train", "val")]
    trained_on, did = set().union(*parts), "trained or chose a run that answers"
    if trained.config.data.corpus == "multi":  # its ids begin with their corpus
        trained_on = {name.partition("/")[2] for name in trained_on}
        did = f"are called as some that {did}"
    if seen := sum(source.id in trained_on for source, *_ in scored):
        caveat = (
            f"Not a test result: {seen} of them {did}. "
            "predictions.csv of the workdir holds the honest ones."
        )
    else:
        caveat = (
            "None is an utterance that the model was trained on by its id, but its "
            "speakers may have been: no test result unless you know better."
        )
    return [score, caveat]
