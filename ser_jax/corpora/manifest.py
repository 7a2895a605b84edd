"""Any corpus, given as a CSV file that stands at the top of its recordings.

Columns `path, emotion, speaker` are required; `id, session, text, language, gender,
split` are understood; every other column is kept in `Utterance.extra`. Paths are
relative to the CSV file's folder and must stay inside it.
"""

import collections
import csv
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError

REQUIRED = ("path", "emotion", "speaker")
OPTIONAL = ("id", "session", "text", "language", "gender", "split")

_SURPLUS = "surplus cells"  # DictReader's key for cells beyond the header
_GENDERS = {"f": "F", "female": "F", "m": "M", "male": "M"}


def read(
    path: str | os.PathLike, *, excluded: list[Exclusion] | None = None
) -> Iterator[Utterance]:
    """Reads all rows, sorted by id, before the first one is handed out.

    `id` defaults to the path without its suffix. Without a column `session` all rows
    are one session, `session1`; an empty cell is session `unknown`. Session names become
    TFDS splits: other characters than letters, digits and `_` turn into `_`.

    Args:
      path: The CSV file, UTF-8 with or without a byte-order mark.
      excluded: Gets one entry per row left out: `missing wav`, `path outside the
        folder`, `duplicate id` (the first stays), `empty path|label|speaker`,
        `malformed row`.

    Raises:
      InputError: The file cannot be read, lacks a column, or has no usable row.
    """
    file = Path(path).expanduser().absolute()
    left_out: list[Exclusion] = []
    utterances: dict[str, Utterance] = {}
    sessions: dict[str, str] = {}
    for row in _rows(file):
        item = _parse(row, file.parent)
        if isinstance(item, Utterance) and item.id in utterances:
            detail = f"expected unique ids, got {item.id!r} again for {item.wav}"
            item = Exclusion(item.id, "duplicate id", detail)
        if isinstance(item, Exclusion):
            left_out.append(item)
            continue
        utterances[item.id] = item
        _check_session(sessions, item.session, row.get("session", ""), file)
    if not utterances:
        reasons = collections.Counter(item.reason for item in left_out)
        raise InputError(
            f"{file} has no usable row: expected at least one with an existing "
            f"recording, a label and a speaker, got {dict(reasons) or 'no rows'}. "
            "Paths are relative to the CSV file's folder."
        )
    if excluded is not None:
        excluded.extend(left_out)
    return iter([utterances[key] for key in sorted(utterances)])


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        # newline="": the csv module itself handles line ends inside quotes.
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restkey=_SURPLUS, restval="", strict=True)
            reader.fieldnames = columns = [c.strip() for c in reader.fieldnames or ()]
            _check_columns(columns, file)
            return list(reader)
    except OSError as error:
        raise InputError(
            f"cannot read the manifest {file}: {error.strerror}. Expected a CSV file "
            f"with the columns {', '.join(REQUIRED)}; set --config.data.manifest."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{file} is not a CSV file in UTF-8: {error}. Save it as 'CSV UTF-8'."
        ) from error


def _check_columns(columns: list[str], file: Path) -> None:
    if missing := [name for name in REQUIRED if name not in columns]:
        raise InputError(
            f"{file} lacks the column {', '.join(missing)}: expected "
            f"{', '.join(REQUIRED)}, got {', '.join(columns) or 'no header'}. Rename "
            "the columns in its first line (comma-separated)."
        )
    if repeated := [name for name in {*columns} if columns.count(name) > 1]:
        raise InputError(
            f"{file} has the column {', '.join(repeated)} twice; expected each once. "
            "Rename one of them."
        )


def _parse(row: Mapping[str, str], folder: Path) -> Utterance | Exclusion:
    if _SURPLUS in row:
        detail = f"got {len(row[_SURPLUS])} cells more than columns; quote the commas"
        return Exclusion(row["path"], "malformed row", detail)
    row = {column: cell.strip() for column, cell in row.items()}
    name = row.get("id") or row["path"]
    for column in REQUIRED:
        if not row[column]:
            noun = "label" if column == "emotion" else column
            detail = f"expected a value in column {column}, got an empty cell"
            return Exclusion(name, f"empty {noun}", detail)
    home = folder.resolve()
    wav = (home / row["path"]).resolve()  # follows links, which may lead outside, too
    if not wav.is_relative_to(home):
        detail = f"expected a path inside {home}, got {row['path']} ({wav})"
        return Exclusion(name, "path outside the folder", detail)
    if not wav.is_file():
        return Exclusion(name, "missing wav", f"expected {wav}, got no file")
    default_id = Path(os.path.relpath(home / row["path"], home)).with_suffix("")
    return Utterance(
        id=row.get("id") or default_id.as_posix(),
        wav=str(wav),
        speaker=row["speaker"],
        session=_session_name(row["session"]) if "session" in row else "session1",
        emotion=row["emotion"],
        text=row.get("text", ""),
        language=row.get("language", ""),
        gender=_GENDERS.get(row.get("gender", "").lower(), ""),
        split=row.get("split", ""),
        extra={key: row[key] for key in row if key not in REQUIRED + OPTIONAL},
    )


def _session_name(raw: str) -> str:
    # TFDS's splits are word characters without a digit first, and not `all`.
    name = re.sub(r"[^A-Za-z0-9_]", "_", raw) or "unknown"
    if name[0].isdigit():
        name = f"session{name}"
    return "session_all" if name == "all" else name


def _check_session(sessions: dict[str, str], name: str, raw: str, file: Path) -> None:
    # Another session value may have become the same split name.
    first = sessions.setdefault(name, raw.strip())
    if first != raw.strip():
        raise InputError(
            f"{file}: sessions {first!r} and {raw.strip()!r} both become the split "
            f"name {name!r}; expected names that differ in letters, digits and '_'. "
            "Rename one of them."
        )
