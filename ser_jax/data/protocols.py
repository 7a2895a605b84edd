"""Folds: who trains, who validates, who is tested. NumPy only.

Made by utterance, before segmenting, from the utterance list alone: deterministic by
seed and whatever order the utterances come in. Labels follow `ser_jax.data.classes`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ser_jax.corpora.utterance import Utterance
from ser_jax.data import split_rules
from ser_jax.data.classes import Labelled, assign_classes, check_protocol
from ser_jax.data.split_rules import RANDOM_RULES, Corpus
from ser_jax.errors import InputError

__all__ = [
    "Fold",
    "Labelled",
    "assign_classes",
    "check_protocol",
    "make_folds",
    "promises",
    "splits_json",
]


@dataclasses.dataclass(frozen=True)
class Fold:
    """Positions in the utterance list of one fold's parts, each sorted.

    Attributes:
      name: Session, speaker or column value that is tested; `group1` ... with
        `protocol.groups`; `split` for random splits.
      seed: Seed of the runs on this fold.
      train: Training utterances.
      val: Utterances that choose the epoch; empty if none do.
      test: Utterances that are scored.
    """

    name: str
    seed: int
    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]


def make_folds(
    utterances: Sequence[Utterance], labels: np.ndarray, protocol
) -> list[Fold]:
    """Makes every fold of every seed, in (seed, fold) order.

    `session5`: leave one session out. `session5_script`: leave out a session's turns of
    one script (`session1_script01`) or its improvised ones; nobody of that session and
    no other session's turn of that script trains or validates. `speaker10`: leave one
    speaker out; the other speaker of the session validates. `random_811`: 8:1:1,
    stratified by class. `random_80_20`: a plain draw of 20 % for the test, as AACNN's
    code (its seeds are 111111, 123456, 0, 999999, 987654); `val_fraction` of all
    utterances validates. `group`: leave values of `protocol.group_by` out, dealt to
    `protocol.groups` folds.

    Who validates in `session5`, `session5_script` and `group` (`protocol.validation`):
    `speaker` = one whole speaker of the next fold or session (number i, seed s: speaker
    number i + s, cyclic), `group` = all of it, `random` = `val_fraction` of the training
    utterances per class. With selection `last` or `test` nobody validates and that
    part trains, except in `speaker10`, where it stays out so that no session is shared.

    Differs from the paper: AACNN's code trains on its validation part as well and
    chooses the epoch on the test part; that is `selection="test"` here.

    Args:
      utterances: U utterances, any order.
      labels: int [U], class or -1 for utterances that are not used.
      protocol: `config.protocol`.

    Raises:
      InputError: The rule does not fit the corpus, or a fold cannot be used.
    """
    check_protocol(protocol)
    corpus = Corpus(utterances, labels)
    rule = split_rules.RULES.get(protocol.split, split_rules.leave_out)
    folds = []
    for seed in _seeds(protocol):
        for name, train, val, test in rule(corpus, protocol, seed):
            parts = (tuple(sorted(int(i) for i in part)) for part in (train, val, test))
            folds.append(Fold(name, seed, *parts))
    for fold in folds:
        _check_usable(fold, corpus, protocol)
        _check_promises(fold, corpus, protocol)
    return folds


def promises(protocol) -> tuple[str, ...]:
    """What a reader may rely on, in the words of the report."""
    words = ["no utterance is in two parts; segments and copies follow their utterance"]
    if protocol.split in RANDOM_RULES:
        words.append("speakers and sessions are SHARED by training and test")
    elif protocol.split in ("session5", "speaker10"):
        words.append("no speaker and no session is in both training and test")
    elif protocol.split == "session5_script":
        words.append(
            "no speaker, no session and no script is in both training and test"
        )
    else:
        words.append(f"no {protocol.group_by} is in both training and test")
    if protocol.split == "speaker10" and protocol.selection == "val":
        words.append("validation: the other speaker of the test session")
    elif protocol.split == "speaker10":
        words.append("the other speaker of the test session does not train")
    elif protocol.selection != "val":
        words.append("no validation part: it trains as well")
    elif protocol.split in RANDOM_RULES:
        words.append("validation: random utterances, speakers shared with training")
    else:
        following = "fold"
        if protocol.split == "session5_script":
            following = "session, without the tested script"
        words.append(
            {
                "speaker": f"validation: one whole speaker of the next {following}",
                "group": f"validation: all of the next {following}",
                "random": "validation: random utterances, speakers shared with "
                "training",
            }[protocol.validation]
        )
    if protocol.selection == "test":
        words.append("PAPER MODE: the epoch is chosen on the test part")
    return tuple(words)


def splits_json(folds: Sequence[Fold], utterances: Sequence[Utterance]) -> dict:
    """The content of splits.json: utterance ids of every fold's parts."""

    def ids(part):
        return sorted(utterances[i].id for i in part)

    return {
        "folds": [
            {
                "name": fold.name,
                "seed": fold.seed,
                "train": ids(fold.train),
                "val": ids(fold.val),
                "test": ids(fold.test),
            }
            for fold in folds
        ]
    }


