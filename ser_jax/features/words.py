"""Texts as word tokens and the vectors of the words that occur. NumPy only."""

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ser_jax.errors import InputError
from ser_jax.features import word_vectors

# In this order: dots, dashes, numbers with inner marks, acronyms, words (with inner
# hyphens and apostrophes), clipped words, any other sign by itself.
_TOKEN = re.compile(
    r"""
    \.{2,} | -{2,}
    | \d+(?:[.,:]\d+)+(?!\w)
    | (?:[^\W\d_]\.){2,}
    | [^\W_]+(?:['-][^\W_]+)*
    | '(?:em|cause|til|tis|twas|n)(?!\w)
    | \S
    """,
    re.VERBOSE,
)
_NOISE = re.compile(r"\[[^\[\]]*\]")
_APOSTROPHES = str.maketrans("", "", "'’`")
_CLITIC = re.compile(r"(.+?)(n't|'(?:s|m|d|re|ve|ll))$")
_PLAIN = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "—": "--", "–": "-"})


@dataclasses.dataclass(frozen=True)
class WordTable:
    """The texts of U utterances as rows of the word vectors they need."""

    vectors: np.ndarray  # float32 [V, E]; row 0 is zeros, for padding
    words: tuple[str, ...]  # the V words of the rows, sorted; the first is empty
    tokens: np.ndarray  # int32 [U, L], rows of `vectors`; 0 behind a text's last word
    lengths: np.ndarray  # int32 [U], words with a vector per text, at most L
    unknown: Mapping[str, int]  # how often each word without a vector occurs
    num_words: int  # in all texts, with or without a vector, before cutting
    source: str  # where the vectors are from, for people


def embed_texts(texts: Sequence[str], *, source: str, max_words: int) -> WordTable:
    """Splits texts into words and looks up the words' vectors.

    Words without a vector are skipped, as in the published systems, and counted.
    Annotations in transcripts, such as `[LAUGHTER]`, are words like any other.

    Args:
      texts: One per utterance; empty ones are allowed.
      source: See `word_vectors.find`.
      max_words: Words per text that are kept, of those that have a vector; at least 1.

    Raises:
      InputError: No text has a word, no word has a vector, or they cannot be read.
    """
    split = [tokenize(text) for text in texts]
    counts = Counter(word for words in split for word in words)
    if not counts:
        raise InputError(
            f"data.text: expected utterances with a text, got {len(split)} without "
            "one; a model of audio alone needs --config.data.text=none"
        )
    vectors = word_vectors.find(sorted(counts), source)
    if not vectors.words:
        raise InputError(
            f"data.word_vectors={source}: expected vectors for the words of the texts, "
            f"got none for {len(counts)} words such as "
            f"{', '.join(w for w, _ in counts.most_common(3))}; is it another language?"
        )
    row = {word: i for i, word in enumerate(vectors.words, 1)}
    rows = [[row[word] for word in words if word in row] for words in split]
    width = min(max_words, max(1, *(len(x) for x in rows)))
    tokens = np.zeros((len(rows), width), np.int32)
    for out, numbers in zip(tokens, rows, strict=True):
        out[: len(numbers)] = numbers[:width]
    return WordTable(
        vectors=np.pad(vectors.vectors, ((1, 0), (0, 0))),
        words=("", *vectors.words),
        tokens=tokens,
        lengths=(tokens > 0).sum(axis=1).astype(np.int32),
        unknown={word: n for word, n in counts.most_common() if word not in row},
        num_words=counts.total(),
        source=vectors.source,
    )


def tokenize(text: str) -> list[str]:
    """Splits a text the way the GloVe vectors' own training texts were split.

    Lower case; clitics are words of their own (`don't` -> `do n't`, `she'll` ->
    `she 'll`), and so is every punctuation mark; runs of dots are `...`, runs of
    hyphens `--`. Contractions without an apostrophe (`gonna`, `cannot`) stay whole:
    they have vectors, while their parts (`gon`, `na`) stand for other words.
    """
    text = unicodedata.normalize("NFKC", text).translate(_PLAIN).lower()
    tokens = []
    for token in _TOKEN.findall(text):
        if token.startswith(("..", "--")):
            tokens.append(token[0] * (3 if token[0] == "." else 2))
        else:
            tokens.extend(_without_clitics(token))
    return tokens


def _without_clitics(word: str) -> list[str]:
    """`wouldn't've` -> `would`, `n't`, `'ve`."""
    clitics = []
    while match := _CLITIC.match(word):
        word, clitic = match.groups()
        clitics.insert(0, clitic)
    return [word, *clitics]


def plain(text: str) -> str:
    """Lower-case words divided by single spaces, so that sentences can be compared.

    Noises in square brackets (`[LAUGHTER]`) and apostrophes are removed (`Don't` is
    `dont`), all other punctuation divides words; `5` is not `five`.
    """
    spoken = _NOISE.sub(" ", text).translate(_APOSTROPHES).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in spoken).split())
