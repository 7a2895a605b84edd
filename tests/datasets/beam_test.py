"""A build by Apache Beam's workers is the build on one machine, record by record."""

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("apache_beam")

import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from tqdm import tqdm

from ser_jax.datasets import beam_build, beam_map, build, state_extraction, store
from ser_jax.errors import InputError
from ser_jax.training import experiment
from tests import encoder_folder
from tests.datasets.build_test import (
    config_for,
    datasets,
    dummy_tree,
    manifest_config,
    small_manifest,
)
from tests.datasets.transcription_test import asr_config, fake  # noqa: F401

HERE = "runner=DirectRunner"  # in this process, one bundle after the other
PROCESSES = f"{HERE},direct_running_mode=multi_processing,direct_num_workers="


def records(directory):
    """Stored bytes by (split, id)."""
    builder = tfds.builder_from_directory(directory)
    found = {}
    for name, split in builder.info.splits.items():
        for path in split.filepaths:
            if builder.info.file_format.value == "tfrecord":
                stored = [*store.tfrecords(path)]
            else:
                source = ArrayRecordDataSource([str(path)])
                stored = [source[i] for i in range(len(source))]
            for record in stored:
                example = builder.info.features.deserialize_example_np(record)
                key = name, store._plain(example["id"])
                assert key not in found
                found[key] = record
    return found


def assert_same(directory, expected):
    """The same records, splits, metadata and, read, the same `Store`."""
    assert records(directory) == records(expected)
    got, want = (tfds.builder_from_directory(x).info for x in (directory, expected))
    metadata = [dict(info.metadata) for info in (got, want)]
    for one in metadata:
        one["asr"] = {k: v for k, v in dict(one["asr"]).items() if k != "seconds"}
    assert metadata[0] == metadata[1]
    assert got.file_format == want.file_format
    for name, split in want.splits.items():
        assert got.splits[name].num_examples == split.num_examples
        assert got.splits[name].num_bytes == split.num_bytes
    assert got.splits.keys() == want.splits.keys()
    left = [path.name for path in Path(directory).iterdir() if path.is_dir()]
    assert not [name for name in left if not name.startswith("flat")]
    assert_same_store(*(store.load(x, copies=True) for x in (directory, expected)))


def assert_same_store(got, want):
    assert repr(got.utterances) == repr(want.utterances)
    assert got.sound_digests == want.sound_digests
    assert got.asr_text == want.asr_text and got.excluded == want.excluded
    np.testing.assert_array_equal(got.warp_factors, want.warp_factors)
    np.testing.assert_array_equal(got.num_samples, want.num_samples)
    for a, b in zip(got.frames, want.frames, strict=True):
        np.testing.assert_array_equal(a, b)


def both(data, root, beam):
    """Folders of the dataset as `beam` and as this machine builds it."""
    found = []
    for name, options in (("beam", beam), ("here", "")):
        data.tfds_dir = str(root / name)
        found.append(build.ensure_built(data, beam=options))
    return found


