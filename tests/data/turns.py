"""Utterance lists and configs that the tests of classes and folds share."""

import functools
import types

from ser_jax.corpora.utterance import Utterance

# IEMOCAP's turns by EmoBox's list: neu, hap, exc, sad, ang of each speaker, improvised | both styles.
COUNTS = {
    "1F": ((119, 18, 54, 43, 37), (171, 69, 63, 78, 147)),
    "1M": ((104, 15, 45, 61, 25), (213, 66, 80, 116, 82)),
    "2F": ((90, 25, 88, 63, 7), (135, 70, 96, 113, 67)),
    "2M": ((127, 29, 49, 37, 15), (227, 47, 114, 84, 70)),
    "3F": ((95, 39, 41, 108, 22), (130, 80, 48, 172, 92)),
    "3M": ((103, 21, 48, 82, 68), (190, 55, 103, 133, 148)),
    "4F": ((51, 10, 119, 41, 47), (76, 31, 154, 62, 205)),
    "4M": ((123, 21, 45, 40, 37), (182, 34, 84, 81, 122)),
    "5F": ((151, 56, 68, 73, 18), (221, 77, 82, 132, 78)),
    "5M": ((136, 50, 106, 60, 13), (163, 66, 217, 113, 92)),
}
RAW = ("neu", "hap", "exc", "sad", "ang")


def config(**changes):
    keys = {
        "subset": "all",
        "happy": "hap+exc",
        "split": "session5",
        "group_by": "speaker",
        "groups": 0,
        "seeds": (0,),
        "selection": "val",
        "validation": "speaker",
        "val_fraction": 0.1,
        "compare_selections": False,
    }
    return types.SimpleNamespace(**(keys | changes))


def source(corpus="iemocap", label_map=None, taxonomy="", label_maps=None):
    return types.SimpleNamespace(
        corpus=corpus, label_map=label_map, taxonomy=taxonomy, label_maps=label_maps
    )


def turn(name, speaker, emotion, style="improvised", **more):
    return Utterance(
        id=name,
        wav=f"/{name}.wav",
        speaker=speaker,
        session=more.pop("session", f"session{speaker[0]}"),
        emotion=emotion,
        style=style,
        **{"gender": speaker[-1], **more},
    )


@functools.cache
def iemocap_turns():
    """One turn per entry of the published four-class counts, 5531 in all."""
    turns = []
    for speaker, (improvised, both) in COUNTS.items():
        for emotion, some, total in zip(RAW, improvised, both, strict=True):
            for number in range(total):
                style = "improvised" if number < some else "scripted"
                name = f"{speaker}_{emotion}_{number:03d}"
                turns.append(turn(name, speaker, emotion, style))
    return turns


@functools.cache
def small_turns():
    """Ten speakers with 4 + speaker number turns of each of the four emotions."""
    return [
        turn(f"{speaker}_{emotion}_{number:02d}", speaker, emotion)
        for place, speaker in enumerate(COUNTS)
        for emotion in ("neu", "hap", "sad", "ang")
        for number in range(4 + place)
    ]
