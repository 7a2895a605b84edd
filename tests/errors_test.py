"""Whose fault a failure of a disk is."""

import errno
import os

import pytest

from ser_jax.errors import InputError, writing


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("inside", [None, "part.tmp"])
def test_what_a_disk_refuses_names_the_target_and_the_setting(number, inside, tmp_path):
    file = inside and str(tmp_path / inside)
    with (
        pytest.raises(InputError) as caught,
        writing(tmp_path / "x", "--out"),
    ):
        raise OSError(number, os.strerror(number), file)
    text = f"cannot write {tmp_path / 'x'}: {os.strerror(number)}. Free space"
    assert str(caught.value).startswith(text) and "or set --out" in str(caught.value)


def test_what_libraries_wrap_is_recognised(tmp_path):
    error = ValueError(f"RESOURCE_EXHAUSTED: {os.strerror(errno.ENOSPC)} [path]")
    with pytest.raises(InputError, match="No space left"), writing(tmp_path / "x"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied", "/corpus/a.wav"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        ValueError("a bug"),
        RuntimeError("another"),
    ],
)
def test_other_failures_pass(error, tmp_path):
    with pytest.raises(type(error)) as caught, writing(tmp_path / "x"):
        raise error
    assert caught.value is error
