"""The tables in which a corpus keeps what its file names do not say. Pure Python."""

import logging
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from ser_jax.corpora import csv_table
from ser_jax.corpora.descriptions import Description, Table
from ser_jax.errors import InputError

_log = logging.getLogger(__name__)
Rows = Mapping[str, Mapping[str, str]]  # key of a recording -> fields

# `UTD-IMPROV-S01A-F01-P-FM01.avi; A; A:2.5; V:3.0; D:3.0 ; N:4.0;`; the lines of single
# raters, which follow, begin with the rater.
_EVALUATION = re.compile(
    r"^\s*UTD-(?P<name>IMPROV-\S+)\.avi\s*;\s*(?P<label>\w)\s*;\s*A:(?P<A>[^;]*);"
    r"\s*V:(?P<V>[^;]*);\s*D:(?P<D>[^;]*);\s*N:(?P<N>[^;]*);?",
    re.MULTILINE,
)


def read(
    about: Description, files: Sequence[tuple[str, str]], folder: Path
) -> list[Rows]:
    """Rows of each of the corpus's tables, {} for a table that is not there.

    Of two rows with one key the first counts: copies of a table are the rule.

    Args:
      about: The corpus.
      files: (Name, path) of all files below `folder`.
      folder: The corpus's root.

    Raises:
      InputError: The table with the labels is missing or cannot be read. Another one
        that cannot is logged.
    """
    found = []
    for table in about.tables:
        rows: dict[str, Mapping[str, str]] = {}
        for relative, path in files:
            if not (match := table.file.search(relative)):
                continue
            try:
                for key, row in _rows(table, Path(path), match.groupdict()):
                    rows.setdefault(key, row)
            except InputError as error:
                if about.label_table is table:
                    raise
                _log.warning("%s: left unread: %s", about.title, error)
        if about.label_table is table and not rows:
            raise InputError(
                f"{folder} lacks the labels of {about.title}: expected a table such as "
                f"{table.example}, got none with rows. It comes with the corpus: "
                f"{about.source}."
            )
        found.append(rows)
    return found


def _rows(table: Table, file: Path, named: Mapping[str, str]):
    """(Key, fields) of each row; `named` are the groups in the file's own name."""
    if table.format == "msp_improv":
        cells = _evaluations(file)
    else:
        templates = (table.key, *table.fields.values())
        columns = {x[1] for t in templates for x in string.Formatter().parse(t)}
        required = sorted(columns - {None} - {*named})
        cells = (row.cells for row in csv_table.read(file, required))
    for row in cells:
        values = {**row, **named}
        fields = {name: t.format_map(values) for name, t in table.fields.items()}
        yield table.key.format_map(values), fields


def _evaluations(file: Path) -> list[dict[str, str]]:
    """The consensus lines of MSP-IMPROV's evaluations."""
    try:
        # Raters' own words may be in any encoding; what is read here is ASCII.
        text = file.read_text("ascii", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}.") from error
    found = (match.groupdict() for match in _EVALUATION.finditer(text))
    return [{key: value.strip() for key, value in row.items()} for row in found]
