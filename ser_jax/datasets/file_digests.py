"""Digests of files, so that a changed corpus is noticed without reading it all.

A file is read again only when its size, time of change or inode differ from those in a
journal; 12 hours of speech are read once.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import joblib
from tqdm import tqdm

from ser_jax import user_cache

UNREADABLE = "unreadable"
# A file that changes twice within a tick of the file system's clock keeps its times.
_SETTLED_NS = 2 * 10**9
_CHANGED = 3  # in a journal's entry, the time at which the file last changed in any way


def file_digests(
    paths: Sequence[str], corpus: str | os.PathLike, tfds_dir: str | os.PathLike
) -> list[str]:
    """32 hex digits for each file's content; `UNREADABLE` if it cannot be read.

    Args:
      paths: Absolute paths.
      corpus: Its manifest or folder, by whose path the journal is found again.
      tfds_dir: Where datasets lie, and the journals beside them; if that is a bucket,
        they lie in the user's cache. A journal that cannot be written only costs the
        time to read again.
    """
    journal = _journal(os.path.abspath(corpus), str(tfds_dir))
    known = _read(journal)
    stamps = {path: _stamp(path) for path in paths}
    entries = {
        path: known[path]
        for path, stamp in stamps.items()
        if path in known and known[path][:-1] == stamp
    }
    stale = [path for path in stamps if path not in entries]
    bar = tqdm(stale, "Reading the corpus", unit="file", delay=2, leave=False)
    digests = joblib.Parallel(n_jobs=-1, prefer="threads")(
        joblib.delayed(_digest)(path) for path in bar
    )
    for path, digest in zip(stale, digests, strict=True):
        entries[path] = [*stamps[path], digest]
    if stale:
        before = time.time_ns() - _SETTLED_NS
        settled = {
            path: entry
            for path, entry in entries.items()
            if entry[_CHANGED] < before and entry[-1] != UNREADABLE
        }
        _write(journal, settled)
    return [entries[path][-1] for path in paths]


def _journal(corpus: str, tfds_dir: str) -> Path:
    in_bucket = "://" in tfds_dir
    folder = user_cache.folder("digests") if in_bucket else Path(tfds_dir, "digests")
    return folder / f"{hashlib.sha256(os.fsencode(corpus)).hexdigest()[:16]}.json"


def _stamp(path: str) -> list[int]:
    try:
        stat = os.stat(path)
    except OSError:
        return [0, 0, 0, 0]
    # The last: a copy that keeps the time of change, and is as long, is noticed, too.
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns]


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    except OSError:  # the builder leaves it out, and says why
        return UNREADABLE
    return digest.hexdigest()


def _read(journal: Path) -> dict[str, list]:
    try:
        known = dict(json.loads(journal.read_text()))
        return {path: entry for path, entry in known.items() if len(entry) == 5}
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def _write(journal: Path, entries: dict[str, list]) -> None:
    part = journal.with_name(f"{journal.name}.{os.getpid()}.part")
    with contextlib.suppress(OSError):
        try:
            journal.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(entries))
            part.replace(journal)
        finally:
            part.unlink(missing_ok=True)
