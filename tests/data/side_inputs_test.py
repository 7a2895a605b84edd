"""Speaker embeddings: matched by id, and every way in which a file can be wrong."""

import numpy as np
import pytest

from ser_jax.data.side_inputs import load_speaker_embeddings
from ser_jax.errors import InputError

IDS = ["c", "a", "d", "b", "e"]
VECTORS = np.arange(15.0).reshape(5, 3)


def _save(path, ids=IDS, vectors=VECTORS):
    np.savez(path, id=np.array(ids), vector=vectors)
    return path


def test_vectors_come_in_the_order_of_the_utterances(tmp_path):
    for ids in (IDS, [name.encode() for name in IDS]):
        path = _save(tmp_path / "x.npz", ids)
        vectors = load_speaker_embeddings(path, ["a", "b"])
        np.testing.assert_array_equal(vectors, VECTORS[[1, 3]])
        assert vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("ids", "vectors", "asked_for", "message"),
    [
        (IDS, VECTORS, ["v", "w", "x", "y", "a"], "none for 4: v, w, x, ..."),
        (IDS, VECTORS[:, 0], ["a"], r"expected id \[N\] and vector \[N, X\]"),
        (IDS[:4], VECTORS, ["a"], r"got \(4,\) and \(5, 3\)"),
        (IDS, VECTORS[:, :0], ["a"], "vectors of one number or more"),
        (IDS, VECTORS.astype(str), ["a"], "vectors of one number or more"),
        ([*"abcda"], VECTORS, ["a"], "every id once, got a more than once"),
        (IDS, np.where(VECTORS == 4, np.nan, VECTORS), ["b", "a"], "in 1: a"),
    ],
)
def test_contents_that_do_not_fit_are_refused(
    tmp_path, ids, vectors, asked_for, message
):
    with pytest.raises(InputError, match=message):
        load_speaker_embeddings(_save(tmp_path / "x.npz", ids, vectors), asked_for)


def test_a_bad_vector_of_an_unused_utterance_is_ignored(tmp_path):
    path = _save(tmp_path / "x.npz", vectors=np.where(VECTORS == 4, np.inf, VECTORS))
    assert load_speaker_embeddings(path, ["b"]).shape == (1, 3)


def test_files_of_another_kind_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_speaker_embeddings(tmp_path / "absent.npz", ["a"])
    for name, write in {
        "text.npz": lambda path: path.write_text("a,1,2"),
        "empty.npz": lambda path: path.write_bytes(b""),
        "zip.npz": lambda path: path.write_bytes(b"PK\x03\x04 not a zip"),
        "names.npz": lambda path: np.savez(path, ids=IDS, vector=VECTORS),
        "objects.npz": lambda path: np.savez(
            path, id=np.array(IDS, object), vector=VECTORS
        ),
        "array.npy": lambda path: np.save(path, VECTORS),
    }.items():
        write(tmp_path / name)
        with pytest.raises(InputError, match="expected an .npz file"):
            load_speaker_embeddings(tmp_path / name, ["a"])
