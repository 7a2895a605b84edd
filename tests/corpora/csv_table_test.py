"""Tables as spreadsheets, streams and other toolkits save them."""

import pytest

from ser_jax.corpora import csv_table
from ser_jax.errors import InputError

TABLE = "path,emotion,speaker\na.wav,schön,1\nb.wav,sad,2\n"
CELLS = [
    {"path": "a.wav", "emotion": "schön", "speaker": "1"},
    {"path": "b.wav", "emotion": "sad", "speaker": "2"},
]


def read(folder, content, required=("path", "emotion", "speaker")):
    file = folder / "table.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return csv_table.read(file, required, ("text",))


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"],
)
def test_encodings(tmp_path, encoding):
    rows = read(tmp_path, TABLE.encode(encoding))
    assert [row.cells for row in rows] == CELLS


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("first", ["", "sep={}\n", '"sep={}"\r\n'])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends(tmp_path, separator, first, end):
    table = TABLE.replace(",", separator).replace("\n", end)
    rows = read(tmp_path, first.format(separator).encode() + table.encode())
    assert [row.cells for row in rows] == CELLS
    begin = 3 if first else 2
    assert [row.line for row in rows] == [begin, begin + 1]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("SEP=;\n" + TABLE.replace(",", ";"), 3),
        ("sep=\\t\n" + TABLE.replace(",", "\t"), 3),
        ("sep=,,,\n" + TABLE, 3),  # saved a second time
        (",,,\n  ,\n\n" + TABLE, 5),
        ("\r\n\n" + TABLE.replace(",", ";"), 4),
        (TABLE.replace(",", ", "), 2),
        (
            'path;emotion;speaker;"what, as, they, said"\n'
            + TABLE.split("\n", 1)[1].replace(",", ";"),
            2,
        ),
    ],
)
def test_first_lines_as_programs_write_them(tmp_path, content, line):
    rows = read(tmp_path, content.encode())
    known = ("path", "emotion", "speaker")
    assert [{k: row.cells[k] for k in known} for row in rows] == CELLS
    assert rows[0].line == line


def test_quoted_cells_behind_blanks_and_long_ones_are_read(tmp_path):
    text = "x" * 200_000
    content = f'path,emotion,speaker,text\na.wav, "sad", 1, "a, {text}"\n'
    (row,) = read(tmp_path, content.encode())
    assert row.cells["emotion"] == "sad" and row.cells["text"] == f"a, {text}"
    assert not row.surplus


@pytest.mark.parametrize(
    "header",
    [
        "Path,EMOTION, Speaker ",
        "file,label,speaker_id",
        "Filename,Class,spk",
        "\u200bpath,emotion\u200b,speaker\ufeff",
    ],
)
def test_headers(tmp_path, header):
    rows = read(tmp_path, TABLE.replace("path,emotion,speaker", header))
    assert [row.cells for row in rows] == CELLS


def test_an_alias_does_not_replace_the_column_itself(tmp_path):
    table = "path,emotion,label,speaker\na.wav,sad,3,1\n"
    (row,) = read(tmp_path, table)
    assert row.cells == {
        "path": "a.wav",
        "emotion": "sad",
        "label": "3",
        "speaker": "1",
    }


@pytest.mark.parametrize(
    "table",
    [
        TABLE.replace("\n", ",,\n"),
        TABLE.replace("1\n", "1,\n").replace("2\n", "2, ,\n"),
        ",path,emotion,speaker\n0,a.wav,schön,1\n1,b.wav,sad,2\n",
        TABLE + "\n\r\n",
    ],
)
def test_nameless_columns_and_empty_surplus_cells_are_ignored(tmp_path, table):
    rows = read(tmp_path, table)
    assert [(row.cells, row.surplus) for row in rows] == [(cells, 0) for cells in CELLS]


def test_surplus_cells_with_content_are_counted(tmp_path):
    first, second = read(
        tmp_path, TABLE.replace("schön", "schön, oder").replace("2\n", "2,\n")
    )
    assert (first.line, first.surplus) == (2, 1) and second.surplus == 0


def test_rows_begin_where_their_first_cell_does(tmp_path):
    table = 'path,emotion,speaker,text\na,x,1,"one\ntwo\nthree"\n\nb,y,2,\n'
    first, second = read(tmp_path, table)
    assert (first.line, first.cells["text"]) == (2, "one\ntwo\nthree")
    assert (second.line, second.cells["text"]) == (6, "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            TABLE.encode("cp1252"),
            r"line 2: expected text in UTF-8, got .*0xf6 \('ö' in W",
        ),
        (
            TABLE.replace("b.wav", 'b "x" c.wav').replace("sad", '"sad'),
            "line 3: .*quote",
        ),
        (TABLE.replace("schön", '"schön" ja'), "line 2: .*quote"),
        (
            "path/emotion/speaker\n",
            r"lacks.*got path/emotion/speaker \(separated by ','",
        ),
        (b"", "got no header"),
        ("path,label,class,speaker\n", "lacks the column emotion"),
        ("Path,path,emotion,speaker\n", "has the column path twice"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)