def _seeds(protocol) -> list[int]:
    seeds = [int(seed) for seed in protocol.seeds]
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise InputError(
            "protocol.seeds: expected one or more different numbers of 0 or more; got "
            f"{tuple(seeds)}. Set protocol.seeds=(0,)."
        )
    return seeds


def _check_usable(fold: Fold, corpus: Corpus, protocol) -> None:
    """Raises InputError where the corpus is too small for the fold."""
    where = f"protocol.split={protocol.split!r}, fold {fold.name}, seed {fold.seed}"
    trained = {int(corpus.labels[i]) for i in fold.train}
    absent = sorted({int(corpus.labels[i]) for i in corpus.used} - trained)
    if absent:
        raw = sorted(
            {
                corpus.utterances[i].emotion
                for i in corpus.used
                if corpus.labels[i] in absent
            }
        )
        raise InputError(
            f"{where}: expected every class in the training part "
            f"({len(fold.train)} utterances); got none of the class with label "
            f"{', '.join(raw)}. Use fewer parts for validation (protocol.validation), "
            "another split, or leave the class out."
        )
    needed = ["test"]
    if protocol.selection == "val" or protocol.split == "speaker10":
        needed.append("val")
    for part in needed:
        if not getattr(fold, part):
            raise InputError(
                f"{where}: expected utterances in the {part} part; got none of "
                f"{len(corpus.used)}. Use more speech or another split."
            )


def _check_promises(fold: Fold, corpus: Corpus, protocol) -> None:
    """Checks what `promises` says; a corpus can break it, e.g. a speaker who moves."""
    parts = (fold.train, fold.val, fold.test)
    if len({i for part in parts for i in part}) != sum(map(len, parts)):
        raise AssertionError(
            f"fold {fold.name}: expected every utterance in one part; got some in two"
        )
    by_session = (("speaker", True), ("session", True))
    held_apart = {
        "session5": by_session,
        "session5_script": by_session,
        "speaker10": (("speaker", True), ("session", False)),
        "group": ((protocol.group_by, True),),
    }.get(protocol.split, ())
    for name, from_val in held_apart:
        value = corpus.values(name)
        others = {value[i] for i in fold.train + fold.val * from_val}
        shared = sorted(others & {value[i] for i in fold.test})
        if shared:
            raise InputError(
                f"protocol.split={protocol.split!r}: expected no {name} of the test "
                f"fold {fold.name} in another part; got {', '.join(shared)} there too. "
                f"Use split='group' with group_by={name!r}."
            )
    if protocol.split == "session5_script":
        acted = corpus.scripts()
        others = {acted[i] for i in fold.train + fold.val} - {split_rules.IMPROVISED}
        if others & {acted[i] for i in fold.test}:
            raise AssertionError(f"fold {fold.name}: a script is in two parts")
