"""What a bucket has is whole or not there, and what goes wrong is one line."""

import http.server
import json
import threading
import time

import fsspec
import numpy as np
import pytest
from etils import epath

from ser_jax import bucket
from ser_jax.datasets import mirror
from ser_jax.errors import InputError
from ser_jax.workdir import checkpoint, files, lock, metrics_log
from ser_jax.workdir.workdir import Workdir
from tests import buckets

# Servers start: about a second each.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["gs", "s3"])
def server(request):
    with (
        pytest.MonkeyPatch.context() as patch,
        buckets.emulator(request.param, patch) as url,
    ):
        yield url


@pytest.fixture
def store(server, request):
    """A folder of its own in an emulated bucket."""
    return epath.Path(server, request.node.name.partition("[")[0])


@pytest.fixture
def dataset(tmp_path):
    """Two shards and their info, as a build leaves them."""
    folder = tmp_path / "built"
    folder.mkdir()
    for name, size in (("a.array_record", 3_000_000), ("b.array_record", 10)):
        (folder / name).write_bytes(b"x" * size)
    (folder / "dataset_info.json").write_text("{}")
    (folder / ".lock").touch()
    (folder / "flat_channels1").mkdir()
    (folder / "flat_channels1" / "frames.npy").write_bytes(b"cache")
    return folder


def fail(*_args):
    raise AssertionError("built again")


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def cut_at(patch, store, name: str) -> None:
    """Lets every upload of a file of that name fail."""
    fs = bucket.file_system(str(store).partition("://")[0])
    put = fs.put_file

    def cut(local, remote, **options):
        if remote.endswith(name):
            raise OSError("the network is gone")
        return put(local, remote, **options)

    patch.setattr(fs, "put_file", cut)


@pytest.fixture
def unchecked(monkeypatch):
    """Our shards are of no TFDS builder."""
    monkeypatch.setattr(mirror, "_check", lambda folder, remote: None)


