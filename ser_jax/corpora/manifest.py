"""Any corpus, given as a CSV file that stands at the top of its recordings.

Columns `path, emotion, speaker` are required; `id, session, text, language, gender,
split` are understood; every other column is kept in `Utterance.extra`. Paths are
relative to the CSV file's folder and must stay inside it; links are followed.
"""

import collections
import functools
import itertools
import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ser_jax.corpora import csv_table
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError

REQUIRED = ("path", "emotion", "speaker")
OPTIONAL = ("id", "session", "text", "language", "gender", "split")

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
        id`, `empty path|label|speaker`, `malformed row`.

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
    folder = _Folder(file.parent)
    left_out: list[Exclusion] = []
    utterances: dict[str, Utterance] = {}
    lines: dict[str, int] = {}
    for row in rows:
        item = _parse(row, folder, sessions)
        if isinstance(item, Utterance) and item.id in utterances:
            item = _duplicate(utterances[item.id], lines[item.id], item, row.line)
        if isinstance(item, Exclusion):
            left_out.append(item)
            continue
        utterances[item.id], lines[item.id] = item, row.line
    for item in left_out:
        if item.reason == "two labels":
            utterances.pop(item.id, None)
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
    if item.wav == first.wav and item.emotion != first.emotion:
        return Exclusion(item.id, "two labels", f"expected one per recording, {got}")
    return Exclusion(item.id, "duplicate id", f"expected unique ids, {got}")


class _Folder:
    """Looks recordings up under the manifest; lists each folder once, not each file."""

    def __init__(self, home: Path):
        self._home, self._real_home = str(home), os.path.realpath(home)
        self._listing = functools.cache(_listing)
        self._target_outside = functools.cache(self._target_outside)
        self._links: dict[str, str] = {}  # what leads out of the folder, and where to

    def find(self, path: str) -> tuple[str, str]:
        """(Absolute path, the same relative to the folder).

        Raises:
          _Unusable: There is no recording inside the folder.
        """
        wav = os.path.normpath(os.path.join(self._home, path))
        relative = os.path.relpath(wav, self._home)
        if _leads_out(relative):  # but perhaps back, by another name of the folder
            target = os.path.realpath(wav)
            relative = os.path.relpath(target, self._real_home)
            if _leads_out(relative):
                detail = f"expected a path inside {self._home}, got {path} ({target})"
                raise _Unusable("path outside the folder", detail)
        folder, name = os.path.split(wav)
        if name.startswith("._") or "__MACOSX" in relative.split(os.sep):
            raise _Unusable("Apple metadata", f"expected a recording, got {path}")
        entry = self._listing(folder).get(name)
        if entry is None or not entry.is_file():
            detail = f"expected {wav}, got no file{self._hint(path)}"
            raise _Unusable("missing wav", detail)
        for link in (folder, wav) if entry.is_symlink() else (folder,):
            if target := self._target_outside(link):
                self._links[link] = target
        return wav, relative

    def _target_outside(self, link: str) -> str:
        target = os.path.realpath(link)
        return target if _leads_out(os.path.relpath(target, self._real_home)) else ""

    def _hint(self, path: str) -> str:
        if "://" in path:
            return "; write the path alone, without file://"
        at = self._home
        for part in filter(None, path.replace("\\", "/").split("/")):
            names = {_plain(name): name for name in self._listing(at)}
            if _plain(part) not in names:
                return ""
            at = os.path.join(at, names[_plain(part)])
        return f"; write {os.path.relpath(at, self._home)}"

    def log_links(self) -> None:
        """Names the links by which recordings outside the folder were reached."""
        for link, target in sorted(self._links.items())[:3]:
            logging.getLogger(__name__).info("%s is a link to %s", link, target)
        if len(self._links) > 3:
            logging.getLogger(__name__).info("... %d links in all", len(self._links))


class _Unusable(Exception):
    """Why a row has no recording: reason and detail of an Exclusion."""


def _leads_out(relative: str) -> bool:
    return relative == ".." or relative.startswith("../")


def _listing(folder: str) -> dict[str, os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries}
    except OSError:
        return {}


def _plain(name: str) -> str:
    # File systems differ in case and in how they write accents.
    return unicodedata.normalize("NFC", name).casefold()


def _parse(
    row: csv_table.Row, folder: _Folder, sessions: Mapping[str, str]
) -> Utterance | Exclusion:
    cells = row.cells
    name = cells.get("id") or cells["path"] or f"line {row.line}"
    if row.surplus:
        detail = (
            f"line {row.line}: got {row.surplus} cells more than columns; quote the"
        )
        return Exclusion(name, "malformed row", f"{detail} commas")
    for column, noun in zip(REQUIRED, ("path", "label", "speaker"), strict=True):
        if not cells[column]:
            detail = f"line {row.line}: expected a value in column {column}, got none"
            return Exclusion(name, f"empty {noun}", detail)
    try:
        wav, relative = folder.find(cells["path"])
    except _Unusable as unusable:
        reason, detail = unusable.args
        return Exclusion(name, reason, f"line {row.line}: {detail}")
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
    names: dict[str, str] = {}
    for raw in sorted({*sessions}):
        # Word characters without a digit first, and not `all`.
        name = re.sub(r"[^A-Za-z0-9_]", "_", raw) or "unknown"
        if name[0].isdigit():
            name = f"session{name}"
        name = "session_all" if name == "all" else name
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        taken = {*names.values()}
        names[raw] = (
            name if name not in taken else next(n for n in numbered if n not in taken)
        )
    return names