@pytest.mark.parametrize(
    "file_format", ["array_record", pytest.param("tfrecord", marks=pytest.mark.slow)]
)
def test_same_dataset_with_bad_recordings_left_out(tmp_path, monkeypatch, file_format):
    if file_format == "tfrecord":
        pytest.importorskip("tensorflow")
    monkeypatch.setattr(state_extraction, "PART", 1)  # two shards for each session
    tree = dummy_tree(tmp_path / "corpus")
    wavs = sorted(tree.rglob("*.wav"))
    samples, rate_hz = soundfile.read(wavs[0], dtype="int16")
    soundfile.write(wavs[3], samples, rate_hz)
    soundfile.write(wavs[7], (samples // 2)[40:], rate_hz)  # nearly the same
    wavs[4].write_bytes(wavs[4].read_bytes()[:3000])
    wavs[5].unlink()  # session 3 has nothing left
    soundfile.write(wavs[8], np.zeros(3000), 8000)
    data = config_for(tree, tmp_path)
    data.file_format = file_format
    beam, here = both(data, tmp_path, HERE)
    assert_same(beam, here)
    loaded = store.load(beam)
    reasons = [exclusion.reason for exclusion in loaded.excluded]
    assert reasons == ["missing wav", "truncated audio", "silent audio"]
    assert loaded.near_duplicates and len(loaded.utterances) == 7
    shards = [*Path(beam).glob("*session1*-of-00002")]
    assert len(shards) == 2


def test_repeated_and_failed_bundles_give_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(state_extraction, "PART", 2)
    data = manifest_config(small_manifest(tmp_path / "c", rows=7), tmp_path / "once")
    once = build.ensure_built(data, beam=HERE)
    data.tfds_dir = str(tmp_path / "twice")
    calls, write = [], beam_build._ShardWriter.__call__

    def fails_once(self, part):
        size = write(self, part)
        calls.append(part.path)
        if len(calls) == 2:
            raise RuntimeError("a worker is lost behind its shard")
        return size

    monkeypatch.setattr(beam_build._ShardWriter, "__call__", fails_once)
    twice = build.ensure_built(data, beam="runner=BundleBasedDirectRunner")
    assert len(calls) > len(set(calls)) == 4
    repeat = "direct_runner_bundle_repeat=1"
    data.tfds_dir, calls[:] = str(tmp_path / "repeat"), [""] * 2
    repeated = build.ensure_built(data, beam=f"{HERE},{repeat}")
    assert len(calls) == 2 + 2 * 4
    for directory in (twice, repeated):
        shards = sorted(Path(once).glob("*array_record*"))
        assert len(shards) == 4
        for shard in shards:
            assert (Path(directory) / shard.name).read_bytes() == shard.read_bytes()
        assert sorted(Path(directory).glob("*array_record*")) != shards


def test_shards_are_counted_as_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(state_extraction, "PART", 2)
    monkeypatch.setattr(beam_build, "_LOOK_S", 0.001)
    bars, write = [], beam_build._ShardWriter.__call__

    def shown(**options):
        bars.append(tqdm(**options))
        return bars[-1]

    def waits(self, part):
        for _ in range(1000):  # for the bar to show the ones before
            if bars[0].n == len(done):
                break
            time.sleep(0.01)
        done.append(bars[0].n)
        return write(self, part)

    done = []
    monkeypatch.setattr(beam_build, "tqdm", shown)
    monkeypatch.setattr(beam_build._ShardWriter, "__call__", waits)
    data = manifest_config(small_manifest(tmp_path / "c", rows=5), tmp_path / "tfds")
    build.ensure_built(data, beam=HERE)
    assert done == [0, 1, 2]
    assert (bars[0].n, bars[0].total) == (3, 3)


def test_texts_are_heard_once_whoever_builds(tmp_path, fake):  # noqa: F811
    data = asr_config(tmp_path)
    beam = build.ensure_built(data, beam=HERE)
    assert fake.calls == 10
    data.recipe = "logmel40_3d"
    build.ensure_built(data)
    assert fake.calls == 10  # a journal of Beam's is read
    data.recipe, data.tfds_dir = "logmel64", str(tmp_path / "here")
    here = build.ensure_built(data)
    assert fake.calls == 20
    assert_same(beam, here)


def test_a_recording_that_changes_ends_the_build_in_one_line(tmp_path, monkeypatch):
    data = manifest_config(small_manifest(tmp_path / "c"), tmp_path / "tfds")
    write = beam_build.BeamBuild.write

    def late(self, *args):
        (tmp_path / "c" / "4.wav").write_bytes(b"RIFF")
        return write(self, *args)

    monkeypatch.setattr(beam_build.BeamBuild, "write", late)
    with pytest.raises(InputError, match="4.wav to stay as it was") as caught:
        build.ensure_built(data, beam=HERE)
    assert "\n" not in str(caught.value) and "running" not in str(caught.value)
    assert datasets(data.tfds_dir) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("runner=NoSuchRunner", "Unexpected pipeline runner: NoSuchRunner"),
        ("direct_num_workers=two", "invalid int value: 'two'"),
        ("direct_running_mode=fast", "choose from 'in_memory'"),
        ("direct_number_workers=2", "without an option direct_number_workers"),
        ("runner=DataflowRunner", "."),  # its packages or its project are missing
    ],
)
def test_wrong_options_are_said_in_one_line(options, said, capfd):
    with pytest.raises(InputError, match=f"^--beam={options}: .*{said}") as caught:
        beam_map.parse_options(options)
    assert "\n" not in str(caught.value)
    assert "usage" not in "".join(capfd.readouterr())


