import dataclasses
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ser_jax.corpora import iemocap
from ser_jax.datasets import build, store
from ser_jax.errors import InputError
from ser_jax.features import audio, offline, vtlp
from tests.datasets.build_test import config_for, dummy_tree
from tests.features.vtlp_test import copies

# The import fails as it does where TensorFlow is not installed.
_WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_others(name, *args):
    absent = name.split(".")[0] in ("tensorflow", "jax")
    return None if absent else find(name, *args)
PathFinder.find_spec = find_others
from ser_jax.datasets import store
loaded = store.load(sys.argv[1])
assert "librosa" not in sys.modules
print(len(loaded.utterances), float(loaded.flat.sum()))
"""


def stored_copies(loaded, u):
    """VTLP copies [V, T_u, F, C], which lie behind their utterance's frames."""
    num, copies = loaded.num_frames[u], loaded.warp_factors.shape[1]
    rows = loaded.flat[loaded.first[u] + num : loaded.first[u] + (1 + copies) * num]
    return rows.reshape(copies, num, *loaded.flat.shape[1:])


@pytest.fixture(scope="module", params=["array_record", "tfrecord"])
def built(request, tmp_path_factory):
    if request.param == "tfrecord":
        pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp(request.param)
    data = config_for(dummy_tree(folder / "corpus"), folder / "tfds")
    data.file_format = request.param
    return data, build.ensure_built(data)


def test_store_is_bit_equal_to_offline_features(built):
    data, directory = built
    loaded = store.load(directory)
    for index, utterance in enumerate(loaded.utterances):
        samples = audio.load(utterance.wav, 16000)
        factors = vtlp.warp_factors(utterance.id, 2, data.vtlp_low, data.vtlp_high)
        warped = copies(samples, loaded.spec, factors)
        expected = offline.features(samples, loaded.spec)
        np.testing.assert_array_equal(loaded.frames[index], expected)
        np.testing.assert_array_equal(stored_copies(loaded, index), warped)
        np.testing.assert_array_equal(loaded.warp_factors[index], factors)
        assert loaded.num_samples[index] == samples.size
    assert loaded.directory == directory
    assert loaded.num_samples.dtype == np.int64
    assert loaded.asr_text == ("",) * 10 and loaded.asr == {}  # no recognizer


def test_labels_come_back_as_the_reader_gave_them(built):
    data, directory = built
    loaded = store.load(directory).utterances
    read = list(iemocap.read(data.root))
    assert [u.id for u in loaded] == sorted(u.id for u in read)
    for got, expected in zip(loaded, read, strict=True):
        got, expected = dataclasses.asdict(got), dataclasses.asdict(expected)
        for name, value in expected.items():
            if isinstance(value, float):  # stored as float32
                assert got[name] == pytest.approx(value, rel=1e-6, nan_ok=True)
            else:
                assert got[name] == value


def test_fewer_channels_are_the_first_ones(built):
    full = store.load(built[1])
    one = store.load(built[1], channels=1)
    two = store.load(built[1], channels=2, copies=False)
    assert full.frames[4].shape[1:] == (64, 3)
    np.testing.assert_array_equal(one.frames[4], full.frames[4][..., :1])
    np.testing.assert_array_equal(
        stored_copies(one, 4), stored_copies(full, 4)[..., :1]
    )
    np.testing.assert_array_equal(two.frames[4], full.frames[4][..., :2])
    assert stored_copies(two, 4).shape == (0, *two.frames[4].shape)
    assert two.warp_factors.shape == (10, 0)


def test_the_dataset_is_read_once_and_again_when_it_changed(built, monkeypatch):
    directory = built[1]
    first = store.load(directory, channels=2)
    reads = []

    def examples(builder, original=store.examples):
        reads.append(builder)
        return original(builder)

    monkeypatch.setattr(store, "examples", examples)
    again = store.load(directory, channels=2)
    assert not reads and repr(again.utterances) == repr(first.utterances)
    np.testing.assert_array_equal(again.flat, first.flat)
    shard = next(p for p in Path(directory).iterdir() if "-of-" in p.name)
    os.utime(shard, ns=(1, 1))
    changed = store.load(directory, channels=2)
    assert len(reads) == 1
    np.testing.assert_array_equal(changed.flat, first.flat)  # mapped still, if unlinked


