"""Any corpus, given as a CSV file that stands at the top of its recordings.

Columns `path, emotion, speaker` are required; `id, session, text, language, gender,
split` are understood; every other column is kept in `Utterance.extra`. Paths are
relative to the CSV file's folder and must stay inside it; links are followed.
"""

import collections
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ser_jax.corpora import csv_table
from ser_jax.corpora.recording_folder import NoRecording, RecordingFolder
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError

REQUIRED = ("path", "emotion", "speaker")
OPTIONAL = ("id", "session", "text", "language", "gender", "split")

SUFFIXES = (".csv", ".tsv", ".txt")  # of names that can be nothing but a manifest

_LONGEST = 64  # characters of a session's name
_CONTRADICTED = "two labels for one recording"
_GENDERS = {"f": "F", "female": "F", "m": "M", "male": "M"}


def read(
    path: str | os.PathLike, *, excluded: list[Exclusion] | None = None
) -> Iterator[Utterance]:
    """Reads all rows, sorted by id, before the first one is handed out.

    Without a column `session` all rows are one session, `session1`; an empty cell is
    session `unknown`. Session names become TFDS splits: other characters than letters,
    digits and `_` turn into `_`, and names that fall together are numbered.

    Args:
      path: The CSV file, see `csv_table.read`.
      excluded: Gets one entry per row left out: `missing wav`, `path outside the
        folder`, `Apple metadata`, `duplicate id` (the first stays), `two labels for one
        recording`, `empty path|label|speaker`, `malformed row`.

    Returns:
      Utterances; `id` defaults to the path without its suffix.

    Raises:
      InputError: The file cannot be read, lacks a column, or has no usable row.
    """
    file = Path(path).expanduser().absolute()
    rows = csv_table.read(file, REQUIRED, OPTIONAL)
    sessions = _session_names(
        row.cells["session"] for row in rows if "session" in row.cells
    )
    folder = RecordingFolder(file.parent)
    left_out: list[Exclusion] = []
    contradicted: dict[str, Exclusion] = {}
    utterances: dict[str, Utterance] = {}
    lines: dict[str, int] = {}
    for row in rows:
        item = _parse(row, folder, sessions)
        if isinstance(item, Exclusion):
            left_out.append(item)
        elif item.id in utterances:
            first, line = utterances[item.id], lines[item.id]
            left_out.append(_duplicate(first, line, item, row.line))
            if left_out[-1].reason == _CONTRADICTED:
                contradicted[item.id] = left_out[-1]
        else:
            utterances[item.id], lines[item.id] = item, row.line
    for name, exclusion in contradicted.items():
        left_out.append(exclusion)  # the first row, too
        del utterances[name]
    if not utterances:
        reasons = collections.Counter(item.reason for item in left_out)
        first = f"; first: {left_out[0].id}: {left_out[0].detail}" if left_out else ""
        raise InputError(
            f"{file} has no usable row: expected at least one with an existing "
            f"recording, a label and a speaker, got {dict(reasons) or 'no rows'}{first}."
            " Paths are relative to the CSV file's folder."
        )
    folder.log_links()
    if excluded is not None:
        excluded.extend(left_out)
    return iter([utterances[key] for key in sorted(utterances)])


def _duplicate(first: Utterance, line: int, item: Utterance, again: int) -> Exclusion:
    got = (
        f"got {item.id!r} in line {line} ({first.emotion}) and in line {again} "
        f"({item.emotion})"
    )
    # Two spellings of a label are no contradiction; `data.spellings` deals with them.
    other_label = item.emotion.casefold() != first.emotion.casefold()
    if item.wav == first.wav and other_label:
        return Exclusion(item.id, _CONTRADICTED, f"expected one, {got}")
    return Exclusion(item.id, "duplicate id", f"expected unique ids, {got}")


def _parse(
    row: csv_table.Row, folder: RecordingFolder, sessions: Mapping[str, str]
) -> Utterance | Exclusion:
    cells = row.cells
    name = cells.get("id") or cells["path"] or f"line {row.line}"
    if row.surplus:
        return Exclusion(name, "malformed row", csv_table.surplus_detail(row))
    for column, noun in zip(REQUIRED, ("path", "label", "speaker"), strict=True):
        if not cells[column]:
            detail = f"line {row.line}: expected a value in column {column}, got none"
            return Exclusion(name, f"empty {noun}", detail)
    try:
        wav, relative = folder.find(cells["path"])
    except NoRecording as error:
        return Exclusion(name, error.reason, f"line {row.line}: {error}")
    return Utterance(
        id=cells.get("id") or os.path.splitext(relative)[0],
        wav=wav,
        speaker=cells["speaker"],
        session=sessions.get(cells.get("session", ""), "session1"),
        emotion=cells["emotion"],
        text=cells.get("text", ""),
        language=cells.get("language", ""),
        gender=_GENDERS.get(cells.get("gender", "").lower(), ""),
        split=cells.get("split", ""),
        extra={key: cells[key] for key in cells if key not in REQUIRED + OPTIONAL},
    )


def _session_names(sessions: Iterable[str]) -> dict[str, str]:
    """Names of TFDS splits; they fall together only where the sessions are the same."""
    names, taken, count = {}, set(), collections.Counter()
    for raw in sorted({*sessions}):
        # Word characters, letters first, and not `all`; files are called after them.
        name = re.sub(r"[^A-Za-z0-9_]", "_", raw)[:_LONGEST] or "unknown"
        if not name[0].isalpha() and (name[0].isdigit() or not name.strip("_")):
            name = f"session{name}"
        name = "session_all" if name == "all" else name
        unique = name
        while unique in taken:
            count[name] += 1
            unique = f"{name}_{count[name] + 1}"
        taken.add(unique)
        names[raw] = unique
    return names
