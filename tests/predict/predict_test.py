"""The command as a user meets it: tables, files, timelines, exit codes."""

import csv
import functools
import io
import itertools
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from praatio import textgrid

from ser_jax.errors import InputError
from ser_jax.predict import predict


@pytest.fixture(scope="module")
def from_workdir():
    """One recognizer per workdir and run, so that its programs compile once."""
    return functools.cache(predict.Recognizer.from_workdir)


@pytest.fixture(autouse=True)
def shared_recognizers(monkeypatch, from_workdir):
    monkeypatch.setattr(predict.Recognizer, "from_workdir", from_workdir)


def _rows(path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_manifest_is_answered_and_scored(workdirs, tones, tmp_path, capsys):
    """All 48 tones, whose labels and ids the workdir was trained on."""
    out = tmp_path / "x.csv"
    code = predict.predict(workdirs("area_attn"), [str(tones)], out=str(out))
    printed = capsys.readouterr().out
    rows, labels = _rows(out), {row["path"]: row["emotion"] for row in _rows(tones)}
    assert code == 0 and len(rows) == len(labels) == 48
    wa = np.mean([labels[row["file"]] == row["label"] for row in rows])
    assert "Against 48 labels: UA " in printed and f"WA {wa:.2%}" in printed
    assert "Not a test result: 48 of them" in printed and "mean of 2 runs" in printed
    for row in rows:
        values = {k[2:]: float(v) for k, v in row.items() if k.startswith("p_")}
        assert sum(values.values()) == pytest.approx(1.0, abs=1e-5)
        assert max(values, key=values.get) == row["label"]
        assert row["model"] == "area_attn" and row["corpus"] == tones.parent.name


def test_a_bad_file_among_good_ones_is_reported_last(workdirs, tones, tmp_path, capsys):
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(tones.parent / "s1_low_0.wav", folder / "deep" / "good.WAV")
    (folder / "bad.flac").write_text("not sound")
    out = tmp_path / "x.jsonl"
    names = [str(folder), str(tmp_path / "nowhere.wav")]
    assert predict.predict(workdirs("area_attn"), names, out=str(out)) == 1
    printed = capsys.readouterr()
    assert (
        "2 of 3 recordings failed" in printed.err
        and "bad.flac: unreadable" in printed.err
    )
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [Path(x["file"]).name for x in lines] == [
        "bad.flac",
        "good.WAV",
        "nowhere.wav",
    ]
    assert [x["error"] is None for x in lines] == [False, True, False]
    good = lines[1]
    assert good["classes"] == ["high", "low", "mid"] == list(good["probabilities"])
    assert good["label"] in good["classes"] and good["model"] == "area_attn"
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_table_that_cannot_be_written_is_named(workdirs, tones, tmp_path, suffix):
    out = tmp_path / f"x{suffix}"
    out.with_name(out.name + ".part").symlink_to("/dev/full")
    with pytest.raises(InputError, match=f"cannot write {out}: No space left.*--out"):
        predict.predict(
            workdirs("area_attn"), [str(tones.parent / "s1_low_0.wav")], out=str(out)
        )


def test_a_table_does_not_replace_what_it_answers(workdirs, tones, tmp_path):
    table = tmp_path / "m.csv"
    table.write_text(f"path\n{tones.parent / 's1_low_0.wav'}\n")
    with pytest.raises(InputError, match="--out: expected another file"):
        predict.predict(workdirs("area_attn"), [str(table)], out=str(table))
    assert table.read_text().startswith("path\n")


def test_names_that_no_terminal_shows_fail_alone(workdirs, tones, tmp_path, capsys):
    folder = os.fsencode(tmp_path / "in")
    os.mkdir(folder)
    sound = (tones.parent / "s1_low_0.wav").read_bytes()
    for name, content in (
        (b"caf\xe9.wav", sound),
        (b"esc\x1b[31m\n.wav", b"no sound"),
        (b"good.wav", sound),
        (b"return\r.wav", b"no sound"),
    ):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
    out = tmp_path / "x.csv"
    recordings = [str(tmp_path / "in")]
    assert predict.predict(workdirs("area_attn"), recordings, out=str(out)) == 1
    printed = capsys.readouterr()
    assert "caf\\xe9.wav: unreadable: expected a name in UTF-8" in printed.err
    assert "esc\\x1b[31m\\n.wav: unreadable" in printed.err
    assert not {"\x1b", "\udce9"} & {*printed.out, *printed.err}
    rows = _rows(out)
    assert [bool(row["label"]) for row in rows] == [False, False, True, False]
    assert rows[3]["file"].endswith("return\r.wav") and b"\r\n" not in out.read_bytes()
    assert rows[0]["file"].endswith("caf\\udce9.wav")


def test_manifests_as_people_write_them(workdirs, tones, tmp_path, capsys):
    """Blanks around cells, an empty path, an empty text, a `$` in a name."""
    shutil.copy(tones.parent / "s1_low_0.wav", tmp_path / "a_$5_$6.wav")
    manifest = tmp_path / "m.csv"
    manifest.write_text(" path , emotion ,text\na_$5_$6.wav , low,\n,mid,\n")
    out = tmp_path / "x.csv"
    assert predict.predict(workdirs("area_attn"), [str(manifest)], out=str(out))
    printed = capsys.readouterr()
    assert (
        "Against 1 labels" in printed.out and "1 of 2 recordings failed" in printed.err
    )
    assert "m.csv, line 3: empty path" in printed.err
    assert predict.predict(
        workdirs("area_attn"), [str(manifest)], out=str(tmp_path / "t"), window_s=0.5
    )
    assert (tmp_path / "t" / "a__5__6.png").exists()


def test_a_kill_keeps_the_rows_so_far(workdirs, tones, tmp_path, monkeypatch):
    out, files = tmp_path / "x.csv", sorted(map(str, tones.parent.glob("s1_*.wav")))
    original, so_far = predict.Recognizer.answers, []

    def killed(self, recordings):
        yield next(original(self, recordings))
        so_far.extend(row["file"] for row in _rows(tmp_path / "x.csv.part"))
        raise KeyboardInterrupt

    monkeypatch.setattr(predict.Recognizer, "answers", killed)
    with pytest.raises(KeyboardInterrupt):
        predict.predict(workdirs("area_attn"), files, out=str(out))
    assert not out.exists()
    assert [row["file"] for row in _rows(tmp_path / "x.csv.part")] == files[:1]
    assert so_far == files[:1]  # before the file was closed: kill -9 keeps it too


def test_a_timeline_is_a_table_a_textgrid_and_a_picture(workdirs, tmp_path, capsys):
    """3.1 s of two tones: windows of 1 s every 0.5 s, the whole span labelled."""
    t = np.arange(int(3.1 * 16_000)) / 16_000
    tone = 0.3 * np.sin(2 * np.pi * np.where(t < 1.55, 300.0, 2700.0) * t)
    for name in ("a/x.wav", "b/x.wav"):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, tone, 16_000)
    out = tmp_path / "out"
    options = {"out": str(out), "window_s": 1.0, "hop_s": 0.5}
    names = [str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "no.wav")]
    assert predict.predict(workdirs("area_attn"), names, **options) == 1
    tables = sorted(out.glob("*.csv"))
    assert len(tables) == len({p.name for p in tables}) == 2
    for table in tables:
        rows = _rows(table)
        assert [row["start_s"] for row in rows] == [
            *("0.000", "0.500", "1.000", "1.500", "2.000", "2.500")
        ]
        assert rows[-1]["end_s"] == "3.100"
        grid = textgrid.openTextgrid(str(table.with_suffix(".TextGrid")), False)
        entries = grid.getTier("emotion").entries
        assert entries[0].start == 0 and entries[-1].end == pytest.approx(3.1)
        for one, next_ in itertools.pairwise(entries):
            assert one.end == next_.start and one.label != next_.label
        assert entries[0].label == rows[0]["label"]  # only that window covers 0 s
        assert table.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ([], {}, "recordings, folders, manifests"),
        (["{empty}"], {}, "Expected recordings"),
        (["x.wav"], {"out": "x.txt"}, r"\.csv or \.jsonl"),
        (["x.wav"], {"out": "/no/such/folder/x.csv"}, "cannot write .*--out"),
        (["x.wav"], {"out": "x.csv", "window_s": 2.0}, "expected a folder"),
        (["x.wav"], {"run": "s1"}, "--run: expected"),
        (["{empty}/no.csv"], {}, "cannot read .*no.csv"),
        (["x.wav"], {"labels": "a=b"}, "--labels"),
        (["-", "-"], {}, "`-` once"),
        (["{wav}"], {"window_s": float("nan")}, "hop <= window"),
    ],
)
def test_wrong_options_are_one_line(
    workdirs, tones, tmp_path, names, options, message, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    names = [x.replace("{wav}", str(tones.parent / "s1_low_0.wav")) for x in names]
    names = [name.replace("{empty}", str(tmp_path)) for name in names]
    with pytest.raises(InputError, match=message):
        predict.predict(workdirs("area_attn"), names, **options)


def test_standard_input_is_read_like_a_file(workdirs, tones, capsys, monkeypatch):
    wav, rows = tones.parent / "s1_low_0.wav", []
    stdin = io.TextIOWrapper(io.BytesIO(wav.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    for name in ("-", str(wav)):
        assert predict.predict(workdirs("area_attn"), [name]) == 0
        rows.append(capsys.readouterr().out.splitlines()[1].split()[1:])
    assert rows[0] == rows[1] and rows[0][0] in ("low", "mid", "high")
