import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile

from configs import base
from ser_jax.data import duplicates
from ser_jax.datasets import build, speech_builder, store
from ser_jax.errors import InputError
from tests.corpora import dummy_data


def dummy_tree(folder):
    """A copy of TFDS's dummy data, which tests may change."""
    return shutil.copytree(dummy_data.FOLDER, folder)


def config_for(root, tfds_dir):
    data = base.get_config().data
    data.root = str(root)
    data.tfds_dir = str(tfds_dir)
    data.recipe = "logmel64"
    data.file_format = "array_record"
    data.vtlp_copies = 2
    data.num_workers = 2
    return data


def small_manifest(folder, rows=6, rate_hz=16000):
    folder.mkdir()
    generator = np.random.default_rng(0)
    lines = ["path,emotion,speaker,accent"]
    for row in range(rows):
        wave = 0.1 * generator.standard_normal(4000 + 100 * row)
        soundfile.write(folder / f"{row}.wav", wave, rate_hz)
        lines.append(f"{row}.wav,{'joy' if row % 2 else 'calm'},s{row % 3},north")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder / "list.csv"


def manifest_config(csv, tfds_dir):
    data = config_for("", tfds_dir)
    data.corpus = "manifest"
    data.manifest = str(csv)
    data.vtlp_copies = 0
    return data


def datasets(tfds_dir):
    """Folders that look like a dataset, finished or not."""
    root = Path(tfds_dir)
    return [p for p in root.rglob("*") if p.is_dir() and "1.1.0" in p.name]


@pytest.fixture
def tree(tmp_path):
    return dummy_tree(tmp_path / "corpus")


def test_dummy_data_is_what_its_script_writes(tmp_path):
    dummy_data.write(tmp_path)
    names = [p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()]
    assert len(names) == 1 + 5 * (2 + 1 + 1)
    for name in names:
        assert (tmp_path / name).read_bytes() == (dummy_data.FOLDER / name).read_bytes()


def test_second_call_reuses_the_dataset(tree, tmp_path, monkeypatch):
    data = config_for(tree, tmp_path / "tfds")
    first = build.ensure_built(data)
    assert Path(first).parts[-3:] == ("iemocap", "logmel64_vtlp2", "1.1.0")

    def never(*args, **kwargs):
        raise AssertionError("built again")

    monkeypatch.setattr(build, "_build", never)
    data.file_format = "tfrecord"  # whatever is there is used
    assert build.ensure_built(data) == first


def test_changed_corpus_is_refused_with_a_remedy(tree, tmp_path):
    data = config_for(tree, tmp_path / "tfds")
    build.ensure_built(data)
    wav = next(tree.rglob("*.wav"))
    wav.with_name("._" + wav.name).write_bytes(b"a Mac was here")
    build.ensure_built(data)
    wav.unlink()
    with pytest.raises(InputError, match=r"another corpus .*Delete that folder"):
        build.ensure_built(data)


def test_built_dataset_outlives_its_corpus(tree, tmp_path, monkeypatch):
    data = config_for(tree, tmp_path / "tfds")
    directory = build.ensure_built(data)
    shutil.rmtree(tree)
    data.root = ""
    monkeypatch.delenv("IEMOCAP_ROOT", raising=False)
    assert build.ensure_built(data) == directory


def test_unusable_recordings_are_counted_and_listed(tree, tmp_path):
    wavs = sorted(tree.rglob("*.wav"))
    soundfile.write(wavs[0], np.zeros(480), 16000)
    wavs[1].write_bytes(wavs[1].read_bytes()[:3000])  # session 1 has nothing left
    wavs[4].unlink()
    stereo = np.random.default_rng(0).uniform(-0.1, 0.1, (3000, 2))
    soundfile.write(wavs[5], stereo, 8000)
    soundfile.write(wavs[6], np.full(3000, 0.25), 8000)
    soundfile.write(wavs[8], np.zeros(3000), 8000)
    loaded = store.load(build.ensure_built(config_for(tree, tmp_path / "tfds")))
    reasons = {e.id: e.reason for e in loaded.excluded}
    assert reasons == {
        wavs[0].stem: "too short",
        wavs[1].stem: "truncated audio",
        wavs[4].stem: "missing wav",
        wavs[6].stem: "constant audio",
        wavs[8].stem: "silent audio",
    }
    assert "got 0.030 s" in {e.id: e.detail for e in loaded.excluded}[wavs[0].stem]
    assert len(loaded.utterances) == 5 and loaded.resampled == 1
    assert {u.session for u in loaded.utterances} == {
        f"session{n}" for n in range(2, 6)
    }


def test_silent_recordings_stay_on_request(tree, tmp_path):
    silent = min(tree.rglob("*.wav"))
    soundfile.write(silent, np.zeros(3000), 16000)
    data = config_for(tree, tmp_path / "tfds")
    data.keep_silent = True
    directory = build.ensure_built(data)
    assert Path(directory).parent.name == "logmel64_vtlp2_silent"
    assert silent.stem in {u.id for u in store.load(directory).utterances}


