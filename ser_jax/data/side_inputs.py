"""What a model reads beside frames: words and speaker embeddings of each utterance."""

from collections.abc import Sequence
from pathlib import Path

from ser_jax.data import speaker_embeddings
from ser_jax.data.batches import Tables
from ser_jax.datasets.store import Store
from ser_jax.errors import InputError
from ser_jax.features import word_vectors, words


def check(data) -> None:
    """Checks that word vectors and embeddings are there, before anything is built.

    Raises:
      InputError: A package or file is missing.
    """
    if data.text != "none":
        word_vectors.check(data.word_vectors)
    if (
        data.speaker_embeddings
        and not Path(data.speaker_embeddings).expanduser().is_file()
    ):
        raise InputError(
            "data.speaker_embeddings: expected an .npz file, got "
            f"{data.speaker_embeddings!r}; see ser_jax/data/speaker_embeddings.py"
        )


def texts(corpus: Store, data) -> tuple[str, ...]:
    """What a model with text reads of each utterance; () with `data.text=none`."""
    if data.text == "none":
        return ()
    if data.text == "asr":
        return tuple(corpus.asr_text)
    return tuple(utterance.text for utterance in corpus.utterances)


def tables(corpus: Store, texts: Sequence[str], data) -> tuple[Tables, dict]:
    """Collects the tables that the device gathers batches from, without the frames.

    Args:
      corpus: The used utterances.
      texts: What `texts` gave.
      data: `config.data`; `text`, `word_vectors`, `max_words` and `speaker_embeddings`
        are read.

    Returns:
      (Tables, what is known of the text: source, vectors, unknown words, word error
      rate; {} without text.)

    Raises:
      InputError: Word vectors or embeddings are missing or do not fit the corpus.
    """
    found = Tables()
    if data.speaker_embeddings:
        ids = [utterance.id for utterance in corpus.utterances]
        vectors = speaker_embeddings.load(data.speaker_embeddings, ids)
        found = found._replace(speaker_embeddings=vectors)
    if data.text == "none":
        return found, {}
    table = words.embed_texts(texts, source=data.word_vectors, max_words=data.max_words)
    found = found._replace(word_vectors=table.vectors, tokens=table.tokens)
    about = {
        "source": data.text,
        "word_vectors": table.source,
        "words": table.num_words,
        "unknown_words": sum(table.unknown.values()),
        "without_words": int((table.lengths == 0).sum()),
    }
    if data.text == "asr":
        about["asr"] = corpus.asr
    return found, about
