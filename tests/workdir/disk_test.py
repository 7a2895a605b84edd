"""A disk that is full or read-only: one line, and what was complete stays."""

import contextlib
import csv
import io
import json
import resource
import shutil

import numpy as np
import pytest

from ser_jax.datasets import build, store
from ser_jax.errors import InputError
from ser_jax.report import report
from ser_jax.workdir import checkpoint, files, metrics_log
from ser_jax.workdir.checkpoint import Checkpointer, RunRecord, Snapshot
from tests import conftest


@contextlib.contextmanager
def largest_file(num_bytes):
    """Writing more fails, as on a full disk, with another errno."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})
    with largest_file(100), pytest.raises(InputError) as caught:
        files.write_json(path, {"a": list(range(1000))})
    assert f"cannot write {path}: File too large" in str(caught.value)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_log_that_cannot_grow_keeps_its_lines(tmp_path):
    path, row = tmp_path / "m.jsonl", {"epoch": 1, "seed": 0, "fold": "a"}
    metrics_log.append(path, [row])
    with largest_file(60), pytest.raises(InputError, match="cannot write .*m.jsonl"):
        metrics_log.append(path, [row | {"epoch": 2, "text": "x" * 100}])
    assert metrics_log.read(path) == [row]


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path):
    noise = np.random.default_rng(0).standard_normal
    normalisation = {"mean": np.zeros(2), "std": np.ones(2)}

    def snapshot(size, epoch):
        return Snapshot({"w": noise(size)}, {}, {}, [RunRecord(updates=epoch)])

    writer = Checkpointer(tmp_path, provenance={"config": {}})
    writer.save(snapshot(10, 1), normalisation=normalisation)
    writer._manager.wait_until_finished()
    with largest_file(20_000), pytest.raises(InputError) as caught:
        writer.save(snapshot(100_000, 2), normalisation=normalisation)
        writer.close()
    assert f"cannot write {tmp_path / 'checkpoints'}: " in str(caught.value)
    assert "File too large" in str(caught.value) and "\n" not in str(caught.value)
    stored = checkpoint.read_newest(tmp_path)
    assert stored.meta["epoch"] == 1 and stored.arrays["last/w"].shape == (10,)


def test_a_report_that_cannot_be_written_leaves_the_one_before(quick_workdir, tmp_path):
    shutil.copytree(quick_workdir, tmp_path / "w")
    page = tmp_path / "w" / "report.html"
    page.write_text("the one before")
    with largest_file(20_000), pytest.raises(InputError, match="cannot write .*: File"):
        report.write_report(tmp_path / "w")
    assert page.read_text() == "the one before"


def test_a_dataset_that_cannot_be_written_leaves_nothing(quick_config, tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    data = quick_config.data
    data.manifest = str(conftest.write_tones(folder, per_cell=2))
    data.tfds_dir = str(tmp_path / "tfds")
    with largest_file(20_000), pytest.raises(InputError) as caught:
        build.ensure_built(data)
    assert "cannot write" in str(caught.value) and "tfds_dir" in str(caught.value)
    assert not [*(tmp_path / "tfds").rglob("dataset_info.json")]
    assert not [*(tmp_path / "tfds").rglob("incomplete*")]
    assert store.load(build.ensure_built(data)).utterances


def test_line_ends_of_any_kind_in_a_cell_come_back(tmp_path):
    rows = [["a\rb", "1"], ["c\nd", "2"], ["e\r\nf", "3"]]
    files.write_csv(tmp_path / "x.csv", ["speaker", "number"], rows)
    content = (tmp_path / "x.csv").read_bytes().decode()
    assert [*csv.reader(io.StringIO(content, newline=""))][1:] == rows
    files.write_csv(tmp_path / "x.csv", ["a", "b"], [["c", "d"]])
    assert (tmp_path / "x.csv").read_bytes() == b"a,b\nc,d\n"


def test_names_that_are_not_utf8_are_written_with_escapes(tmp_path):
    files.write_json(tmp_path / "x.json", {"file": "caf\udce9"})
    files.write_csv(tmp_path / "x.csv", ["file"], [["caf\udce9"]])
    assert json.loads((tmp_path / "x.json").read_text()) == {"file": "caf\udce9"}
    assert (tmp_path / "x.csv").read_text() == "file\ncaf\\udce9\n"
