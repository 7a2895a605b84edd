"""`run.py corpora`: the list, and the page of a corpus in all its formats."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags

import run
from ser_jax.corpora import descriptions
from ser_jax.errors import InputError
from ser_jax.report import corpus_figures, corpus_report, plain_text
from ser_jax.report.document import Document, Section, Table
from tests.report.page import Page
from tests.survey import tree

ROOT = Path(__file__).parents[2]


def _run(*arguments):
    values = flags.FlagValues()
    run.define_flags(values)
    words = run.parse_flags(["run.py", "corpora", *map(str, arguments)], values)
    return run.main(words, values)


@pytest.fixture(name="looked", scope="module")
def _looked(tmp_path_factory):
    """(Folder of the page, text on the terminal)."""
    root = tree.write(tmp_path_factory.mktemp("emodb"))
    out = tmp_path_factory.mktemp("out")
    return out, corpus_report.look("emodb", str(root), str(out))


def _rows(text, name):
    """Cells of the line that begins with a name, as they stand on the terminal."""
    return [x.split() for x in text.splitlines() if x.split()[:1] == [name]]


def test_terminal_says_the_numbers(looked):
    folder, text = looked
    assert "2 speakers (10 published), 3 classes; 3 left out." in text
    # class, recordings, share, female, male, published, difference; then seconds:
    # recordings, shortest, median, longest, hours.
    neutral = ["neutral", "3", "50.0", "2", "1", "79", "-76"]
    assert _rows(text, "neutral") == [
        neutral,
        ["neutral", "3", "2.00", "3.00", "3.00", "0.00"],
    ]
    assert _rows(text, "disgust") == [["disgust", "0", "0.0", "0", "0", "46", "-46"]]
    assert _rows(text, "03") == [["03", "M", *"1000101", "3"]]
    assert _rows(text, "08") == [["08", "F", *"1000002", "3"]]
    assert _rows(text, "all") == [["all", "6", "1.00", "2.00", "3.00", "0.00"]]
    assert _rows(text, "8000") == [["8000", "2", "1", "0.00"]]
    assert _rows(text, "16000") == [["16000", "1", "5", "0.00"]]
    # Peaks: one of 1.0, of 0.1, the others of 0.5, which are -6 dB.
    assert _rows(text, "peak") == [["peak", "-20.0", "-6.0", "0.0"]]
    for line in (
        "second copy: 1",
        "silent audio: 1",
        "truncated audio: 1",
        "clipped: 1",
        "  03a01Wa, 03a02Fa; different labels anger, happiness",
        "  08a02Na, 08b01Na",
        f"Written: {folder / 'corpus.html'}, .md",
    ):
        assert line in text.splitlines(), text
    assert "`" not in text and "**" not in text


def test_both_pages_say_the_same(looked):
    folder, _ = looked
    page = Page((folder / "corpus.html").read_text())
    text = (folder / "corpus.md").read_text()
    tables = [
        [[cell.strip().replace("`", "") for cell in row.strip("| ").split("|")]]
        for row in text.splitlines()
        if row.startswith("| ")
    ]
    assert [row for (row,) in tables] == [row for t in page.tables for row in t]
    assert ["anger", "2", "33.3", "1", "1", "127", "-125"] in page.tables[0]
    assert "different labels anger, happiness" in page.text
    assert len(page.named("svg")) == 2
    for png in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (folder / png).read_bytes()[1:4] == b"PNG"
    assert len([*(folder / "figures").iterdir()]) == 3


def test_page_believes_no_name(tmp_path):
    script = "<script>alert(1)</script>"
    tree.soundfile.write(tmp_path / "a.wav", tree.tone(300, 1), 16_000)
    row = f"a.wav,{script},$x|`y`{script}"
    (tmp_path / "m.csv").write_text(f"path,emotion,speaker\n{row}\n")
    corpus_report.look(str(tmp_path / "m.csv"), "", str(tmp_path / "out"))
    page = Page((tmp_path / "out" / "corpus.html").read_text())
    assert len(page.scripts) == 1 and script in page.text
    assert "<script" not in (tmp_path / "out" / "corpus.md").read_text()


def test_a_manifest_leaves_the_page_where_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = tree.write(tmp_path / "emodb")
    monkeypatch.setenv("EMODB_ROOT", str(root))
    assert _run("emodb", f"--out={root / 'm.csv'}") == 0
    assert (tmp_path / "runs" / "corpora" / "emodb" / "corpus.html").is_file()
    assert capsys.readouterr().out.endswith(f"Written: {root / 'm.csv'}\n")
    # Of the manifest the same numbers, but for the published ones and the copy.
    assert _run(root / "m.csv") == 0
    text = capsys.readouterr().out
    assert "6 recordings, 0.00 h, 2 speakers, 3 classes; 2 left out." in text
    assert (tmp_path / "runs/corpora/emodb-m/corpus.md").is_file()
    with pytest.raises(InputError, match="another file than the manifest read"):
        _run(root / "m.csv", f"--out={root / 'm.csv'}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("emodb", "ravdess"), "looks at one corpus"),
        (("--root=x",), "go with `run.py corpora NAME`"),
        (("ravdes",), "Did you mean ravdess"),
    ],
)
def test_mistakes_are_one_message(arguments, words):
    with pytest.raises(InputError, match=words):
        _run(*arguments)


def test_an_unwritable_place_is_one_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a manifest's page goes
    root = tree.write(tmp_path / "emodb")
    (tmp_path / "file").touch()
    for out in ("file", "file/m.csv"):
        with pytest.raises(InputError, match="cannot write"):
            corpus_report.look("emodb", str(root), str(tmp_path / out))


def _run_without(modules, *arguments):
    """What is written on a terminal where these modules cannot be imported."""
    code = (
        f"import runpy, sys; sys.argv[1:] = {['corpora', *map(str, arguments)]}\n"
        f"sys.modules.update(dict.fromkeys({modules}))\n"
        "runpy.run_path('run.py', run_name='__main__')"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, check=False, cwd=ROOT, text=True, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_list_has_every_corpus_and_needs_no_jax():
    text = _run_without(["jax", "tensorflow", "matplotlib", "scipy"])
    first, second, _ = text.split("\n\n")
    for name in (*descriptions.load(), "iemocap"):
        assert len(_rows(first, name)) == len(_rows(second, name)) == 1
    emodb = ["emodb", "EMO-DB", "de", "0.41", "535", "10", "7"]
    assert _rows(first, "emodb") == [emodb]
    assert "bilderbar" in second and "CC0" in second


def test_a_look_needs_no_jax_and_warns_in_the_report_only(tmp_path):
    root = tree.write(tmp_path / "emodb")
    _run_without(["jax", "tensorflow"], "emodb", f"--root={root}", f"--out={tmp_path}")
    assert (tmp_path / "corpus.html").is_file()


def test_heat_map_shows_every_number():
    numbers = np.array([[1, 0, 3], [2, 9, 4]])
    (axes,) = corpus_figures.heat_map(numbers, ["s1", "s2"], ["a", "b", "c"]).axes
    places = {(*map(int, x.get_position()[::-1]),): x.get_text() for x in axes.texts}
    assert places == {at: str(number) for at, number in np.ndenumerate(numbers)}
    assert [x.get_text() for x in axes.get_yticklabels()] == ["s1", "s2"]


def test_long_tables_and_lists_end_with_what_there_is_beyond():
    rows = [("a", "n"), *((f"r{i}", i) for i in range(60))]
    blocks = [Table(rows, "all"), [("many: 9", [str(i) for i in range(9)])]]
    text = plain_text.render(
        Document("t", [], "**h**", [], [Section("x", "X", blocks)])
    )
    assert "r39" in text and "r40" not in text and "... and 20 rows more" in text
    assert text.endswith("many: 9\n  0\n  1\n  2\n  3\n  4\n  ...")


def test_bars_of_a_histogram_count_all():
    for values in ([1.0, 1.0], [0.5] * 9 + [60.0], [-3.0, 0.0]):
        for draw in (corpus_figures.durations, corpus_figures.levels):
            (axes,) = draw(values).axes
            assert sum(bar.get_height() for bar in axes.patches) == len(values)
    (axes,) = corpus_figures.durations([0.5] * 9 + [60.0]).axes
    assert axes.get_xscale() == "log"
