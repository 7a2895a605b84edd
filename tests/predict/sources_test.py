"""What folders and tables of a command line hold."""

import errno
import os
import sys

import pytest

from ser_jax.errors import InputError
from ser_jax.features import audio
from ser_jax.features.audio import AudioError
from ser_jax.predict import sources


def test_folders_are_walked_through_links_but_not_in_circles(tmp_path, caplog):
    for name in ("in/a.wav", "in/b/c.FLAC", "real/d.wav", "in/._a.wav", "in/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "in/__MACOSX").mkdir()
    (tmp_path / "in/__MACOSX/e.wav").touch()
    (tmp_path / "in/a_link").symlink_to("../real")
    (tmp_path / "in/again").symlink_to("b")
    (tmp_path / "in/b/circle").symlink_to("..")
    with caplog.at_level("INFO", logger="ser_jax"):
        got = sources.expand([str(tmp_path / "in")])
    names = [source.name.removeprefix(f"{tmp_path}/in/") for source in got]
    assert names == ["a.wav", "a_link/d.wav", "b/c.FLAC"]
    assert f"a_link is a link to {tmp_path}/real" in caplog.text


def test_rows_without_a_path_are_named_by_their_line(tmp_path):
    table = tmp_path / "m.csv"
    table.write_bytes("path;emotion;\n;;\na.wav;anger;\n".encode("utf-16"))
    blank, whole = sources.expand([str(table)])
    assert (blank.name, blank.path) == ("m.csv, line 2", "")
    assert (whole.path, whole.label) == (str(tmp_path / "a.wav"), "anger")


@pytest.mark.parametrize(
    ("row", "reason", "words"),
    [
        ("a.wav,hello, world", "malformed row", "line 2: got 1 cells more"),
        ("._a.wav,hi", "Apple metadata", "expected a recording"),
        ("__MACOSX/a.wav,hi", "Apple metadata", "expected a recording"),
        ("A.WAV,hi", "missing file", "write a.wav"),
        ("file:///x/a.wav,hi", "missing file", "without file://"),
        (",hi", "empty path", "expected the path"),
    ],
)
def test_rows_that_cannot_be_used_fail_alone(row, reason, words, tmp_path):
    (tmp_path / "a.wav").touch()
    table = tmp_path / "m.csv"
    table.write_text(f"path,text\n{row}\na.wav,good\n")
    bad, good = sources.expand([str(table)])
    assert good.checked_path() == str(tmp_path / "a.wav") and good.text == "good"
    with pytest.raises(AudioError, match=words) as caught:
        audio.open_recording(bad.checked_path())
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("name", "words"),
    [("http://x.org/a.wav", "download it first"), ("FILE:///a.wav", "without file://")],
)
def test_addresses_come_with_a_hint(name, words):
    (source,) = sources.expand([name])
    assert source.name == name
    with pytest.raises(AudioError, match=words):
        source.checked_path()


def test_names_that_no_file_has_fail_alone(tmp_path):
    names = ["x" * 300 + ".wav", str(tmp_path / "\0.wav")]
    for source in sources.expand(names):
        with pytest.raises(AudioError, match="unreadable"):
            audio.open_recording(source.checked_path())


def test_a_closed_standard_input_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input; got a closed one"):
        sources.expand(["-"], stdin_to=str(tmp_path))


def test_folders_that_cannot_be_searched_are_named(tmp_path, caplog, monkeypatch):
    (tmp_path / "a.wav").touch()
    (tmp_path / "closed").mkdir()
    original = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert len(sources.expand([str(tmp_path)])) == 1
    assert f"not searched: {tmp_path}/closed: Permission denied" in caplog.text
