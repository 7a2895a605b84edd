"""The words of a sentence without case, punctuation and noises."""

import re

_NOISE = re.compile(r"\[[^\[\]]*\]")
_APOSTROPHES = str.maketrans("", "", "'’`")


def plain(text: str) -> str:
    """Lower-case words divided by single spaces, so that sentences can be compared.

    Noises in square brackets (`[LAUGHTER]`) and apostrophes are removed (`Don't` is
    `dont`), all other punctuation divides words. Figures stay figures: `5` is not `five`.
    The result is empty where there are no words.
    """
    spoken = _NOISE.sub(" ", text).translate(_APOSTROPHES).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in spoken).split())
