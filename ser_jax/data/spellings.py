"""Labels and speakers that look alike: `Angry` and `angry`, `03` and `3`, `nan`."""

import collections
import dataclasses
import logging
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from ser_jax.corpora.utterance import Utterance

# What spreadsheets and data frames leave where a cell was empty.
_MISSING = frozenset({"nan", "none", "null", "n/a", "na", "<na>", "nil", "-", "?"})
_COLUMNS = ("emotion", "speaker")


class LookAlike(NamedTuple):
    """Values of a column that are probably one, or none."""

    column: str
    spellings: dict[str, int]  # how often each occurs; one if it reads like "missing"
    merged: bool

    def __str__(self) -> str:
        # Escapes show what is invisible.
        counts = ", ".join(f"{name!a} {n}" for name, n in self.spellings.items())
        if len(self.spellings) == 1:
            return f"{self.column} {counts}: reads like a missing value"
        what = "taken as one" if self.merged else "taken as different"
        return f"{self.column} {counts}: look alike, {what}"


def settle(
    utterances: Sequence[Utterance], data
) -> tuple[tuple[Utterance, ...], tuple[LookAlike, ...]]:
    """Finds labels and speakers that look alike, warns, and merges them on request.

    Two look alike if they differ in case, Unicode form, invisible characters, blanks or
    leading zeros.

    Args:
      utterances: U utterances.
      data: `config.data`; with `merge_spellings` each group takes the spelling that
        `label_map` names, or else the most frequent one.

    Returns:
      (The utterances, what looks alike.)
    """
    preferred = dict(data.label_map or ()) if data.corpus == "manifest" else {}
    result, found = list(utterances), []
    for column in _COLUMNS:
        counts = collections.Counter(getattr(u, column) for u in utterances)
        groups = collections.defaultdict(dict)
        for name, number in sorted(counts.items()):
            groups[_bare(name)][name] = number
        for bare, group in groups.items():
            if len(group) == 1 and bare not in _MISSING:
                continue
            merged = data.merge_spellings and len(group) > 1
            found.append(LookAlike(column, group, merged))
            if merged:
                chosen = max(group, key=lambda x: (x in preferred, group[x]))
                result = [
                    dataclasses.replace(u, **{column: chosen})
                    if getattr(u, column) in group
                    else u
                    for u in result
                ]
    for item in found:
        logging.getLogger(__name__).warning(
            "%s%s", item, "" if item.merged else "; see data.merge_spellings"
        )
    return tuple(result), tuple(found)


def _bare(name: str) -> str:
    """What is left of a name without all that the eye does not tell apart."""
    visible = "".join(
        " " if c.isspace() else c
        for c in unicodedata.normalize("NFKC", name)
        if unicodedata.category(c) != "Cf"
    )
    words = unicodedata.normalize("NFKC", visible.casefold()).split()
    return re.sub(r"(?<!\d)0+(?=\d)", "", " ".join(words))
