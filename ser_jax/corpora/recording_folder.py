"""The folder of a manifest: its recordings, and links that lead out of it."""

import functools
import logging
import os
import re
import unicodedata
from pathlib import Path


class NoRecording(Exception):
    """There is no recording; `reason` and text are those of an `Exclusion`."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


class RecordingFolder:
    """Looks recordings up; lists each folder once instead of asking for each file."""

    def __init__(self, home: Path):
        self._home, self._real_home = str(home), os.path.realpath(home)
        self._listing = functools.cache(_listing)
        self._plain_names = functools.cache(self._plain_names)
        self._target_outside = functools.cache(self._target_outside)
        self._links: dict[str, str] = {}  # what leads out of the folder, and where to

    def find(self, path: str) -> tuple[str, str]:
        """(Absolute path, the same relative to the folder).

        Raises:
          NoRecording: There is none inside the folder.
        """
        if "\0" in path:
            raise NoRecording("missing wav", f"expected a path, got {path!r}")
        wav = os.path.normpath(os.path.join(self._home, path))
        relative = os.path.relpath(wav, self._home)
        if _leads_out(relative):  # but perhaps back, by another name of the folder
            target = os.path.realpath(wav)
            relative = os.path.relpath(target, self._real_home)
            if _leads_out(relative):
                detail = f"expected a path inside {self._home}, got {path} ({target})"
                raise NoRecording("path outside the folder", detail)
        folder, name = os.path.split(wav)
        if name.startswith("._") or "__MACOSX" in relative.split(os.sep):
            raise NoRecording("Apple metadata", f"expected a recording, got {path}")
        entry = self._listing(folder).get(name)
        if entry is None or not _is_file(entry):
            detail = f"expected {wav}, got no file{self.hint(path)}"
            raise NoRecording("missing wav", detail)
        for link in (folder, wav) if entry.is_symlink() else (folder,):
            if target := self._target_outside(link):
                self._links[link] = target
        return wav, relative

    def log_links(self) -> None:
        """Names the links by which recordings outside the folder were reached."""
        for link, target in sorted(self._links.items())[:3]:
            logging.getLogger(__name__).info("%s is a link to %s", link, target)
        if len(self._links) > 3:
            logging.getLogger(__name__).info("... %d links in all", len(self._links))

    def _target_outside(self, link: str) -> str:
        target = os.path.realpath(link)
        return target if _leads_out(os.path.relpath(target, self._real_home)) else ""

    def hint(self, path: str) -> str:
        """What is probably wrong with a path where no file is; may be empty."""
        if advice := address_hint(path):
            return advice
        if path.startswith("~") or re.match(r"[A-Za-z]:[\\/]", path):
            return f"; write it relative to {self._home}"
        at = self._home
        for part in filter(None, path.replace("\\", "/").split("/")):
            name = self._plain_names(at).get(_plain(part))
            if name is None:
                return ""
            at = os.path.join(at, name)
        if os.path.isdir(at):
            return "; it is a folder"
        written = os.path.relpath(at, self._home)
        if written == os.path.normpath(path):
            return "; it is a link to nothing, a pipe or a device"
        if unicodedata.normalize("NFC", path) == unicodedata.normalize("NFC", written):
            return f"; write {written} in its own Unicode form (NFC or NFD)"
        return f"; write {written}"

    def _plain_names(self, folder: str) -> dict[str, str]:
        return {_plain(name): name for name in self._listing(folder)}


def address_hint(path: str) -> str:
    """What to do with an address in place of a path; empty for a path."""
    if path.lower().startswith("file:"):
        return "; write the path alone, without file://"
    return "; download it first" if "://" in path else ""


def _leads_out(relative: str) -> bool:
    return relative.split(os.sep, 1)[0] == os.pardir


def _listing(folder: str) -> dict[str, os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries}
    except (OSError, ValueError):  # ValueError: a name that no folder can have
        return {}


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def _plain(name: str) -> str:
    # File systems differ in case and in how they write accents.
    return unicodedata.normalize("NFC", name).casefold()
