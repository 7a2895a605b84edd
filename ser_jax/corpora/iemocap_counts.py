"""Class counts of the full IEMOCAP release, and the check that a tree has them.

Of the five emotions that published systems use (7.5 h, 5531 turns), per session and
style, as EmoBox lists them; other labels are not checked.
"""

import collections
import warnings
from collections.abc import Iterable

from ser_jax.corpora.utterance import Utterance
from ser_jax.errors import InputError

EMOTIONS = ("neu", "hap", "exc", "sad", "ang")

# style -> session -> turns of neu, hap, exc, sad, ang.
COUNTS = {
    "improvised": {
        "session1": (223, 33, 99, 104, 62),
        "session2": (217, 54, 137, 100, 22),
        "session3": (198, 60, 89, 190, 90),
        "session4": (174, 31, 164, 81, 84),
        "session5": (287, 106, 174, 133, 31),
    },
    "scripted": {
        "session1": (161, 102, 44, 90, 167),
        "session2": (145, 63, 73, 97, 115),
        "session3": (122, 75, 62, 115, 150),
        "session4": (84, 34, 74, 62, 243),
        "session5": (97, 37, 125, 112, 139),
    },
}


def check_counts(utterances: Iterable[Utterance], *, strict: bool) -> None:
    """Raises InputError, or warns if not `strict`, where class counts differ.

    The message names session, style and class.
    """
    got = collections.Counter((u.style, u.session, u.emotion) for u in utterances)
    differences = [
        f"  {session} {style} {emotion}: expected {expected}, "
        f"got {got[style, session, emotion]}"
        for style, sessions in COUNTS.items()
        for session, row in sessions.items()
        for emotion, expected in zip(EMOTIONS, row, strict=True)
        if got[style, session, emotion] != expected
    ]
    if not differences:
        return
    shown = differences[:10]
    if len(differences) > len(shown):
        shown.append(f"  ... and {len(differences) - len(shown)} more")
    message = (
        "this IEMOCAP tree does not hold the published number of usable turns "
        "(labelled line with a wav):\n" + "\n".join(shown) + "\n"
        "An unchanged full release does. Unpack it again, or go on with what is there "
        "by --config.data.strict=False; scores are then not comparable."
    )
    if strict:
        raise InputError(message)
    warnings.warn(message, stacklevel=3)
