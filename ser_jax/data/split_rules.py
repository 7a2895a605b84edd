"""The rules by which a corpus is split; `ser_jax.data.protocols` makes folds of them.

A rule yields (name, train, val, test) for one seed, as positions in any order.
"""

import collections
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ser_jax.corpora.utterance import Utterance
from ser_jax.errors import InputError

COLUMNS = (
    *("speaker", "session", "gender", "language"),
    *("dialog", "style", "split", "text"),
)
PARTS = ("train", "val", "test")
_PART_OF = dict.fromkeys(("train", "training"), "train") | {"test": "test"}
_PART_OF |= dict.fromkeys(("val", "valid", "validation", "dev", "development"), "val")
# MSP-Podcast's further tests: scores are published on each by itself, mostly the first.
_PART_OF |= {"test1": "test", "test2": "", "test3": ""}
IMPROVISED = "improvised"
VALIDATIONS = ("speaker", "group", "random")
_DIALOG = re.compile(r"Ses\d+[FM]_(?:(script\d+)_\w+|impro\w+)")
Parts = Iterator[tuple[str, list[int], list[int], list[int]]]


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


def _rng(seed: int, name: str) -> np.random.Generator:
    # Seeded by the fold's name: another fold more or less leaves its draws alone.
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _without(part, excluded) -> list[int]:
    excluded = set(excluded)
    return [i for i in part if i not in excluded]


def _val_fraction(protocol, below: float) -> float:
    if not 0 < protocol.val_fraction < below:
        raise InputError(
            f"protocol.val_fraction: expected more than 0 and less than {below}; got "
            f"{protocol.val_fraction}. The paper's code has 0.1."
        )
    return protocol.val_fraction


def random_811(corpus: Corpus, protocol, seed: int) -> Parts:
    """8:1:1 per class; the tenth for validation is cut after the test's."""
    rng = _rng(seed, "random_811")
    test = corpus.stratified(corpus.used, 0.1, rng)
    train, val = _without(corpus.used, test), []
    if protocol.selection == "val":
        val = corpus.stratified(train, 1 / 9, rng)
    yield "split", _without(train, val), val, test


def random_80_20(corpus: Corpus, protocol, seed: int) -> Parts:
    """A plain draw, not by class, as the released code of AACNN makes it."""
    total = len(corpus.used)
    order = [corpus.used[i] for i in _rng(seed, "random_80_20").permutation(total)]
    num_test, num_val = round(0.2 * total), 0
    if protocol.selection == "val":
        num_val = max(1, round(_val_fraction(protocol, 0.8) * total))
    test, val = order[:num_test], order[num_test : num_test + num_val]
    yield "split", order[num_test + num_val :], val, test


def leave_out(corpus: Corpus, protocol, seed: int) -> Parts:
    """All other rules: each value of a column is tested once, by script or whole."""
    # Elsewhere all turns count as one nameless script, which is not left out.
    scripts = dict.fromkeys(corpus.used, "")
    if protocol.split == "session5_script":
        scripts = corpus.scripts()
    groups = list(_groups(corpus, protocol).items())
    for number, (group, members) in enumerate(groups):
        others = _without(corpus.used, members)
        next_group = groups[(number + 1) % len(groups)][1]
        for tested in sorted({scripts[i] for i in members}):
            name = f"{group}_{tested}" if tested else group
            test = [i for i in members if scripts[i] == tested]
            rest = others
            if tested not in ("", IMPROVISED):
                # The other sessions act the tested script as well.
                rest = [i for i in others if scripts[i] != tested]
            if protocol.split == "speaker10":
                session = corpus.values("session")
                val = [i for i in rest if session[i] == session[test[0]]]
            else:
                next_part = set(rest).intersection(next_group)
                rng = _rng(seed, f"val {name}")
                val = _validation(corpus, protocol, rest, next_part, number + seed, rng)
            yield name, _without(rest, val), val, test


def official(corpus: Corpus, protocol, seed: int) -> Parts:
    """The corpus's own parts, from its column `split`.

    Where it has none for validation, it is cut out of the training part per class, or is
    one speaker there. A second and a third test part are left out.
    """
    part = {i: _PART_OF.get(name.lower()) for i, name in corpus.values("split").items()}
    unknown = [i for i in corpus.used if part[i] is None]
    if unknown:
        raise InputError(
            f"Column 'split': expected {', '.join(_PART_OF)}; got "
            f"{corpus.utterances[unknown[0]].split!r} for {len(unknown)} utterances. "
            "Rename these parts, or choose another protocol.split."
        )
    train, val, test = ([i for i in corpus.used if part[i] == p] for p in PARTS)
    if protocol.selection == "val" and not val:
        if protocol.validation == "group":
            raise InputError(
                "protocol.validation: expected speaker or random where the corpus has no "
                "part for validation; got 'group'."
            )
        rng = _rng(seed, "val official")
        val = _validation(corpus, protocol, train, train, seed, rng)
    # Without a choice to make, as in all rules, it trains.
    val = val if protocol.selection == "val" else []
    rest = [i for i in corpus.used if part[i]]
    yield "official", _without(rest, {*val, *test}), val, test