def test_an_unfinished_or_damaged_cache_is_written_again(built, tmp_path):
    _, directory = built
    whole = store.load(directory, copies=False, cache_dir=str(tmp_path))
    (frames,) = tmp_path.glob("*/*/frames.npy")
    expected = np.array(whole.flat)
    folder = frames.parent
    frames.unlink()
    frames.write_bytes(b"torn")
    folder.with_name(folder.name + ".incomplete").mkdir()
    again = store.load(directory, copies=False, cache_dir=str(tmp_path))
    np.testing.assert_array_equal(again.flat, expected)
    assert [p.name for p in folder.parent.iterdir() if p.is_dir()] == [folder.name]
    # Each original stands alone in it; nothing was written beside the dataset.
    assert again.flat.shape == (again.num_frames.sum(), 64, 3)


def test_an_unwritable_cache_names_the_key(built, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--config\.data\.cache_dir"):
        store.load(built[1], cache_dir=str(tmp_path / "file" / "cache"))


def test_taking_utterances_keeps_their_features(built):
    whole = store.load(built[1])
    some = whole.take([6, 2])
    assert [u.id for u in some.utterances] == [whole.utterances[u].id for u in (6, 2)]
    np.testing.assert_array_equal(some.frames[1], whole.frames[2])
    np.testing.assert_array_equal(stored_copies(some, 0), stored_copies(whole, 6))
    assert len(some.frames) == 2 and some.flat is whole.flat


def test_both_formats_are_read_without_tensorflow(built):
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TENSORFLOW, built[1]],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    count, total = done.stdout.split()
    assert int(count) == 10
    assert float(total) == float(store.load(built[1]).flat.sum())


def test_recipe_without_deltas_stores_one_channel(tmp_path):
    data = config_for(dummy_tree(tmp_path / "corpus"), tmp_path / "tfds")
    data.recipe = "mfcc26"
    directory = build.ensure_built(data)
    loaded = store.load(directory)
    assert loaded.frames[3].shape[1:] == (26, 1)
    assert stored_copies(loaded, 3).shape == (2, *loaded.frames[3].shape)
    samples = audio.load(loaded.utterances[3].wav, 16000)
    expected = offline.features(samples, loaded.spec)
    # Workers run BLAS on one thread; with more it adds a wide product otherwise.
    np.testing.assert_allclose(loaded.frames[3], expected, rtol=1e-5, atol=1e-4)
    with pytest.raises(InputError, match=r"data\.channels: expected at most 1.*mfcc26"):
        store.load(directory, channels=3)


def test_folder_without_dataset_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"expected a built dataset .*build it"):
        store.load(tmp_path)


def test_dataset_of_another_recipe_version_is_refused(built, monkeypatch):
    changed = dataclasses.replace(store.recipe.RECIPES["logmel64"], floor=1e-8)
    monkeypatch.setitem(store.recipe.PLAIN, "logmel64", changed)
    with pytest.raises(InputError, match="another version of recipe 'logmel64'"):
        store.load(built[1])


def record(payload):
    return struct.pack("<QI", len(payload), 0) + payload + b"\0" * 4


def test_tfrecord_framing(tmp_path):
    path = tmp_path / "r"
    path.write_bytes(record(b"one") + record(b"") + record(b"three"))
    assert list(store.tfrecords(path)) == [b"one", b"", b"three"]


@pytest.mark.parametrize("cut", [1, 4, 7, 12, 15])
def test_damaged_tfrecord_is_an_input_error(tmp_path, cut):
    path = tmp_path / "r"
    path.write_bytes((record(b"one") + record(b"three"))[:-cut])
    with pytest.raises(InputError, match="is damaged"):
        list(store.tfrecords(path))
