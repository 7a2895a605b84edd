"""The words that a model reads beside a recording."""

from collections.abc import Sequence

import numpy as np

from ser_jax.errors import InputError
from ser_jax.features import word_vectors, words


class WordEmbedder:
    """Word vectors of transcripts; each word is looked up once."""

    def __init__(self, source: str, shape: tuple[int, int], workdir: str):
        """`source` is `data.word_vectors`, `shape` the model's L, E."""
        self._source = source
        self._shape = shape
        self._workdir = workdir  # for messages
        self._vectors: dict[str, np.ndarray | None] = {}

    def embed(self, text: str | None) -> dict[str, np.ndarray]:
        """Vectors of a text's known words, and which of the L places they fill.

        Returns:
          `words` float32 [L, E] and `word_mask` bool [L]; known words behind the L-th
          are left out.

        Raises:
          InputError: There is no text, or the word vectors are not installed.
        """
        if text is None:
            raise InputError(
                f"{self._workdir}: expected a text, which this model reads beside the "
                "sound; got none. Give --text='what is said', or a manifest with a "
                "column `text`."
            )
        vectors = np.zeros(self._shape, np.float32)
        mask = np.zeros(self._shape[0], bool)
        for place, word in enumerate(self.known_words(text)):
            vectors[place], mask[place] = self._vectors[word], True
        return {"words": vectors, "word_mask": mask}

    def known_words(self, text: str) -> list[str]:
        """The words of a text that `embed` gives vectors of, in order."""
        self.look_up([text])
        tokens = words.tokenize(text)
        # As in training, where the L places are for words that have a vector.
        known = [token for token in tokens if self._vectors[token] is not None]
        return known[: self._shape[0]]

    def look_up(self, texts: Sequence[str]) -> None:
        """Looks up the words of many texts in one pass over the vectors' file."""
        tokens = {token for text in texts for token in words.tokenize(text)}
        new = sorted(tokens - self._vectors.keys())
        if new:
            table = word_vectors.find(new, self._source)
            # None marks words without a vector, which need no second pass either.
            self._vectors |= dict.fromkeys(new)
            self._vectors |= dict(zip(table.words, table.vectors, strict=True))
