"""Which corpus is meant, and what its labels say before a recording is opened."""

import collections
import dataclasses
import difflib
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

from ser_jax.corpora import descriptions, iemocap, manifest, named
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError
from ser_jax.terminal import printable

IEMOCAP = "iemocap"
_SETTING = "--root"
_SYNTHETIC = "Synthetic speech: what is counted here is no human emotion."


@dataclasses.dataclass(frozen=True)
class Source:
    """A corpus as its reader returns it."""

    name: str  # for files and folders, e.g. `ravdess`
    title: str
    place: str  # the folder or manifest that was read
    utterances: tuple[Utterance, ...]
    excluded: tuple[Exclusion, ...]  # by the reader
    published: Mapping[str, int]  # class -> how many were published; {} = unknown
    published_speakers: int = 0  # 0 = unknown
    terms: str = ""  # licence, where to ask for it, what to cite
    warning: str = ""  # what a score on this corpus means


def find(name: str, root: str) -> Source:
    """Reads the labels of a corpus.

    Args:
      name: A table of `corpora.toml`, `iemocap`, or the path of a manifest.
      root: Folder of a corpus with a name; empty = what its environment variable says.

    Raises:
      InputError: Nothing is called so, or its reader refuses what is there.
    """
    reader = {IEMOCAP: _iemocap, **dict.fromkeys(descriptions.load(), _named)}
    for known, read in reader.items():
        if _letters(known) == _letters(name):  # CREMA-D
            return read(known, root)
    # A name with a typing error has neither a suffix nor a file.
    if name.lower().endswith(manifest.SUFFIXES) or Path(name).expanduser().is_file():
        if root:
            raise InputError(
                "--root goes with the name of a corpus; the recordings of a manifest "
                f"lie beside it. Leave --root={root} out."
            )
        return _manifest(name)
    near = difflib.get_close_matches(name.lower(), reader, n=3, cutoff=0.6)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    raise InputError(
        f"Expected the name of a corpus, or the path of a manifest, .csv; got {name!r}."
        f"{meant} `python run.py corpora` lists the names."
    )


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def _named(name: str, root: str) -> Source:
    about, excluded = descriptions.load()[name], []
    read = named.read(name, root, setting=_SETTING, excluded=excluded)
    utterances = tuple(read)
    return Source(
        name=name,
        title=about.title,
        place=str(named.find_root(name, root, _SETTING)),
        utterances=utterances,
        excluded=tuple(excluded),
        published=about.expected,
        published_speakers=about.speakers,
        terms=f"Licence: {about.licence}. Cite: {about.cite}. Source: {about.source}",
        warning=about.warning,
    )


def _iemocap(name: str, root: str) -> Source:
    folder, excluded = iemocap.find_root(root, _SETTING), []
    with warnings.catch_warnings():
        # Of counts that differ, which are a table of their own here.
        warnings.simplefilter("ignore", UserWarning)
        read = iemocap.read(folder, strict=False, excluded=excluded)
        utterances = tuple(read)
    is_synthetic = iemocap.is_synthetic(folder)
    terms = f"Licence: {iemocap.LICENCE}. Source: {iemocap.ADDRESS}"
    published = collections.Counter()
    for sessions in iemocap.COUNTS.values():
        for row in sessions.values():
            published.update(dict(zip(iemocap.COUNTED, row, strict=True)))
    return Source(
        name=name,
        title="IEMOCAP, synthetic" if is_synthetic else "IEMOCAP",
        place=str(folder),
        utterances=utterances,
        excluded=tuple(excluded),
        published={} if is_synthetic else dict(published),
        published_speakers=0 if is_synthetic else 10,
        terms="" if is_synthetic else terms,
        warning=_SYNTHETIC if is_synthetic else "",
    )


def _manifest(path: str) -> Source:
    excluded: list[Exclusion] = []
    utterances = tuple(manifest.read(path, excluded=excluded))
    file = Path(path).expanduser().absolute()
    return Source(
        name=f"{file.parent.name}-{file.stem}".strip("-"),
        title=printable(f"{file.parent.name}/{file.name}"),
        place=str(file),
        utterances=utterances,
        excluded=tuple(excluded),
        published={},
    )
