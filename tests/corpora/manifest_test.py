"""Rows of a CSV become utterances, or are listed with a reason."""

import os
from pathlib import Path

import pytest

from ser_jax.corpora import manifest
from ser_jax.errors import InputError

EMODB = Path(__file__).parents[3] / "shared/data/emodb/manifest.csv"


def write(folder, text, wavs=("a.wav", "b.flac"), encoding="utf-8"):
    for name in wavs:
        (folder / "wav").mkdir(exist_ok=True)
        (folder / "wav" / name).write_bytes(b"")
    file = folder / "manifest.csv"
    file.write_bytes(text.encode(encoding))
    return file


def test_required_columns_are_enough(tmp_path):
    file = write(
        tmp_path,
        "path,emotion,speaker\nwav/b.flac,sad,02\nwav/a.wav,happy,01\n",
        encoding="utf-8-sig",  # as spreadsheets save it
    )
    first, second = manifest.read(file)
    assert (first.id, first.emotion, first.speaker) == ("wav/a", "happy", "01")
    assert first.wav == str(tmp_path / "wav/a.wav")
    assert (first.session, first.text, first.gender) == ("session1", "", "")
    assert second.id == "wav/b"


def test_all_columns_are_kept(tmp_path):
    file = write(
        tmp_path,
        "id,path,emotion,speaker,session,text,language,gender,split,text_code\n"
        'u7,wav/a.wav,sad,s1,2,"Ja, nein: ""gut"".",de,female,test,a01\n'
        "u8,wav/b.flac,sad,s1,,,,x,,\n",
    )
    first, second = manifest.read(file)
    assert first.id == "u7"
    assert first.session == "session2"
    assert first.text == 'Ja, nein: "gut".'
    assert (first.language, first.gender, first.split) == ("de", "F", "test")
    assert dict(first.extra) == {"text_code": "a01"}
    assert (second.session, second.gender) == ("unknown", "")


@pytest.mark.parametrize(
    ("raw", "name"),
    [("all", "session_all"), ("day 1", "day_1"), ("3", "session3"), ("S1", "S1")],
)
def test_session_becomes_a_split_name(tmp_path, raw, name):
    file = write(tmp_path, f"path,emotion,speaker,session\nwav/a.wav,sad,1,{raw}\n")
    assert next(manifest.read(file)).session == name


def test_sessions_that_fall_together_are_refused(tmp_path):
    file = write(
        tmp_path,
        "path,emotion,speaker,session\nwav/a.wav,sad,1,d-1\nwav/b.flac,sad,1,d 1\n",
    )
    with pytest.raises(InputError, match="'d-1' and 'd 1' both become"):
        manifest.read(file)


def test_unusable_rows_are_listed_with_reasons(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    (tmp_path / "secret.wav").write_bytes(b"")
    (folder / "link.wav").symlink_to(tmp_path / "secret.wav")
    file = write(
        folder,
        "id,path,emotion,speaker\n"
        "ok,wav/a.wav,sad,1\n"
        "up,../secret.wav,sad,1\n"
        f"abs,{tmp_path / 'secret.wav'},sad,1\n"
        "link,link.wav,sad,1\n"
        "gone,wav/gone.wav,sad,1\n"
        "dir,wav,sad,1\n"
        "ok,wav/b.flac,happy,1\n"
        "nolabel,wav/a.wav,,1\n"
        "nospeaker,wav/a.wav,sad, \n"
        "nopath,,sad,1\n"
        "wide,wav/a.wav,sad,1,2,3\n"
        "short,wav/a.wav,sad\n",
    )
    excluded = []
    kept = list(manifest.read(file, excluded=excluded))
    assert [(u.id, u.emotion) for u in kept] == [("ok", "sad")]
    assert [(e.id, e.reason) for e in excluded] == [
        ("up", "path outside the folder"),
        ("abs", "path outside the folder"),
        ("link", "path outside the folder"),
        ("gone", "missing wav"),
        ("dir", "missing wav"),
        ("ok", "duplicate id"),
        ("nolabel", "empty label"),
        ("nospeaker", "empty speaker"),
        ("nopath", "empty path"),
        ("wav/a.wav", "malformed row"),
        ("short", "empty speaker"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,speaker\nwav/a.wav,sad,1\n", "emotion.*got path, label, speaker"),
        ("path;emotion;speaker\nwav/a.wav;sad;1\n", "comma-separated"),
        ("", "no header"),
        ("path,emotion,speaker\n", "no usable row.*no rows"),
        ("path,emotion,speaker\nwav/c.wav,sad,1\n", "no usable row.*missing wav"),
        ("path,emotion,speaker,path\nwav/a.wav,sad,1,x\n", "path twice"),
        ('path,emotion,speaker\nwav/a.wav,"sad,1\n', "not a CSV file"),
    ],
)
def test_unusable_file_is_an_error(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        manifest.read(write(tmp_path, text))


def test_absent_or_binary_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the manifest .*absent\.csv"):
        manifest.read(tmp_path / "absent.csv")
    file = tmp_path / "binary.csv"
    file.write_bytes(os.fsencode("path,emotion,speaker\n") + b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        manifest.read(file)


@pytest.mark.skipif(not EMODB.is_file(), reason=f"EMO-DB is not at {EMODB}")
def test_emodb_is_read_whole():
    excluded = []
    turns = list(manifest.read(EMODB, excluded=excluded))
    assert len(turns) == 535  # Burkhardt et al. (2005)
    assert len({u.speaker for u in turns}) == 10
    assert len({u.emotion for u in turns}) == 7
    assert {u.extra["text_code"] for u in turns} >= {"a01", "b10"}
    assert not excluded
