"""Speaker embeddings (x-vectors or any other kind) that the user made. NumPy only."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ser_jax.errors import InputError


def load(path: str | os.PathLike, ids: Sequence[str]) -> np.ndarray:
    """Reads one vector per utterance.

    Args:
      path: An .npz file (`numpy.savez(path, id=ids, vector=vectors)`) with `id`,
        strings [N], and `vector`, numbers [N, X]; the order does not matter, and
        other utterances are ignored.
      ids: Of U utterances.

    Returns:
      float32 [U, X], in the order of `ids`.

    Raises:
      InputError: The file does not fit, an utterance is missing or named twice, or a
        vector that is needed is not finite.
    """
    path = Path(path).expanduser()
    names, vectors = _read(path)
    if names.ndim != 1 or vectors.ndim != 2 or len(names) != len(vectors):
        got = f"{names.shape} and {vectors.shape}"
        raise _error(path, "id [N] and vector [N, X]", got)
    if vectors.shape[1] < 1 or vectors.dtype.kind not in "fiu":
        got = f"{vectors.dtype} {list(vectors.shape)}"
        raise _error(path, "vectors of one number or more", got)
    texts = [x.decode() if isinstance(x, bytes) else str(x) for x in names]
    row = {name: i for i, name in enumerate(texts)}
    twice = sorted({x for i, x in enumerate(texts) if row[x] != i})
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


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    expected = "an .npz file with `id` (strings) and `vector` (numbers)"
    if not path.is_file():
        raise _error(path, expected, "no such file")
    try:
        with np.load(path, allow_pickle=False) as file:
            return np.asarray(file["id"]), np.asarray(file["vector"])
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise _error(path, expected, error) from error
    # What a single array from an .npy file raises.
    except (TypeError, AttributeError, IndexError) as error:
        raise _error(path, expected, "another kind of NumPy file") from error


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _error(path: Path, expected: str, got) -> InputError:
    return InputError(
        f"data.speaker_embeddings: expected {expected}, got {got} ({path}); set "
        "--config.data.speaker_embeddings"
    )