RULES = {
    "official": official,
    "session5": leave_out,
    "session5_script": leave_out,
    "speaker10": leave_out,
    "random_811": random_811,
    "random_80_20": random_80_20,
    "group": leave_out,
}


def kept_apart(protocol) -> tuple[str, ...]:
    """Columns whose values are not in training and test both; () for random splits."""
    return {
        "session5": ("speaker", "session"),
        "session5_script": ("speaker", "session", "script"),
        "speaker10": ("speaker", "session"),
        "group": (protocol.group_by,),
    }.get(protocol.split, ())


def _validation(corpus, protocol, rest, next_part, turn: int, rng) -> list[int]:
    """Who of `rest` chooses the epoch; `next_part` is the next group's share of it."""
    if protocol.selection != "val":
        return []
    if protocol.validation == "group":
        return list(next_part)
    if protocol.validation == "random":
        return corpus.stratified(rest, _val_fraction(protocol, 1.0), rng)
    speaker = corpus.values("speaker")
    candidates = sorted({speaker[i] for i in next_part})
    chosen = candidates[turn % len(candidates)] if candidates else None
    return [i for i in rest if speaker[i] == chosen]


def _groups(corpus, protocol) -> dict[str, list[int]]:
    """Utterances by the value that is left out, in fold order."""
    columns = {"speaker10": "speaker", "group": protocol.group_by}
    column = columns.get(protocol.split, "session")
    value = corpus.values(column)
    names = sorted(set(value.values()))
    if len(names) < 2:
        raise InputError(
            f"protocol.split={protocol.split!r}: expected two or more values of "
            f"{column} among the used utterances; got {', '.join(names)}. Choose "
            "another split, or split='group' with another group_by."
        )
    if protocol.split == "speaker10":
        _check_pairs(corpus)
    if protocol.split == "group" and protocol.groups:
        gender = _speaker_genders(corpus) if column == "speaker" else {}
        number = _deal(list(value.values()), gender, protocol.groups)
        width = len(str(protocol.groups))
        value = {i: f"group{number[v] + 1:0{width}d}" for i, v in value.items()}
        names = sorted(set(value.values()))
    return {name: [i for i in corpus.used if value[i] == name] for name in names}


def _check_pairs(corpus) -> None:
    speaker, session = corpus.values("speaker"), corpus.values("session")
    for name in dict.fromkeys(session.values()):
        speakers = sorted({speaker[i] for i in corpus.used if session[i] == name})
        if len(speakers) != 2:
            raise InputError(
                "protocol.split='speaker10': expected two speakers in every session; "
                f"got {', '.join(speakers)} in {name}. Use split='group' with "
                "group_by='speaker'."
            )


def _speaker_genders(corpus) -> dict[str, str]:
    """Gender by speaker, or empty unless each speaker has exactly one."""
    used = (corpus.utterances[i] for i in corpus.used)
    pairs = {(u.speaker, u.gender) for u in used}
    genders = dict(pairs)
    unambiguous = len(genders) == len(pairs) and all(genders.values())
    return genders if unambiguous else {}


def _deal(values: Sequence[str], gender: Mapping[str, str], groups: int):
    """The number in [0, groups) by value; groups have about equally many utterances.

    Largest value first, each to the group with the fewest values of its gender, then
    with the fewest utterances, then with the lowest number.
    """
    size = collections.Counter(values)
    if not 2 <= groups <= len(size):
        raise InputError(
            "protocol.groups: expected 0 (one fold per value) or a number from 2 to "
            f"{len(size)}, the number of values of the column; got {groups}."
        )
    dealt, total = [collections.Counter() for _ in range(groups)], [0] * groups
    number = {}
    for value in sorted(size, key=lambda v: (gender.get(v, ""), -size[v], v)):
        # Without genders every value is a kind of its own: size alone decides.
        kind = gender.get(value, value)
        best = min(range(groups), key=lambda g: (dealt[g][kind], total[g], g))
        number[value] = best
        dealt[best][kind] += 1
        total[best] += size[value]
    return number
