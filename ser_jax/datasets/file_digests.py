"""Digests of files, so that a changed corpus is noticed without reading it all.

A file is read again only when its size, time of change or inode differ from those in a
journal; 12 hours of speech are read once.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import joblib
from tqdm import tqdm

# A file that changes twice within a tick of the file system's clock keeps its times.
_SETTLED_NS = 2 * 10**9


def file_digests(paths: Sequence[str], journal: Path | None) -> list[str]:
    """32 hex digits for each file's content.

    Args:
      paths: Absolute paths; OSError if one cannot be read.
      journal: JSON file with what is known; written again if something was read. A
        folder that cannot be written to only costs the time to read again, as None
        does.
    """
    known = _read(journal) if journal else {}
    stamps = [_stamp(path) for path in paths]
    entries = {}
    stale = []
    for path, stamp in zip(paths, stamps, strict=True):
        entry = known.get(path)
        if entry and entry[:-1] == stamp:
            entries[path] = entry
        else:
            stale.append(path)
    bar = tqdm(stale, "Reading the corpus", unit="file", delay=2, leave=False)
    digests = joblib.Parallel(n_jobs=-1, prefer="threads")(
        joblib.delayed(_digest)(path) for path in bar
    )
    now = time.time_ns()
    stamp_of = dict(zip(paths, stamps, strict=True))
    for path, digest in zip(stale, digests, strict=True):
        entries[path] = [*stamp_of[path], digest]
    if stale and journal:
        settled = {
            path: entry
            for path, entry in entries.items()
            if max(entry[1:3]) < now - _SETTLED_NS
        }
        _write(journal, settled)
    return [entries[path][-1] for path in paths]


def of_corpus(
    place: str | os.PathLike, paths: Sequence[str], journals: str
) -> list[str]:
    """As `file_digests`, with the journal of the corpus at `place` among `journals`.

    Without that folder every file is read.
    """
    if not journals:
        return file_digests(paths, None)
    name = hashlib.sha256(os.fsencode(os.path.abspath(place))).hexdigest()[:16]
    return file_digests(paths, Path(journals) / f"{name}.json")


def _stamp(path: str) -> list[int]:
    stat = os.stat(path)
    # ctime: a copy that keeps the time of change, and is as long, is noticed, too.
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    return digest.hexdigest()


def _read(journal: Path) -> dict[str, list]:
    try:
        return json.loads(journal.read_text())
    except (OSError, ValueError):
        return {}


def _write(journal: Path, entries: dict[str, list]) -> None:
    part = journal.with_name(f"{journal.name}.{os.getpid()}.part")
    try:
        journal.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(entries))
        part.replace(journal)
    except OSError:
        part.unlink(missing_ok=True)
