"""Reads a public corpus by its name, however its folders are nested. Pure Python."""

import collections
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ser_jax.corpora.descriptions import Description, load
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
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
        `unknown label`.

    Raises:
      InputError: No folder, or no recording of this corpus in it.
    """
    about, folder = load()[name], find_root(name, root)
    utterances: dict[str, Utterance] = {}
    left_out: list[Exclusion] = []
    archives = []
    for path in _files(folder):
        item = _parse(about, path, folder)
        if item is None:
            archives += [path] if path.endswith(_ARCHIVES) else []
        elif isinstance(item, Exclusion):
            left_out.append(item)
        elif item.id in utterances:
            detail = f"{path}, beside {utterances[item.id].wav}"
            left_out.append(Exclusion(item.id, "second copy", detail))
        else:
            utterances[item.id] = item
    if not utterances:
        packed = f"; unpack {archives[0]} first" if archives else ""
        raise InputError(
            f"{folder} holds no recording of {about.title}: expected names such as "
            f"`{about.pattern.pattern}`, got none{packed}. Get it at {about.source}."
        )
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


def _parse(about: Description, path: str, folder: Path) -> Utterance | Exclusion | None:
    """None for a file that is none of the corpus's."""
    relative = os.path.relpath(path, folder).replace(os.sep, "/")
    match = about.pattern.search(relative)
    if not match:
        return None
    stem, name = Path(path).stem, Path(path).name
    if name in about.broken:
        return Exclusion(stem, "known as broken", f"{path}: {about.broken[name]}")
    groups = {key: value or "" for key, value in match.groupdict().items()}
    if about.pattern.flags & re.IGNORECASE:  # two spellings are one recording
        groups = {key: value.lower() for key, value in groups.items()}
    label = about.emotion.get(groups["emotion"])
    if label is None:
        detail = f"{path}: expected one of {', '.join(about.emotion)}"
        return Exclusion(stem, "unknown label", detail)
    id_ = about.id.format(**groups) if about.id else stem
    speaker = about.speaker.format(**groups)
    values = {
        key: about.codes[key].get(value, value) if key in about.codes else value
        for key, value in groups.items()
    }
    genders = dict.fromkeys(about.female, "F") | dict.fromkeys(about.male, "M")
    known = ("emotion", "speaker", "text", "gender", "session", "part", "language")
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
        extra={key: value for key, value in values.items() if key not in known},
    )
