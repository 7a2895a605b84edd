"""The rules by which a corpus is split; `ser_jax.data.protocols` makes folds of them.

A rule yields (name, train, val, test) for one seed, as positions in any order.
"""

import collections
import zlib
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np

from ser_jax.corpora.several import COLUMN as CORPUS
from ser_jax.corpora.several import corpus_of
from ser_jax.data.labelled_corpus import IMPROVISED, Corpus
from ser_jax.errors import InputError

PARTS = ("train", "val", "test")
_PART_OF = dict.fromkeys(("train", "training"), "train") | {"test": "test"}
_PART_OF |= dict.fromkeys(("val", "valid", "validation", "dev", "development"), "val")
# MSP-Podcast's further tests: scores are published on each by itself, mostly the first.
_PART_OF |= {"test1": "test", "test2": "", "test3": ""}
VALIDATIONS = ("speaker", "group", "random")
Parts = Iterator[tuple[str, list[int], list[int], list[int]]]


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


def leave_corpus_out(corpus: Corpus, protocol, seed: int) -> Parts:
    """Each corpus is tested once by a training on all others, who validate as well."""
    corpora = list(_corpora(corpus, protocol).items())
    speaker = corpus.values("speaker")
    for number, (name, test) in enumerate(corpora):
        rest, rng = _without(corpus.used, test), _rng(seed, f"val {name}")
        _, next_corpus = corpora[(number + 1) % len(corpora)]
        sources = [next_corpus]
        if protocol.validation == "speaker":  # one of each that can spare one
            others = (part for other, part in corpora if other != name)
            sources = [x for x in others if len({speaker[i] for i in x}) > 1]
        val = set()
        for part in sources:
            val.update(_validation(corpus, protocol, rest, part, seed, rng))
        yield name, _without(rest, val), list(val), test


def pairs(corpus: Corpus, protocol, seed: int) -> Parts:
    """Each corpus trains once and is tested on all others whole.

    Of its own speakers a fifth, balanced by size and gender, neither trains nor
    validates and is tested, too: what is lost on the way to another corpus shows beside
    it. With fewer than three speakers nobody is.
    """
    speaker, kinds = corpus.values("speaker"), _speaker_kinds(corpus)
    for name, own in _corpora(corpus, protocol).items():
        groups, names = [[]], {speaker[i] for i in own}
        if len(names) > 2:
            dealt = _deal([speaker[i] for i in own], kinds, min(5, len(names)))
            numbers = sorted({*dealt.values()})
            groups = [[i for i in own if dealt[speaker[i]] == n] for n in numbers]
        test = groups[seed % len(groups)]
        rest = _without(own, test)
        among = groups[(seed + 1) % len(groups)]
        among = rest if protocol.validation == "speaker" else among
        rng = _rng(seed, f"val {name}")
        val = _validation(corpus, protocol, rest, among, seed, rng)
        yield name, _without(rest, val), val, [*_without(corpus.used, own), *test]


def _corpora(corpus: Corpus, protocol) -> dict[str, list[int]]:
    """Utterances by corpus, two or more."""
    value = corpus.values(CORPUS)
    names = sorted(set(value.values()))
    if len(names) < 2:
        raise InputError(
            f"protocol.split={protocol.split!r}: expected two or more corpora; got "
            f"{', '.join(names)}. Use data.corpus=multi with data.corpora, or a "
            f"manifest with a column {CORPUS!r}."
        )
    return {name: [i for i in corpus.used if value[i] == name] for name in names}


RULES = {
    "corpus": leave_corpus_out,
    "pairs": pairs,
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
        "corpus": (CORPUS,),
        "pairs": ("speaker",),
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
        kinds = _speaker_kinds(corpus) if column == "speaker" else {}
        number = _deal(list(value.values()), kinds, protocol.groups)
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


def _speaker_kinds(corpus) -> dict[str, tuple[str, str]]:
    """Corpus and gender by speaker, or empty unless each speaker has exactly one."""
    used = (corpus.utterances[i] for i in corpus.used)
    pairs = {(u.speaker, (corpus_of(u), u.gender)) for u in used}
    kinds = dict(pairs)
    unambiguous = len(kinds) == len(pairs) and all(map(any, kinds.values()))
    return kinds if unambiguous else {}


def _deal(values: Sequence[str], kinds: Mapping[str, Hashable], groups: int):
    """The number in [0, groups) by value; groups have about equally many utterances.

    Largest value first, each to the group with the fewest values of its kind (corpus
    and gender), then with the fewest utterances, then with the lowest number.
    """
    size = collections.Counter(values)
    if not 2 <= groups <= len(size):
        raise InputError(
            "protocol.groups: expected 0 (one fold per value) or a number from 2 to "
            f"{len(size)}, the number of values of the column; got {groups}."
        )
    dealt, total = [collections.Counter() for _ in range(groups)], [0] * groups
    number = {}
    for value in sorted(size, key=lambda v: (kinds.get(v, ()), -size[v], v)):
        # Without kinds every value is one of its own: size alone decides.
        kind = kinds.get(value, value)
        best = min(range(groups), key=lambda g: (dealt[g][kind], total[g], g))
        number[value] = best
        dealt[best][kind] += 1
        total[best] += size[value]
    return number