def test_duplicates_are_found(tree, tmp_path):
    wavs = sorted(tree.rglob("*.wav"))
    samples, rate_hz = soundfile.read(wavs[0], dtype="int16")
    soundfile.write(wavs[3], samples, rate_hz)
    soundfile.write(wavs[7], (samples // 2)[40:], rate_hz)  # quieter, cut by 2.5 ms
    loaded = store.load(build.ensure_built(config_for(tree, tmp_path / "tfds")))
    same = duplicates.find(loaded.utterances, loaded.sound_digests)
    assert same == [(wavs[0].stem, wavs[3].stem)]
    assert loaded.near_duplicates == ((wavs[0].stem, wavs[7].stem),)


def test_nothing_usable_is_an_input_error_and_leaves_nothing(tree, tmp_path):
    for wav in tree.rglob("*.wav"):
        wav.write_bytes(b"")
    data = config_for(tree, tmp_path / "tfds")
    with pytest.raises(InputError, match=r"none of 10 \(empty audio 10"):
        build.ensure_built(data)
    assert datasets(data.tfds_dir) == []


# Ctrl-C, and what run.py makes of SIGTERM.
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_interrupted_build_leaves_nothing(tree, tmp_path, monkeypatch, stop):
    data = config_for(tree, tmp_path / "tfds")
    example = speech_builder.example_of
    calls = []

    def breaks(*args):
        calls.append(args)
        if len(calls) == 4:
            raise stop
        return example(*args)

    with monkeypatch.context() as patch:
        patch.setattr(speech_builder, "example_of", breaks)
        with pytest.raises(stop):
            build.ensure_built(data)
    assert datasets(data.tfds_dir) == []
    assert len(store.load(build.ensure_built(data)).utterances) == 10


def test_killed_build_is_cleaned_up_by_the_next(tree, tmp_path):
    data = config_for(tree, tmp_path / "tfds")
    script = """
        import os, signal, sys
        from tests.datasets import build_test
        from ser_jax.datasets import build, speech_builder
        speech_builder.example_of = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        build.ensure_built(build_test.config_for(sys.argv[1], sys.argv[2]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), data.root, data.tfds_dir],
        # No pipes: the killed process's workers would hold them open for a while.
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=120,
    )
    assert done.returncode == -9
    assert [p.name[:11] for p in datasets(data.tfds_dir)] == ["incomplete."]
    directory = build.ensure_built(data)
    assert [str(p) for p in datasets(data.tfds_dir)] == [directory]


def test_same_corpus_gives_the_same_dataset(tree, tmp_path):
    one, two = config_for(tree, tmp_path / "a"), config_for(tree, tmp_path / "b")
    two.num_workers = 1
    files = [
        {p.name: p.read_bytes() for p in Path(build.ensure_built(data)).iterdir()}
        for data in (one, two)
    ]
    records = [name for name in files[0] if "array_record" in name]
    assert len(records) == 5
    for name in records:
        assert files[0][name] == files[1][name]


def test_manifest_keeps_further_columns_and_follows_its_files(tmp_path):
    csv = small_manifest(tmp_path / "corpus")
    data = manifest_config(csv, tmp_path / "tfds")
    first = build.ensure_built(data)
    loaded = store.load(first)
    assert [u.emotion for u in loaded.utterances] == ["calm", "joy"] * 3
    assert loaded.utterances[2].extra == {"accent": "north"}
    assert len(loaded.flat) == loaded.num_frames.sum()
    assert loaded.warp_factors.shape == (6, 0)
    assert build.ensure_built(data) == first
    soundfile.write(csv.parent / "3.wav", np.zeros(5000), 16000)
    assert build.ensure_built(data) != first


def test_folder_that_cannot_be_written_is_an_input_error(tree, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write .*set --config.data.tfds_dir"):
        build.ensure_built(config_for(tree, tmp_path / "file"))


def test_tfrecord_without_tensorflow_names_both_remedies(tree, tmp_path, monkeypatch):
    data = config_for(tree, tmp_path / "tfds")
    data.file_format = "tfrecord"
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install -e .*tfrecord.*array_record"):
        build.ensure_built(data)
    assert datasets(data.tfds_dir) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "logmel128"),
        ({"vtlp_copies": 7}, "logmel128_vtlp7"),
        ({"vtlp_copies": 7, "vtlp_mode": "nlpaug"}, "logmel128_nlpaug7"),
        ({"recipe": "logmel40_3d"}, "logmel40_3d"),
        ({"vtlp_copies": 3, "vtlp_low": 0.9}, "logmel128_vtlp3_0.9to1.2"),
        ({"vtlp_low": 0.9}, "logmel128"),  # no copies, so no factors
        ({"min_duration_s": 0.5}, "logmel128_min0.5s"),
        ({"recognizer": "whisper-tiny.en"}, "logmel128_whisper-tiny.en"),
    ],
)
def test_config_names(changes, name):
    assert speech_builder.SpeechConfig(**changes).name == name


def test_dataset_with_a_dot_in_its_name_is_read(tree, tmp_path):
    data = config_for(tree, tmp_path / "tfds")
    data.vtlp_high, data.min_duration_s, data.recipe = 1.15, 0.26, "logmel40_3d"
    loaded = store.load(build.ensure_built(data))
    assert loaded.spec.name == "logmel40_3d"
    assert loaded.warp_factors.max() < 1.15
    # Turns last 4000 + 160 (2 session + turn) samples, the shortest 0.27 s.
    assert len(loaded.utterances) == 10
