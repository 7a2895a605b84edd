"""What a model reads beside frames: words and speaker embeddings of each utterance."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ser_jax.data.batches import Tables
from ser_jax.datasets.store import Store
from ser_jax.errors import InputError
from ser_jax.features import word_vectors, words

_NPZ = "an .npz file with `id` (strings) and `vector` (numbers)"


def check(data) -> None:
    """Raises InputError unless word vectors and embeddings are there."""
    if data.text != "none":
        word_vectors.check(data.word_vectors)
    if data.speaker_embeddings:
        _embeddings_file(data.speaker_embeddings)


def texts(corpus: Store, data) -> tuple[str, ...]:
    """What a model with text reads of each utterance; () with `data.text=none`."""
    if data.text == "none":
        return ()
    if data.text == "asr":
        return tuple(corpus.asr_text)
    return tuple(utterance.text for utterance in corpus.utterances)


def tables(corpus: Store, texts: Sequence[str], data) -> tuple[Tables, dict]:
    """Tables of the used utterances' words and speakers, and what is known of the text.

    The second is for results.json: source, vectors, unknown words, word error rate; {}
    without text. `texts` are what the function `texts` gave.

    Raises:
      InputError: Word vectors or embeddings are missing or do not fit the corpus.
    """
    collected = Tables()
    if data.speaker_embeddings:
        ids = [utterance.id for utterance in corpus.utterances]
        speakers = load_speaker_embeddings(data.speaker_embeddings, ids)
        collected = Tables(speaker_embeddings=speakers)
    if data.text == "none":
        return collected, {}
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
    return collected._replace(word_vectors=table.vectors, tokens=table.tokens), summary


def load_speaker_embeddings(path: str | os.PathLike, ids: Sequence[str]) -> np.ndarray:
    """Reads one vector per utterance (x-vectors or any other kind) that the user made.

    `path` is an .npz file (`numpy.savez(path, id=ids, vector=vectors)`) with `id`,
    strings [N], and `vector`, numbers [N, X], in any order; utterances that are not
    among `ids` are ignored. Returns float32 [U, X] in the order of `ids`.

    Raises:
      InputError: The file does not fit, an utterance is missing or named twice, or a
        vector that is needed is not finite.
    """
    path = _embeddings_file(path)
    names, vectors = _read_npz(path)
    if names.ndim != 1 or vectors.ndim != 2 or len(names) != len(vectors):
        got = f"{names.shape} and {vectors.shape}"
        raise _error(path, "id [N] and vector [N, X]", got)
    if vectors.shape[1] < 1 or vectors.dtype.kind not in "fiu":
        got = f"{vectors.dtype} {list(vectors.shape)}"
        raise _error(path, "vectors of one number or more", got)
    names = [x.decode() if isinstance(x, bytes) else str(x) for x in names]
    row = {name: i for i, name in enumerate(names)}
    twice = sorted({name for i, name in enumerate(names) if row[name] != i})
    if twice:
        raise _error(path, "every id once", f"{_some(twice)} more than once")
    missing = [name for name in ids if name not in row]
    if missing:
        got = f"none for {len(missing)}: {_some(missing)}"
        raise _error(path, f"vectors of all {len(ids)} utterances", got)
    chosen = vectors[[row[name] for name in ids]].astype(np.float32)
    bad = [ids[i] for i in np.flatnonzero(~np.isfinite(chosen).all(axis=1))]
    if bad:
        got = f"NaN or infinity in {len(bad)}: {_some(bad)}"
        raise _error(path, "finite numbers", got)
    return chosen


def _embeddings_file(path: str | os.PathLike) -> Path:
    path = Path(path).expanduser()
    if not path.is_file():
        raise _error(path, _NPZ, "no such file")
    return path


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return np.asarray(file["id"]), np.asarray(file["vector"])
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise _error(path, _NPZ, error) from error
    # What a single array from an .npy file raises.
    except (TypeError, AttributeError, IndexError) as error:
        raise _error(path, _NPZ, "another kind of NumPy file") from error


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _error(path: Path, expected: str, got) -> InputError:
    return InputError(
        f"data.speaker_embeddings: expected {expected}, got {got} ({path}); set "
        "--config.data.speaker_embeddings"
    )
