"""Reads a CSV file as people save it: with any usual encoding, separator and header."""

import csv
import io
import logging
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ser_jax.errors import InputError

_SEPARATORS = ",;\t|"
# What some spreadsheets write first; saved again by others, with separators behind it.
_SEP_LINE = re.compile(r'"?sep=(\\t|.)"?[ ,;\t|]*(?:\r\n|\r|\n)', re.IGNORECASE)
_START = 1 << 16  # characters among which a header ends
# Workbooks and zip files, gzip, SQLite, Parquet.
_BINARY = (b"PK\x03\x04", b"\x1f\x8b", b"SQLite", b"PAR1")
_BYTE_ORDER_MARKS = {  # the longer one first: UTF-32's begins with UTF-16's
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
# What other toolkits call our columns; used where ours is not there.
_ALIASES = {
    "path": ("file", "filename", "file_name", "filepath", "file_path", "wav")
    + ("wav_path", "audio", "audio_path"),
    "emotion": ("label", "class", "emotion_label"),
    "speaker": ("speaker_id", "speakerid", "spk", "spk_id"),
    "text": ("transcript", "transcription"),
}

csv.field_size_limit(1 << 24)  # a cell may hold all that was said


class Row(NamedTuple):
    """A line of the table."""

    line: int  # in the file, from 1; the first one if a cell holds line breaks
    cells: dict[str, str]  # by column, stripped; empty where the line is too short
    surplus: int = 0  # cells beyond the header that are not empty


def read(
    file: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> list[Row]:
    """Reads all rows below the header.

    UTF-8, UTF-16 and UTF-32; comma, semicolon, tab and bar, or what a first line
    `sep=;` says. Columns without a name and surplus empty cells are ignored.

    Args:
      file: The CSV file.
      required: Columns that must be there, whatever the case of their names or under
        the names of other toolkits (`file`, `label`, `speaker_id`, `transcript`).
      optional: Columns that are looked for likewise.

    Raises:
      InputError: The file cannot be read, is in another encoding, lacks a column, has
        one twice, or a quote is not closed; with the line where there is one.
    """
    text, begin = _decode(file), 1
    if match := _SEP_LINE.match(text):
        text, begin = text[match.end() :], 2
        separator = match[1].replace("\\t", "\t")
    else:
        start = re.sub(r'"[^"]*"', "", text.lstrip(f"\r\n {_SEPARATORS}")[:_START])
        header = re.split(r"[\r\n]", start, maxsplit=1)[0]
        separator = max(_SEPARATORS, key=header.count)
    lines = _lines(file, text, separator, begin)
    header = next((cells for _, cells in lines if any(map(str.strip, cells))), [])
    columns = _columns(header, (*required, *optional), file)
    if missing := [name for name in required if name not in columns]:
        raise InputError(
            f"{file} lacks the column {', '.join(missing)}: expected "
            f"{', '.join(required)}, got {', '.join(filter(None, columns)) or 'no header'}"
            f" (separated by {separator!r}). Rename the columns in its first line."
        )
    return [_row(line, cells, columns) for line, cells in lines]


def _decode(file: Path) -> str:
    if file.exists() and not file.is_file():
        raise InputError(f"{file}: expected a CSV file, got a folder, pipe or device.")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {file}: {error.strerror}. Expected a CSV file."
        ) from error
    marks = (x for mark, x in _BYTE_ORDER_MARKS.items() if content.startswith(mark))
    encoding = next(marks, "utf-8")
    if content.startswith(_BINARY):
        raise InputError(
            f"{file}: expected a CSV file, got a workbook, archive or database. "
            "Save its table as 'CSV UTF-8'."
        )
    if encoding == "utf-8" and b"\0" in content[:2]:  # the first letter is Latin
        encoding = "utf-16-be" if content[0] == 0 else "utf-16-le"
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = 1 + len(re.findall(rb"\r\n|\r|\n", content[: error.start]))
        byte = content[error.start]
        raise InputError(
            f"{file}, line {line}: expected text in {encoding.upper()}, got the byte "
            f"0x{byte:02x} ({bytes([byte]).decode('cp1252', 'replace')!r} in "
            "Windows-1252). Save it as 'CSV UTF-8'."
        ) from error


def _lines(
    file: Path, text: str, separator: str, first: int
) -> Iterator[tuple[int, list[str]]]:
    """(Line at which it begins, cells) of each row but empty lines."""
    # newline="": the csv module itself handles line ends inside quotes.
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=separator, strict=True, skipinitialspace=True)
    line = first
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = first + reader.line_num
    except csv.Error as error:
        raise InputError(
            f"{file}, line {line}: expected every quote to be closed and "
            f"followed by {separator!r}, got: {error}. Write a quote inside a cell twice."
        ) from error


def _columns(header: list[str], known: Sequence[str], file: Path) -> list[str]:
    """Names of the columns, as the caller knows them; empty for those to ignore."""
    columns = [_visible(name) for name in header]
    columns = [x.lower() if x.lower() in known else x for x in columns]
    for name in {*known} - {*columns}:
        aliases = [x for x in columns if x.lower() in _ALIASES.get(name, ())]
        if len(aliases) == 1:
            columns[columns.index(aliases[0])] = name
            logging.getLogger(__name__).info(
                "%s: column %s is read as %s", file.name, aliases[0], name
            )
    if repeated := {name for name in columns if name and columns.count(name) > 1}:
        raise InputError(
            f"{file} has the column {', '.join(sorted(repeated))} twice; expected each "
            "once. Rename one of them."
        )
    return columns


def surplus_detail(row: Row) -> str:
    """What to say of a row with more cells than there are columns."""
    return (
        f"line {row.line}: got {row.surplus} cells more than columns; quote cells that "
        "hold separators"
    )


def _row(line: int, cells: list[str], columns: list[str]) -> Row:
    surplus = sum(bool(cell.strip()) for cell in cells[len(columns) :])
    cells = [*cells, *[""] * (len(columns) - len(cells))]
    named = zip(columns, cells, strict=False)
    return Row(line, {name: cell.strip() for name, cell in named if name}, surplus)


def _visible(name: str) -> str:
    """A column's name without spaces around it and characters that nobody sees."""
    return "".join(c for c in name if unicodedata.category(c) != "Cf").strip()
