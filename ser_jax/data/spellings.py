"""Labels and speakers that look alike: `Angry` and `angry`, `03` and `3`, `nan`."""

import collections
import dataclasses
import logging
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from ser_jax.corpora.utterance import Utterance
from ser_jax.data.classes import read_label_map

# What spreadsheets and data frames leave where a cell was empty.
_MISSING = frozenset(
    ("nan", "nat", "none", "null", "nil", "na", "n/a", "#n/a", "n.a.", "<na>", "?", "")
    + ("(blank)", "missing", "undefined", "unknown", "#value!", "#ref!")
)
# Letters of other alphabets that look like Latin ones.
_LATIN = str.maketrans("аеорсухіјѕԁɡαονρι", "aeopcyxijsdgaovpi")
_INVISIBLE = {*"\u034f\u115f\u1160", *map(chr, range(0xFE00, 0xFE10))}
_COLUMNS = ("emotion", "speaker")


class Spellings(NamedTuple):
    """Values of a column that are probably one, or none at all."""

    column: str
    counts: dict[str, int]  # how often each occurs
    merged: bool
    missing: bool  # whether they read like the absence of a value

    def __str__(self) -> str:
        # Escapes show what is invisible.
        counts = ", ".join(f"{name!a} {n}" for name, n in self.counts.items())
        if self.missing:
            return f"{self.column} {counts}: reads like a missing value"
        what = "taken as one" if self.merged else "taken as different"
        return f"{self.column} {counts}: look alike, {what}"


def find(utterances: Sequence[Utterance], data) -> list[Spellings]:
    """Finds labels and speakers that look alike, and warns.

    Two look alike if they differ in case, Unicode form, alphabet, invisible characters,
    blanks, `-` and `_`, leading zeros or a decimal point behind which there are zeros.
    """
    found = []
    # Corpora spell labels each in their own way.
    several = data.corpus == "multi"
    columns = _COLUMNS[1:] if several else _COLUMNS
    for column in columns:
        counts = collections.Counter(getattr(u, column) for u in utterances)
        groups = collections.defaultdict(dict)
        for name, number in sorted(counts.items()):
            # `several` puts the corpus before a speaker: no two of them have one.
            corpus, own = name.split("/", 1) if several else ("", name)
            groups[corpus, _bare(own)][name] = number
        for (_, bare), group in groups.items():
            missing = bare in _MISSING
            # Labels that the map names both stay as they are.
            merged = data.merge_spellings and not missing
            merged = merged and len(_named(column, group, data)) < 2
            if missing or len(group) > 1:
                found.append(Spellings(column, group, merged, missing))
    for item in found:
        advice = "" if item.merged or item.missing else "; see data.merge_spellings"
        logging.getLogger(__name__).warning("%s%s", item, advice)
    return found


def merge(
    utterances: Sequence[Utterance], found: Sequence[Spellings], data
) -> tuple[Utterance, ...]:
    """The utterances, with one spelling for all that `found` says to merge.

    It is the one that `data.label_map` names, or else the most frequent.
    """
    chosen = {column: {} for column in _COLUMNS}
    for item in found:
        if item.merged:
            named = _named(item.column, item.counts, data)
            best = max(item.counts, key=lambda x: (x in named, item.counts[x]))
            chosen[item.column] |= dict.fromkeys(item.counts, best)
    if not any(chosen.values()):
        return tuple(utterances)
    return tuple(
        dataclasses.replace(
            u, **{x: chosen[x].get(getattr(u, x), getattr(u, x)) for x in _COLUMNS}
        )
        for u in utterances
    )


def _named(column: str, names, data) -> set[str]:
    """Those of `names` that `data.label_map` names."""
    if column != "emotion" or data.label_map is None:
        return set()
    return read_label_map(data.label_map, may_drop=True).keys() & names


def _bare(name: str) -> str:
    """What is left of a name without all that the eye does not tell apart."""
    text = unicodedata.normalize("NFKC", name)
    text = re.sub(r"^\s*[-\u2212](?=\.?\d)", "minus ", text)
    visible = "".join(
        " " if c.isspace() or c in "-_" else c
        for c in text
        if c.isspace() or not _is_invisible(c)
    )
    text = unicodedata.normalize("NFKC", visible.casefold())
    if any("a" <= c <= "z" for c in text):
        text = text.translate(_LATIN)
    text = re.sub(r"(?<=\d)\.0+$", "", " ".join(text.split()))
    return re.sub(r"(?<![\d.])0+(?=\d)", "", text)


def _is_invisible(c: str) -> bool:
    # The last: joiners, fillers and variation selectors, which count as letters or marks.
    return unicodedata.category(c) in ("Cf", "Cc") or c in _INVISIBLE