def test_a_job_server_may_know_options_that_beam_does_not():
    with socket.create_server(("localhost", 0)) as server:
        place = (
            f"runner=PortableRunner,job_endpoint=localhost:{server.getsockname()[1]}"
        )
        beam_map.parse_options(f"{place},of_the_server=2")
    with pytest.raises(InputError, match="got no job server at localhost:"):
        beam_map.parse_options(place)


@pytest.mark.parametrize(
    ("options", "here"),
    [
        ("direct_num_workers=2", True),  # none given
        ("runner=DirectRunner", True),
        ("runner=directrunner", True),
        ("runner=BundleBasedDirectRunner", True),
        ("runner=SwitchingDirectRunner", True),
        ("runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner", True),
        ("runner=PortableRunner,job_endpoint=embed", False),
    ],
)
def test_a_bucket_is_for_workers_of_this_machine(options, here):
    place = "gs://speech/datasets"
    build._beam_options(options, "/mnt/datasets")
    if here:
        build._beam_options(options, place)
        return
    with pytest.raises(InputError, match=f"all workers mount, got {place}") as caught:
        build._beam_options(options, place)
    assert "\n" not in str(caught.value)


def test_a_bucket_with_workers_elsewhere_is_refused_before_the_work(tmp_path):
    data = config_for("", tmp_path)
    data.tfds_dir = "gs://speech/datasets"
    with pytest.raises(InputError, match="all workers mount, got gs://speech/datasets"):
        build.ensure_built(data, beam="runner=PortableRunner,job_endpoint=embed")


def test_without_beam_the_command_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[beam\]'"):
        build.ensure_built(config_for("", tmp_path), beam=HERE)


@pytest.mark.slow
def test_the_command_builds_in_processes(tmp_path):
    data = manifest_config(small_manifest(tmp_path / "c", rows=70), tmp_path / "here")
    (tmp_path / "c" / "5.wav").write_bytes(b"")
    data.vtlp_copies = 2
    here = build.ensure_built(data)
    keys = ("manifest", "corpus", "recipe", "file_format", "vtlp_copies")
    command = ["run.py", "build", "--config=configs/area_attn.py"]
    command += [f"--config.data.{key}={data[key]}" for key in keys]
    command += [f"--config.data.tfds_dir={tmp_path / 'beam'}"]
    done = subprocess.run(
        [sys.executable, *command, f"--beam={PROCESSES}2"],
        check=True,
        capture_output=True,
        text=True,
    )
    first, second, _ = done.stdout.splitlines()
    assert "69 utterances" in second and "1 left out" in second
    assert_same(first, here)


@pytest.mark.slow
def test_processes_encode_what_is_not_there_yet(tones, tmp_path, monkeypatch):
    """What this machine had encoded before is read back by the workers."""
    monkeypatch.setattr(state_extraction, "PART", 12)
    folder = encoder_folder.write(tmp_path / "encoder")
    config = encoder_folder.tiny_config(tones, str(tmp_path / "here"), folder)
    kept, write = [], state_extraction.StateExtraction._write

    def copied(self, name, stored):
        write(self, name, stored)
        kept.append(self._folder / f"{name}.npz")
        shutil.copy(kept[-1], tmp_path)

    with monkeypatch.context() as patch:
        patch.setattr(state_extraction.StateExtraction, "_write", copied)
        here = records(experiment.ensure_built(config))
    assert len(here) == 48 and len(kept) == 4
    config.data.tfds_dir = str(tmp_path / "beam")
    # As a build that was killed left it, but for the numbers, to know them again.
    part = tmp_path / "beam" / kept[1].relative_to(tmp_path / "here")
    part.parent.mkdir(parents=True)
    with np.load(tmp_path / part.name) as stored:
        np.savez(part, **{**stored, "frames": np.zeros_like(stored["frames"])})
    beam = experiment.ensure_built(config, f"{PROCESSES}1")
    found = records(beam)
    assert found.keys() == here.keys()
    assert sum(found[key] != here[key] for key in here) == 12
    assert not [*Path(config.data.tfds_dir).glob("encoded/*/*")]
