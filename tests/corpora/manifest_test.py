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


def test_sessions_that_fall_together_are_numbered(tmp_path):
    sessions = ("день", "ночь", "d 1", "d-1", "d-1_2", "3", "session3")
    names = [f"{i}.wav" for i in range(7)]
    rows = "".join(f"wav/{n},sad,1,{x}\n" for n, x in zip(names, sessions, strict=True))
    file = write(tmp_path, f"path,emotion,speaker,session\n{rows}", names)
    got = [u.session for u in manifest.read(file)]
    assert got == [
        "session____",
        "session_____2",
        "d_1",
        "d_1_2",
        "d_1_2_2",
        "session3",
        "session3_2",
    ]


def test_many_and_long_sessions_become_short_names_of_their_own(tmp_path):
    sessions = [f"{'x' * 300}{n}" for n in range(2000)]
    rows = "".join(f"wav/a.wav,{n},sad,1,{x}\n" for n, x in enumerate(sessions))
    file = write(tmp_path, f"path,id,emotion,speaker,session\n{rows}")
    got = {u.session for u in manifest.read(file)}
    assert len(got) == 2000 and max(map(len, got)) < 80


def test_unusable_rows_are_listed_with_reasons(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    (tmp_path / "secret.wav").write_bytes(b"")
    (folder / "wav").mkdir()
    (folder / "wav" / "._a.wav").write_bytes(b"")
    file = write(
        folder,
        "id,path,emotion,speaker\n"
        "ok,wav/a.wav,sad,1\n"
        "up,../secret.wav,sad,1\n"
        f"abs,{tmp_path / 'secret.wav'},sad,1\n"
        "apple,wav/._a.wav,sad,1\n"
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
        ("apple", "Apple metadata"),
        ("gone", "missing wav"),
        ("dir", "missing wav"),
        ("ok", "duplicate id"),
        ("nolabel", "empty label"),
        ("nospeaker", "empty speaker"),
        ("nopath", "empty path"),
        ("wide", "malformed row"),
        ("short", "empty speaker"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,mood,speaker\nwav/a.wav,sad,1\n", "emotion.*got path, mood, speaker"),
        ("path;mood;speaker\nwav/a.wav;sad;1\n", "separated by ';'"),
        ("", "no header"),
        ("path,emotion,speaker\n", "no usable row.*no rows"),
        ("path,emotion,speaker\nwav/c.wav,sad,1\n", "no usable row.*missing wav"),
        ("path,emotion,speaker,path\nwav/a.wav,sad,1,x\n", "path twice"),
        ('path,emotion,speaker\nwav/a.wav,"sad,1\n', "line 2: expected every quote"),
    ],
)
def test_unusable_file_is_an_error(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        manifest.read(write(tmp_path, text))


def test_absent_or_binary_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*absent\.csv"):
        manifest.read(tmp_path / "absent.csv")
    file = tmp_path / "binary.csv"
    file.write_bytes(os.fsencode("path,emotion,speaker\n") + b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        manifest.read(file)


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("wav\\a.wav", "write wav/a.wav"),
        ("WAV/A.WAV", "write wav/a.wav"),
        ("wav/u\u0308.wav", "write wav/\u00fc.wav in its own Unicode form"),
        ("https://x.org/wav/a.wav", "download it first"),
        ("C:\\wav\\a.wav", "write it relative to"),
        ("~/wav/a.wav", "write it relative to"),
        ("wav", "it is a folder"),
        ("file:///data/wav/a.wav", "without file://"),
        ("wav/gone.wav", "got no file. Paths"),
    ],
)
def test_the_first_missing_path_comes_with_the_hint_that_fits(tmp_path, written, hint):
    text = f"path,emotion,speaker\n{written},sad,1\nwav/other.wav,sad,1\n"
    file = write(tmp_path, text, wavs=("a.wav", "\u00fc.wav"))
    with pytest.raises(
        InputError, match="missing wav.* 2.*line 2: expected /"
    ) as caught:
        manifest.read(file)
    assert hint in str(caught.value)


def test_links_are_followed_and_named(tmp_path, caplog):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.wav").write_bytes(b"")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "wav").symlink_to(tmp_path / "disk")
    (corpus / "b.wav").symlink_to(tmp_path / "disk" / "a.wav")
    (corpus / "gone.wav").symlink_to(tmp_path / "disk" / "gone.wav")
    (corpus / "loop").symlink_to(corpus)
    paths = ("wav/a.wav", "b.wav", "loop/loop/b.wav", "gone.wav")
    rows = "".join(f"{path},sad,1\n" for path in paths)
    (corpus / "manifest.csv").write_text(f"path,emotion,speaker\n{rows}")
    excluded = []
    with caplog.at_level("INFO", logger="ser_jax"):
        kept = [*manifest.read(corpus / "manifest.csv", excluded=excluded)]
    assert [u.id for u in kept] == ["b", "loop/loop/b", "wav/a"]
    assert [(e.id, e.reason) for e in excluded] == [("gone.wav", "missing wav")]
    assert f"{corpus / 'wav'} is a link to {tmp_path / 'disk'}" in caplog.text


def test_a_manifest_reached_by_a_link_still_holds_its_absolute_paths(tmp_path):
    file = write(tmp_path, f"path,emotion,speaker\n{tmp_path / 'wav/a.wav'},sad,1\n")
    (tmp_path / "other").symlink_to(tmp_path)
    assert next(manifest.read(tmp_path / "other" / file.name)).id == "wav/a"


def test_one_recording_with_two_labels_is_left_out_and_both_lines_are_named(tmp_path):
    rows = "wav/a.wav,sad,1\nwav/b.flac,sad,1\nwav/a.wav,happy,1\nwav/a.wav,angry,1\n"
    file = write(tmp_path, f"path,emotion,speaker\n{rows}")
    excluded = []
    assert [u.id for u in manifest.read(file, excluded=excluded)] == ["wav/b"]
    assert {(e.id, e.reason) for e in excluded} == {
        ("wav/a", "two labels for one recording")
    }
    assert len(excluded) == 3  # one for each row
    assert "line 2 (sad) and in line 4 (happy)" in excluded[0].detail
    file = write(tmp_path, "path,emotion,speaker\nwav/a.wav,Sad,1\nwav/a.wav,sad,1\n")
    (kept,) = manifest.read(file, excluded=excluded)  # spellings are no contradiction
    assert kept.emotion == "Sad" and excluded[-1].reason == "duplicate id"


def test_links_in_circles_and_names_that_no_file_has_are_missing(tmp_path):
    rows = "wav/a.wav,sad,1\nwav/loop.wav,sad,1\nwav/gone.wav,sad,1\n\0.wav,sad,1\n"
    file = write(tmp_path, f"path,emotion,speaker\n{rows}")
    (tmp_path / "wav" / "loop.wav").symlink_to(tmp_path / "wav" / "loop.wav")
    (tmp_path / "wav" / "gone.wav").symlink_to(tmp_path / "nowhere")
    excluded = []
    assert [u.id for u in manifest.read(file, excluded=excluded)] == ["wav/a"]
    assert [e.reason for e in excluded] == ["missing wav"] * 3
    assert all("a link to nothing" in e.detail for e in excluded[:2])


def test_each_folder_is_listed_once_however_many_rows_are_wrong(tmp_path, monkeypatch):
    listed = []
    original = os.scandir
    monkeypatch.setattr(os, "scandir", lambda x: listed.append(x) or original(x))
    rows = "".join(f"WAV\\{n}.wav,sad,1\n" for n in range(50))
    file = write(tmp_path, f"path,emotion,speaker\nwav/a.wav,sad,1\n{rows}")
    list(manifest.read(file))
    assert len(listed) == len({*listed}) <= 3


@pytest.mark.skipif(not EMODB.is_file(), reason=f"EMO-DB is not at {EMODB}")
def test_emodb_is_read_whole():
    excluded = []
    turns = list(manifest.read(EMODB, excluded=excluded))
    assert len(turns) == 535  # Burkhardt et al. (2005)
    assert len({u.speaker for u in turns}) == 10
    assert len({u.emotion for u in turns}) == 7
    assert {u.extra["text_code"] for u in turns} >= {"a01", "b10"}
    assert not excluded
