"""The words that a model reads beside a recording."""

import dataclasses

import numpy as np

from ser_jax.errors import InputError
from ser_jax.features import word_vectors, words


@dataclasses.dataclass
class Words:
    """Looks words up, each of them once.

    Attributes:
      source: `data.word_vectors`.
      shape: L, E: words of a text at most, size of a vector.
      workdir: For messages.
    """

    source: str
    shape: tuple[int, int]
    workdir: str
    _known: dict[str, np.ndarray | None] = dataclasses.field(default_factory=dict)

    def embed(self, text: str | None) -> tuple[np.ndarray, np.ndarray]:
        """The vectors of a text's known words, and which of the L places they fill.

        Returns:
          (float32 [L, E], bool [L]); what stands behind L known words is cut.

        Raises:
          InputError: There is no text, or the word vectors are not installed.
        """
        if text is None:
            raise InputError(
                f"{self.workdir}: expected a text, which this model reads beside the "
                "sound; got none. Give --text='what is said', or a manifest with a "
                "column `text`."
            )
        vectors, mask = np.zeros(self.shape, np.float32), np.zeros(self.shape[0], bool)
        for place, word in enumerate(self.kept(text)):
            vectors[place], mask[place] = self._known[word], True
        return vectors, mask

    def kept(self, text: str) -> list[str]:
        """The words of a text that `embed` gives vectors of, in order."""
        tokens = words.tokenize(text)
        self._look_up(tokens)
        return [t for t in tokens if self._known[t] is not None][: self.shape[0]]

    def _look_up(self, tokens: list[str]) -> None:
        new = sorted({token for token in tokens if token not in self._known})
        if not new:
            return
        found = word_vectors.find(new, self.source)
        self._known |= dict.fromkeys(new)
        self._known |= dict(zip(found.words, found.vectors, strict=True))

    def remember(self, texts: list[str]) -> None:
        """Looks the words of many texts up at once, which is much faster."""
        self._look_up([token for text in texts for token in words.tokenize(text)])