@pytest.mark.usefixtures("unchecked")
def test_an_upload_cut_in_the_middle_is_no_dataset(
    store, dataset, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        cut_at(patch, store, "b.array_record")
        with pytest.raises(
            InputError, match="cannot reach .*the network is gone.* repeat"
        ):
            mirror.settle(str(store), dataset, fail)
    assert not (store / "dataset_info.json").exists()
    # Elsewhere it is not there yet, so it is built; here it goes on.
    built = []
    with pytest.raises(FileNotFoundError):
        mirror.settle(str(store), tmp_path / "other", lambda: built.append(1))
    assert built
    mirror.settle(str(store), dataset, fail)
    whole = ["a.array_record", "b.array_record", "dataset_info.json"]
    assert names(store) == whole  # neither locks nor caches
    mirror.settle(str(store), tmp_path / "other", fail)
    assert names(tmp_path / "other") == whole
    for name in whole:
        assert (tmp_path / "other" / name).read_bytes() == (dataset / name).read_bytes()


@pytest.mark.usefixtures("unchecked")
def test_a_download_cut_in_the_middle_is_no_dataset(
    store, dataset, tmp_path, monkeypatch
):
    mirror.settle(str(store), dataset, fail)
    fs = bucket.file_system(str(store).partition("://")[0])
    get = fs.get_file

    def cut(remote, local, **options):
        get(remote, local, **options)
        if remote.endswith("a.array_record"):
            with open(local, "r+b") as file:
                file.truncate(1_000_000)

    with monkeypatch.context() as patch:
        patch.setattr(fs, "get_file", cut)
        with pytest.raises(InputError, match="has 1000000 bytes, expected 3000000"):
            mirror.settle(str(store), tmp_path / "other", fail)
    assert not [x for x in tmp_path.iterdir() if x.name.startswith("other")]
    mirror.settle(str(store), tmp_path / "other", fail)
    assert len(names(tmp_path / "other")) == 3


@pytest.mark.usefixtures("unchecked")
def test_a_dataset_that_was_built_again_is_fetched_again(store, dataset, tmp_path):
    mirror.settle(str(store), dataset, fail)
    here = tmp_path / "here"
    mirror.settle(str(store), here, fail)
    before = (here / "a.array_record").stat().st_ino
    mirror.settle(str(store), here, fail)
    assert (here / "a.array_record").stat().st_ino == before  # nothing to do
    (store / "b.array_record").write_bytes(b"new")
    (store / "dataset_info.json").write_text('{"again": 1}')
    mirror.settle(str(store), here, fail)
    assert (here / "b.array_record").read_bytes() == b"new"


def save(store, value: float) -> None:
    """A checkpoint with one array of one number."""
    states, records = {"x": np.full(3, value)}, [checkpoint.RunRecord()]
    snapshot = checkpoint.Snapshot(states, {}, {}, records)
    checkpointer = checkpoint.Checkpointer(store, provenance={"config": {}})
    checkpointer.save(snapshot, normalisation={})
    checkpointer.close()


def saved(store) -> float:
    """The number in the newest checkpoint."""
    return checkpoint.read_newest(store).arrays["last/x"][0]


def test_a_checkpoint_cut_in_the_middle_leaves_the_one_before(store, monkeypatch):
    assert checkpoint.read_newest(store) is None
    save(store, 0.0)
    with monkeypatch.context() as patch:
        cut_at(patch, store, "/meta/metadata")
        with pytest.raises(InputError, match="cannot reach .*/1: the network is gone"):
            save(store, 1.0)
    assert names(store / "checkpoints" / "1")  # a part of it
    assert saved(store) == 0.0
    assert Workdir(store).has_checkpoint()
    for value in (2.0, 3.0, 4.0):
        save(store, value)
        assert saved(store) == value
    assert names(store / "checkpoints") == ["2", "3"]  # the cut one was written again


def test_the_second_process_is_told_who_holds_the_bucket(store, monkeypatch):
    monkeypatch.setattr(lock, "_SETTLE_S", 0.1)
    with lock.lock(store):
        holder = json.loads((store / ".lock.json").read_text())
        with pytest.raises(InputError, match="in use by process .*three minutes"):
            lock.lock(store).__enter__()
        # Even if both looked before either signed: the bucket itself decides.
        monkeypatch.setattr(lock, "_read_holder", lambda path: None)
        monkeypatch.setattr(bucket, "read", lambda path: None)
        with pytest.raises(InputError, match="in use by another process"):
            lock.lock(store).__enter__()
        monkeypatch.undo()
        assert json.loads((store / ".lock.json").read_text()) == holder
    assert not (store / ".lock.json").exists()


def test_a_stale_signature_is_taken_over_by_one(store, monkeypatch):
    monkeypatch.setattr(lock, "_SETTLE_S", 0.1)
    stale = {"host": "other", "pid": 7, "since": 0.0, "renewed": 0.0}
    (store / ".lock.json").write_text(json.dumps(stale))
    with lock.lock(store):
        assert json.loads((store / ".lock.json").read_text())["host"] != "other"
    (store / ".lock.json").write_text(json.dumps(stale))
    fresh = stale | {"renewed": time.time()}
    # Somebody who saw it stale as well deletes ours and signs.
    monkeypatch.setattr(
        lock.time, "sleep", lambda s: files.write_json(store / ".lock.json", fresh)
    )
    with pytest.raises(InputError, match="in use by process 7 on other"):
        lock.lock(store).__enter__()


def test_lines_are_added_to_an_object(store):
    rows = [
        {"epoch": n, "seed": 0, "fold": "a", "update": n, "val_ua": 0.5} for n in (1, 2)
    ]
    for row in rows:
        metrics_log.append(store / "metrics.jsonl", [row])
    assert metrics_log.read(store / "metrics.jsonl") == rows
    metrics_log.truncate(store / "metrics.jsonl", {(0, "a", None): 1})
    assert metrics_log.read(store / "metrics.jsonl") == rows[:1]


def test_what_others_write_is_seen(store):
    files.write_json(store / "a.json", {"a": 1})
    assert names(store) == ["a.json"]
    fs = fsspec.filesystem(str(store).partition("://")[0], skip_instance_cache=True)
    fs.pipe_file(str(store / "b.json"), b"{}")
    assert names(store) == ["a.json", "b.json"]


def test_a_missing_bucket_is_one_line_and_is_not_made(server):
    scheme = server.partition("://")[0]
    with pytest.raises(InputError, match=f"expected the bucket {scheme}://absent") as e:
        Workdir(f"{scheme}://absent/w")
    assert "\n" not in str(e.value)
    assert not bucket.file_system(scheme).exists("absent")


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setattr(bucket.importlib.util, "find_spec", lambda name: None)
    bucket.file_system.cache_clear()
    with pytest.raises(
        InputError, match="extra `bucket`, .*pip install -e '.\\[bucket"
    ):
        Workdir("s3://speech/w")


class _Refuses(http.server.BaseHTTPRequestHandler):
    """Answers as a store does to keys that it does not know."""

    def do_GET(self):
        self.send_response(403)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b'{"error": {"code": 403, "message": "Forbidden"}}')

    do_HEAD = do_PUT = do_POST = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def refusing():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_wrong_credentials_are_one_line(scheme, refusing, monkeypatch):
    buckets.needed(scheme)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", refusing)
    monkeypatch.setenv("AWS_ENDPOINT_URL", refusing)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    buckets.forget()
    with pytest.raises(InputError, match="Check the credentials") as caught:
        Workdir(f"{scheme}://speech/w")
    assert "\n" not in str(caught.value)
    buckets.forget()


def test_no_credentials_are_one_line(monkeypatch, tmp_path):
    buckets.needed("s3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    buckets.forget()
    with pytest.raises(InputError, match="NoCredentialsError.*AWS_PROFILE"):
        Workdir("s3://speech/w")
    buckets.forget()


def test_a_request_that_nobody_answers_is_sent_again(monkeypatch):
    buckets.needed("gs")
    uploads = []

    class SilentOnce(_Refuses):
        def do_POST(self):
            uploads.append(self.rfile.read(int(self.headers["Content-Length"])))
            if len(uploads) == 1:
                time.sleep(3)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"name": "a", "size": "4", "generation": "1"}')

    monkeypatch.setattr(bucket, "_SILENCE_S", 0.3)
    monkeypatch.setattr(bucket, "_REQUEST_S", 2)  # the end, before the server hangs up
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), SilentOnce) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", place)
        monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        buckets.forget()
        bucket.write("gs://speech/a", b"half", only_new=True)
        server.shutdown()
    buckets.forget()
    first, second = uploads
    assert first == second and b"half" in first
