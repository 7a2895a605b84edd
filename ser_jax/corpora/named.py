"""Reads a public corpus by its name, however its folders are nested. Pure Python."""

import collections
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ser_jax.corpora import label_tables
from ser_jax.corpora.descriptions import Description, load
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
_VIDEOS = (".mp4",)
_log = logging.getLogger(__name__)


def find_root(name: str, root: str) -> Path:
    """`root`, or if it is empty what the corpus's environment variable names.

    Raises InputError if neither is a folder.
    """
    about = load()[name]
    root = root or os.environ.get(about.variable, "")
    folder = Path(root).expanduser().absolute()
    if root and folder.is_dir():
        return folder
    looked = f"no folder at {folder}" if root else "neither data.root nor "
    looked += "" if root else about.variable
    raise InputError(
        f"{about.title} was not found: {looked}. Get it at {about.source} "
        f"({about.licence}), unpack it, and set --config.data.root=/path/to/it or "
        f"{about.variable}."
    )


def read(
    name: str, root: str, *, excluded: list[Exclusion] | None = None
) -> Iterator[Utterance]:
    """Reads all recordings below `root`, sorted by id, before the first is handed out.

    Folders are searched through links, none twice. A recording that is there twice
    counts once; those known as broken are left out. Both are appended to `excluded`,
    and class counts that differ from the published ones are logged.

    Args:
      name: A table of `corpora.toml`.
      root: See `find_root`.
      excluded: Gets one entry per recording left out: `second copy`, `known as broken`,
        `unknown label`, `no label` (the corpus's table has no row for it), `missing wav`
        (a row without a recording).

    Raises:
      InputError: No folder, or no recording of this corpus in it.
    """
    about, folder = load()[name], find_root(name, root)
    utterances: dict[str, Utterance] = {}
    left_out: list[Exclusion] = []
    archives = []
    # Clips that were turned into WAVs come before the videos beside them.
    paths = sorted(_files(folder), key=lambda x: x.endswith(_VIDEOS))
    tables = label_tables.read(about, paths, folder)
    for path in paths:
        item = _parse(about, path, folder, tables)
        if item is None:
            archives += [path] if path.endswith(_ARCHIVES) else []
        elif isinstance(item, Exclusion):
            left_out.append(item)
        elif item.id in utterances:
            detail = f"{path}, beside {utterances[item.id].wav}"
            left_out.append(Exclusion(item.id, "second copy", detail))
        else:
            utterances[item.id] = item
    if not utterances and left_out:
        raise InputError(
            f"{folder} holds no usable recording of {about.title}: "
            f"{dict(collections.Counter(x.reason for x in left_out))}; first: "
            f"{left_out[0].detail}."
        )
    if not utterances:
        packed = f"; unpack {archives[0]} first" if archives else ""
        raise InputError(
            f"{folder} holds no recording of {about.title}: expected names such as "
            f"`{about.pattern.pattern}`, got none{packed}. Get it at {about.source}."
        )
    left_out += _missing(about, tables, [*utterances, *(x.id for x in left_out)])
    for line in differences(about, utterances.values()):
        _log.warning("%s: %s", about.title, line)
    if about.warning:
        _log.warning("%s: %s", about.title, about.warning)
    if excluded is not None:
        excluded.extend(left_out)
    return iter([utterances[key] for key in sorted(utterances)])


def differences(about: Description, utterances) -> list[str]:
    """A line per label whose number is not the published one."""
    counts = collections.Counter(u.emotion for u in utterances)
    return [
        f"{label}: {number} published, {counts[label]} here"
        for label, number in about.expected.items()
        if counts[label] != number
    ]


def _files(folder: Path) -> Iterator[str]:
    """Paths of all files, sorted within their folders; no folder twice."""
    visited = set()
    for at, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(x for x in folders if x != "__MACOSX")
        yield from (os.path.join(at, x) for x in sorted(files) if x[:1] != ".")


def _parse(
    about: Description, path: str, folder: Path, tables: Sequence[label_tables.Rows]
) -> Utterance | Exclusion | None:
    """None for a file that is none of the corpus's."""
    relative = os.path.relpath(path, folder).replace(os.sep, "/")
    match = about.pattern.search(relative)
    if not match:
        return None
    stem, name = Path(path).stem, Path(path).name
    groups = {key: value or "" for key, value in match.groupdict().items()}
    if about.pattern.flags & re.IGNORECASE:  # two spellings are one recording
        groups = {key: value.lower() for key, value in groups.items()}
    id_ = about.id.format(**groups) if about.id else stem
    if fault := about.broken.get(name) or about.broken.get(id_):
        return Exclusion(id_, "known as broken", f"{path}: {fault}")
    for table, rows in zip(about.tables, tables, strict=True):
        key = table.match.format(**groups, file_name=name) if rows else ""
        if key in rows:
            groups |= rows[key]
        elif about.label_table is table:
            return Exclusion(id_, "no label", f"{path}: no row {key} in the table")
        elif rows:
            groups = dict.fromkeys(table.fields, "") | groups
    return _utterance(about, path, id_, groups)


def _utterance(
    about: Description, path: str, id_: str, groups: dict[str, str]
) -> Utterance | Exclusion:
    """What the groups of its name and its rows in the tables say of a recording."""
    label = about.emotion.get(groups["emotion"])
    if label is None:
        detail = f"{path}: expected one of {', '.join(about.emotion)}"
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
