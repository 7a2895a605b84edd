"""Writes a corpus as a manifest that `corpora.manifest` reads back as it was."""

import contextlib
import math
import os
from collections.abc import Sequence
from pathlib import Path

from ser_jax.corpora import manifest
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError, writing
from ser_jax.workdir.files import write_csv

# What a manifest calls as an utterance does.
_STANDARD = (*(x for x in manifest.REQUIRED if x != "path"), *manifest.OPTIONAL)
_LINK_SUFFIX = "_recordings"
# Of an utterance, beside what every manifest may have; empty ones are left out.
_MORE = (
    *("dialog", "style", "mocap_side", "start_s", "end_s"),
    *("valence", "activation", "dominance", "rater_labels"),
)


def write(utterances: Sequence[Utterance], file: Path) -> list[str]:
    """Writes the manifest; returns what a person should know of it, as lines.

    Recordings below the folder of `file` are named relative to it. A manifest may not
    name what lies elsewhere, so others are named through a link to their folder that is
    made beside `file`, `<name>_recordings`.

    Raises:
      InputError: It cannot be written, or something else has the name of the link.
    """
    with writing(file, "--out"):
        file.parent.mkdir(parents=True, exist_ok=True)
    home, notes = file.parent, []
    where = os.path.commonpath([os.path.dirname(u.wav) for u in utterances])
    prefix = ""
    if os.path.relpath(where, home).split(os.sep)[0] == os.pardir:
        prefix = file.stem + _LINK_SUFFIX
        _link(home / prefix, where)
        notes.append(f"{home / prefix} is a link to {where}, where the recordings are")
    else:
        where = str(home)
    extra = [name for name in _MORE if _is_used(utterances, name)]
    named = list(dict.fromkeys(key for u in utterances for key in u.extra))
    header = ["path", *_STANDARD, *extra, *named]
    rows = []
    for u in utterances:
        path = Path(prefix, os.path.relpath(u.wav, where)).as_posix()
        standard = [getattr(u, name) for name in _STANDARD]
        rows.append([path, *standard, *(_value(u, name) for name in extra)])
        rows[-1] += [u.extra.get(name, "") for name in named]
    write_csv(file, header, rows)
    return notes + _check(utterances, file)


def _link(link: Path, where: str) -> None:
    if link.is_symlink() and os.path.realpath(link) == os.path.realpath(where):
        return
    if os.path.lexists(link):
        raise InputError(
            f"--out: expected no {link} or a link to {where}, got something else. "
            f"Remove it, or write the manifest to {where}."
        )
    with writing(link, "--out"), contextlib.suppress(FileExistsError):
        link.symlink_to(where, target_is_directory=True)


def _is_used(utterances, name) -> bool:
    return any(_value(u, name) not in ("", "0.0") for u in utterances)


def _value(utterance, name) -> str:
    value = getattr(utterance, name)
    if isinstance(value, tuple):
        return " | ".join(value)  # a rater's labels are divided by `;`
    return "" if isinstance(value, float) and math.isnan(value) else str(value)


def _check(utterances, file: Path) -> list[str]:
    """What reading the manifest would leave out, such as names with blanks around."""
    excluded: list[Exclusion] = []
    read = {u.id for u in manifest.read(file, excluded=excluded)}
    missing = [u.id for u in utterances if u.id not in read]
    if not missing:
        return []
    first = f"{excluded[0].reason}: {excluded[0].detail}" if excluded else missing[0]
    return [f"{len(missing)} of its rows cannot be read back, first {first}"]
