"""Several corpora as one: ids, speakers and sessions are told apart. Pure Python."""

import dataclasses
import os
import re
from collections.abc import Mapping

from ser_jax.corpora import descriptions, iemocap, manifest, named
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError

# Corpora in IEMOCAP's layout, with its labels.
IEMOCAP_CORPORA = ("iemocap", "demo")
COLUMN = "corpus"  # of `Utterance.extra`; a manifest may have it, too


def corpus_of(utterance: Utterance) -> str:
    """The corpus that an utterance comes from; empty if there is one only."""
    return utterance.extra.get(COLUMN, "")


def parse(corpora) -> dict[str, str]:
    """`data.corpora` as name -> folder or manifest, in the order given.

    Raises:
      InputError: It is no mapping of two or more names that can be told apart.
    """
    advice = (
        "data.corpora: expected two or more corpora with their folders or manifests, "
        "such as {'emodb': '/data/emodb', 'mine': 'mine.csv'}; got "
    )
    try:
        given = corpora.items() if hasattr(corpora, "items") else corpora
        pairs = [(name, os.fspath(place)) for name, place in given]
    except (TypeError, ValueError) as error:
        raise InputError(f"{advice}{corpora!r}.") from error
    found = dict(pairs)
    if isinstance(corpora, str) or len(found) < max(2, len(pairs)):
        raise InputError(f"{advice}{corpora!r}.")
    for name, place in found.items():
        if not isinstance(name, str) or not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
            raise InputError(f"{advice}the name {name!r}: use letters, digits and _.")
        if not place and name not in (*IEMOCAP_CORPORA, *descriptions.load()):
            raise InputError(
                f"{advice}nothing for {name!r}, which is no name that `run.py corpora` "
                "lists. Name its manifest."
            )
    return found


def read(
    corpora: Mapping[str, str], *, strict: bool, excluded: list[Exclusion]
) -> list[Utterance]:
    """Reads all of them; `03a01Fa` of `emodb` becomes `emodb/03a01Fa`, sorted by id.

    So do speakers, who are different people in different corpora; recordings without a
    speaker count as one. `extra["corpus"]` names the corpus.

    Args:
      corpora: Of `parse`. A name that `run.py corpora` lists goes with its folder, or
        '' for what its variable says, or with a manifest of it; any other name with a
        manifest.
      strict: Whether a full IEMOCAP must have its published counts.
      excluded: Gets what the readers leave out.

    Raises:
      InputError: One of them is missing or cannot be read.
    """
    found = []
    for name, place in corpora.items():
        left_out: list[Exclusion] = []
        found += [
            dataclasses.replace(
                u,
                id=f"{name}/{u.id}",
                speaker=f"{name}/{u.speaker or 'unknown'}",
                session=f"{name}_{u.session}",
                extra={**u.extra, COLUMN: name},
            )
            for u in _read(name, place, strict, left_out)
        ]
        excluded += [dataclasses.replace(x, id=f"{name}/{x.id}") for x in left_out]
    return sorted(found, key=lambda u: u.id)


def _read(name: str, place: str, strict: bool, excluded: list[Exclusion]):
    setting = f"data.corpora[{name!r}]"
    try:
        if place.lower().endswith(manifest.SUFFIXES) or os.path.isfile(place):
            return manifest.read(place, excluded=excluded)
        if name in IEMOCAP_CORPORA:
            folder = iemocap.find_root(place, setting)
            return iemocap.read(folder, strict=strict, excluded=excluded)
        if name in descriptions.load():
            return named.read(name, place, setting=setting, excluded=excluded)
        return manifest.read(place, excluded=excluded)
    except InputError as error:
        raise InputError(f"data.corpora, {name}: {error}") from error
