"""Reads a public corpus by its name, however its folders are nested. Pure Python."""

import collections
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ser_jax.corpora import label_tables
from ser_jax.corpora.descriptions import Description, load
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError

SETTING = "--config.data.root"
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
_POINTER = b"version https://git-lfs"
_POINTER_BYTES = 1024  # that a pointer is shorter than, by its own specification
_log = logging.getLogger(__name__)


def find_root(name: str, root: str, setting: str = SETTING) -> Path:
    """`root`, or if it is empty what the corpus's environment variable names.

    Raises InputError, which names the `setting` that `root` comes from, if neither is a
    folder.
    """
    about = load()[name]
    root = root or os.environ.get(about.variable, "")
    folder = Path(root).expanduser().absolute()
    if root and folder.is_dir():
        return folder
    looked = f"no folder at {folder}"
    if not root:
        looked = f"{setting} and {about.variable} are empty"
    raise InputError(
        f"{about.title} was not found: {looked}. Get it at {about.source} "
        f"({about.licence}), unpack it, and set {setting}=/path/to/it or "
        f"{about.variable}."
    )


def read(
    name: str,
    root: str,
    *,
    setting: str = SETTING,
    excluded: list[Exclusion] | None = None,
) -> Iterator[Utterance]:
    """Reads all recordings below `root`, sorted by id, before the first is handed out.

    Folders are searched through links, none twice. A recording that is there twice
    counts once; those known as broken are left out. Both are appended to `excluded`,
    and numbers of classes and speakers that differ from the published ones are logged.

    Args:
      name: A table of `corpora.toml`.
      root: See `find_root`.
      setting: See `find_root`.
      excluded: Gets one entry per recording left out: `second copy`, `known as broken`,
        `unknown label`, `no label` (the corpus's table has no row for it), `missing wav`
        (a row without a recording, or a link to nothing), `Git LFS pointer`.

    Raises:
      InputError: No folder, or no recording of this corpus in it.
    """
    about, folder = load()[name], find_root(name, root, setting)
    # Of a recording in several formats the WAV counts, not the video or the AIFF.
    files = sorted(_files(folder), key=lambda file: not file[0].endswith(".wav"))
    packed = [path for below, path in files if below.endswith(_ARCHIVES)]
    found = [(about.pattern.search(below), path) for below, path in files]
    found = [(match, path) for match, path in found if match]
    if not found:
        unpack = f"; unpack {packed[0]} first" if packed else ""
        raise InputError(
            f"{folder} holds no recording of {about.title}: expected names such as "
            f"{about.example}, got none{unpack}. Get it at {about.source}."
        )
    tables = label_tables.read(about, files, folder)
    utterances, left_out = _once_each(about, found, tables, folder.parent)
    if not utterances:
        raise InputError(
            f"{folder} holds no usable recording of {about.title}: "
            f"{dict(collections.Counter(x.reason for x in left_out))}; first: "
            f"{left_out[0].detail}."
        )
    left_out += _missing(about, tables, [*utterances, *(x.id for x in left_out)])
    warnings = differences(about, utterances.values())
    if warnings and packed:
        warnings.append(f"perhaps still packed: {', '.join(packed[:3])}")
    for line in filter(None, (*warnings, about.warning)):
        _log.warning("%s: %s", about.title, line)
    if excluded is not None:
        excluded.extend(left_out)
    return iter([utterances[key] for key in sorted(utterances)])


def _once_each(
    about: Description,
    found: Sequence[tuple[re.Match, str]],
    tables: Sequence[label_tables.Rows],
    home: Path,
) -> tuple[dict[str, Utterance], list[Exclusion]]:
    """Recordings by id, and what is left out; `home` is where matched names begin."""
    utterances: dict[str, Utterance] = {}
    left_out: list[Exclusion] = []
    for match, path in found:
        item = _parse(about, match, path, tables)
        if isinstance(item, Utterance) and item.id in utterances:
            first = os.path.relpath(utterances[item.id].wav, home)
            item = Exclusion(item.id, "second copy", f"{match.string}, beside {first}")
        if isinstance(item, Exclusion):
            left_out.append(item)
        else:
            utterances[item.id] = item
    return utterances, left_out


