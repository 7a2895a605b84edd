"""A corpus as protocols see it: who says what, and which class that is. NumPy only."""

import re
from collections.abc import Sequence

import numpy as np

from ser_jax.corpora.utterance import Utterance
from ser_jax.errors import InputError

COLUMNS = (
    *("speaker", "session", "gender", "language"),
    *("dialog", "style", "split", "text"),
)
IMPROVISED = "improvised"
_DIALOG = re.compile(r"Ses\d+[FM]_(?:(script\d+)_\w+|impro\w+)")


class Corpus:
    """The used utterances in id order, so that the input's order plays no part."""

    def __init__(self, utterances: Sequence[Utterance], labels: np.ndarray):
        self.utterances = utterances
        self.labels = np.asarray(labels)
        by_id = sorted(range(len(utterances)), key=lambda i: utterances[i].id)
        self.used = [i for i in by_id if self.labels[i] >= 0]

    def values(self, name: str) -> dict[int, str]:
        """A column of the used utterances by position; InputError if one is empty."""
        value = self._cells(name)
        empty = [self.utterances[i].id for i in self.used if not value[i]]
        if empty:
            extra = {n for i in self.used for n in self.utterances[i].extra}
            names = [*sorted(extra - set(COLUMNS)), *COLUMNS]
            full = [n for n in names if all(self._cells(n).values())]
            raise InputError(
                f"Column {name!r}: expected a value for every used utterance; got none "
                f"for {len(empty)} of {len(value)}, first {empty[0]}. Columns that can "
                f"be split by: {', '.join(full) or 'none'}."
            )
        return value

    def _cells(self, name: str) -> dict[int, str]:
        if name in COLUMNS:
            return {i: getattr(self.utterances[i], name) for i in self.used}
        return {i: self.utterances[i].extra.get(name, "") for i in self.used}

    def scripts(self) -> dict[int, str]:
        """`script` of the used utterances; InputError if one has no IEMOCAP dialog."""
        value = {i: script(self.utterances[i].dialog) for i in self.used}
        unknown = [self.utterances[i] for i in self.used if not value[i]]
        if unknown:
            raise InputError(
                "protocol.split='session5_script': expected IEMOCAP's dialog names, "
                "such as Ses01F_script01_1 or Ses01F_impro01; got "
                f"{unknown[0].dialog!r} for {unknown[0].id}. To keep sentences apart in "
                "another corpus use split='group' with group_by='text' (or 'dialog') "
                "and groups=5."
            )
        return value

    def stratified(self, part, fraction: float, rng) -> list[int]:
        """Draws a fraction of each class; at least one of two or more, never all."""
        drawn = []
        for label in sorted({int(self.labels[i]) for i in part}):
            members = [i for i in part if self.labels[i] == label]
            count = min(max(1, round(fraction * len(members))), len(members) - 1)
            drawn.extend(members[j] for j in rng.permutation(len(members))[:count])
        return drawn


def script(dialog: str) -> str:
    """Which play an IEMOCAP dialog acts: `script01` of `Ses05M_script01_1b`.

    `improvised` if it was improvised, empty for a name that is not IEMOCAP's.
    """
    match = _DIALOG.fullmatch(dialog)
    return (match[1] or IMPROVISED) if match else ""
