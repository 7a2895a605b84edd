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
    embeddings = data.speaker_embeddings
    if embeddings and not Path(embeddings).expanduser().is_file():
        raise InputError(
            f"data.speaker_embeddings: expected an .npz file, got {embeddings!r}; see "
            "ser_jax/data/speaker_embeddings.py"
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
    speakers = None
    if data.speaker_embeddings:
        ids = [utterance.id for utterance in corpus.utterances]
        speakers = speaker_embeddings.load(data.speaker_embeddings, ids)
    if data.text == "none":
        return Tables(speaker_embeddings=speakers), {}
    table = words.embed_texts(texts, source=data.word_vectors, max_words=data.max_words)
    summary = {
        "source": data.text,
        "word_vectors": table.source,
        "words": table.num_words,
        "unknown_words": sum(table.unknown.values()),
        "without_words": int((table.lengths == 0).sum()),
    }
    if data.text == "asr":
        summary["asr"] = corpus.asr
    embedded = Tables(
        word_vectors=table.vectors, tokens=table.tokens, speaker_embeddings=speakers
    )
    return embedded, summary
