"""Whose fault an error is: the bucket's, or this machine's."""

import errno
import importlib
import os

import pytest

from ser_jax import bucket
from ser_jax.errors import InputError


def test_no_bucket_is_asked_for_its_kind_by_grpc():
    """Which would wait for minutes wherever gRPC does not get through, at each request."""
    pytest.importorskip("gcsfs")
    kinds = {kind.__name__ for kind in type(bucket.file_system("gs")).__mro__}
    assert "GCSFileSystem" in kinds and "ExtendedGcsFileSystem" not in kinds


def test_a_damaged_local_record_is_not_the_bucket_s_fault():
    message = importlib.import_module("google.protobuf.message")
    with pytest.raises(message.DecodeError), bucket.faults("gs://speech/w"):
        raise message.DecodeError("Error parsing message")


@pytest.mark.parametrize(
    ("module", "ours"),
    [
        ("google.auth.exceptions", True),
        ("google.api_core.exceptions", True),
        ("google.cloud.exceptions", True),
        ("gcsfs.retry", True),
        ("botocore", True),
        ("google.authors", False),
        ("google.protobuf.message", False),
        ("requests_toolbelt", False),
    ],
)
def test_clients_are_known_by_their_modules(module, ours):
    kind = type("Fault", (Exception,), {"__module__": module})
    with pytest.raises(InputError if ours else kind), bucket.faults():
        raise kind("gone")


class _Full:
    """A file system that meets a full local disk."""

    def find(self, prefix, **_):
        return {f"{prefix}a": {"size": 3}}

    def get_file(self, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_named_and_not_the_bucket(tmp_path, monkeypatch):
    monkeypatch.setattr(bucket, "file_system", lambda scheme: _Full())
    with pytest.raises(InputError) as caught:
        bucket.download("gs://speech/data", tmp_path / "data")
    said = str(caught.value)
    assert said.startswith(f"cannot write {tmp_path / 'data'}: No space left on device")
    assert "gs://" not in said and "\n" not in said
    assert not [*tmp_path.iterdir()]
