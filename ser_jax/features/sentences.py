"""What was said, without how it is written down."""

import re

_NOISE = re.compile(r"\[[^\[\]]*\]")
_APOSTROPHES = str.maketrans("", "", "'’`")


def plain(text: str) -> str:
    """Lower-case words divided by single spaces, so that two sentences can be compared.

    Words in square brackets are noises (`[LAUGHTER]`) and go, apostrophes go (`Don't` is
    `dont`), all other punctuation divides words. Figures stay figures: `5` is not `five`.

    Returns:
      An empty string where nothing was said.
    """
    spoken = _NOISE.sub(" ", text).translate(_APOSTROPHES).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in spoken).split())