def differences(about: Description, utterances: Iterable[Utterance]) -> list[str]:
    """A line per number of labels or speakers that is not the published one."""
    utterances = list(utterances)
    expected = {**about.expected, "speakers": about.speakers}
    counts = collections.Counter(u.emotion for u in utterances)
    counts["speakers"] = len({u.speaker for u in utterances} - {""})
    return [
        f"{what}: {number} published, {counts[what]} here"
        for what, number in expected.items()
        if number and counts[what] != number
    ]


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """(Name, path) of all files, sorted within their folders; no folder twice.

    A name begins with that of the folder, which may be one that tells the speaker, has
    `/` between folders, and its suffix is in lower case.
    """
    visited = set()
    walk = os.walk(folder, followlinks=True, onerror=_log.warning)
    for at, folders, files in walk:
        real = os.path.realpath(at)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(x for x in folders if x[0] != "." and x != "__MACOSX")
        below = os.path.relpath(at, folder.parent).replace(os.sep, "/")
        for name in sorted(files):
            if name[:1] != ".":
                stem, suffix = os.path.splitext(name)
                yield f"{below}/{stem}{suffix.lower()}", os.path.join(at, name)


def _parse(
    about: Description, match: re.Match, path: str, tables: Sequence[label_tables.Rows]
) -> Utterance | Exclusion:
    """The recording whose name was matched."""
    below = match.string
    name = below.rpartition("/")[2]
    groups = {key: value or "" for key, value in match.groupdict().items()}
    if about.pattern.flags & re.IGNORECASE:  # two spellings are one recording
        groups = {key: value.lower() for key, value in groups.items()}
    id_ = about.id.format(**groups) if about.id else os.path.splitext(name)[0]
    if fault := about.broken.get(name) or about.broken.get(id_):
        return Exclusion(id_, "known as broken", f"{below}: {fault}")
    if fault := _fault(path):
        reason, detail = fault
        return Exclusion(id_, reason, f"{below}: {detail}")
    for table, rows in zip(about.tables, tables, strict=True):
        key = table.match.format(**groups, file_name=name) if rows else ""
        if key in rows:
            groups |= rows[key]
        elif about.label_table is table:
            return Exclusion(id_, "no label", f"{below}: no row {key} in the table")
        elif rows:
            groups = dict.fromkeys(table.fields, "") | groups
    return _utterance(about, path, id_, groups)


def _fault(path: str) -> tuple[str, str] | None:
    """Why a file stands in for a recording that may lie elsewhere: (reason, detail)."""
    try:
        if os.path.getsize(path) < _POINTER_BYTES:
            with open(path, "rb") as file:
                if file.read(len(_POINTER)) == _POINTER:
                    return "Git LFS pointer", "run `git lfs pull` in its repository"
    except OSError as error:
        return "missing wav", error.strerror
    return None


def _utterance(
    about: Description, path: str, id_: str, groups: dict[str, str]
) -> Utterance | Exclusion:
    """What the groups of its name and its rows in the tables say of a recording."""
    label = about.emotion.get(groups["emotion"])
    if label is None:
        got = f"{os.path.basename(path)}: got {groups['emotion']!r}"
        detail = f"{got}, expected one of {', '.join(about.emotion)}"
        return Exclusion(id_, "unknown label", detail)
    speaker = about.speaker.format(**groups)
    values = {
        key: _decoded(value, about.codes[key]) if key in about.codes else value
        for key, value in groups.items()
    }
    genders = dict.fromkeys(about.female, "F") | dict.fromkeys(about.male, "M")
    known = ("emotion", "speaker", "text", "gender", "session", "part", "language")
    known += ("dialog",)
    return Utterance(
        id=id_,
        wav=path,
        speaker=about.codes.get("speaker", {}).get(speaker, speaker),
        session=values.get("session") or "session1",
        emotion=label,
        text=values.get("text", ""),
        gender=values.get("gender") or genders.get(speaker, ""),
        language=values.get("language") or about.language,
        split=values.get("part", ""),
        dialog=values.get("dialog", ""),
        extra={key: value for key, value in values.items() if key not in known},
    )


def _decoded(value: str, codes: Mapping[str, str]) -> str:
    """A code's meaning; of `A:B`, a tie, part by part."""
    return ":".join(codes.get(part, part) for part in value.split(":"))


def _missing(
    about: Description, tables: Sequence[label_tables.Rows], found: Sequence[str]
) -> list[Exclusion]:
    """Labels without a recording."""
    if about.label_table is None:
        return []
    keys = tables[about.tables.index(about.label_table)]
    names = {os.path.splitext(key)[0] for key in keys}
    return [
        Exclusion(name, "known as broken", about.broken[name])
        if name in about.broken
        else Exclusion(
            name, "missing wav", "a row in the table of labels, no recording"
        )
        for name in sorted(names.difference(found))
    ]
