"""Folds: who trains, who validates, who is tested. NumPy only.

Made by utterance, before segmenting, from the utterance list alone: deterministic by
seed and whatever order the utterances come in. Labels follow `ser_jax.data.classes`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ser_jax.corpora.several import corpus_of
from ser_jax.corpora.utterance import Utterance
from ser_jax.data import duplicates
from ser_jax.data.classes import HAPPY_POLICIES, SUBSETS
from ser_jax.data.labelled_corpus import IMPROVISED, Corpus
from ser_jax.data.normalize import BY_OWNER
from ser_jax.data.split_rules import RULES, VALIDATIONS, kept_apart
from ser_jax.errors import InputError

_OWN_CORPUS = (
    "corpora that a run did not train on are tested whole; its own, with speakers apart, "
    "is in no mean"
)
_TRANSFER_VALIDATION = {
    ("corpus", "speaker"): "validation: one whole speaker of every corpus that trains",
    ("corpus", "group"): "validation: one whole corpus of those that would train",
    ("corpus", "random"): "validation: random utterances of the corpora that train",
    ("pairs", "speaker"): "validation: one whole speaker of the corpus that trains",
    ("pairs", "group"): "validation: a fifth of the speakers of the corpus that trains",
    ("pairs", "random"): "validation: random utterances of the corpus that trains",
}
CHOICES = {  # of `config.protocol`
    "subset": SUBSETS,
    "happy": HAPPY_POLICIES,
    "split": tuple(RULES),
    "selection": ("val", "last", "test"),
    "validation": VALIDATIONS,
}


@dataclasses.dataclass(frozen=True)
class Fold:
    """Positions in the utterance list of one fold's parts, each sorted."""

    # Session, speaker or column value that is tested; `group1` ... with
    # `protocol.groups`; `split` for random splits.
    name: str
    seed: int  # of the runs on this fold
    train: tuple[int, ...]
    val: tuple[int, ...]  # they choose the epoch; empty if none do
    test: tuple[int, ...]


def make_folds(
    utterances: Sequence[Utterance],
    labels: np.ndarray,
    protocol,
    apart: Sequence[Sequence[str]] = (),
) -> list[Fold]:
    """Makes every fold of every seed, in (seed, fold) order.

    `session5`: leave one session out. `session5_script`: leave out a session's turns of
    one script (`session1_script01`) or its improvised ones; nobody of that session and
    no other session's turn of that script trains or validates. `speaker10`: leave one
    speaker out; the other speaker of the session validates. `random_811`: 8:1:1 by
    class. `random_80_20`: a plain draw, as AACNN's code (its seeds are 111111, 123456,
    0, 999999, 987654); `val_fraction` of all utterances validates. `official`: the parts
    that the corpus itself names in its column `split`. `group`: leave values of
    `protocol.group_by` out, dealt to `protocol.groups` folds. `corpus`: leave one corpus
    out. `pairs`: train on each corpus, test on all others, and on a fifth of its own
    speakers.

    Elsewhere `protocol.validation` says who validates: `speaker` = one whole speaker of
    the next fold or session (number i, seed s: speaker number i + s, cyclic), `group` =
    all of it, `random` = `val_fraction` of the training utterances per class. With
    selection `last` or `test` nobody validates and that part trains, except in
    `speaker10`, where it stays out so that no session is shared.

    Differs from the paper: AACNN's code trains on its validation part as well and
    chooses the epoch on the test part; that is `selection="test"` here.

    Args:
      utterances: U utterances, any order.
      labels: int [U], class or -1 for utterances that are not used.
      protocol: `config.protocol`, whose choices are among CHOICES.
      apart: Groups of ids of which no two may be in different parts of a fold.

    Raises:
      InputError: The rule does not fit the corpus, or a fold cannot be used.
    """
    check_seeds(protocol.seeds)
    corpus = Corpus(utterances, labels)
    folds = []
    for seed in protocol.seeds:
        for name, *parts in RULES[protocol.split](corpus, protocol, seed):
            parts = (tuple(sorted(int(i) for i in part)) for part in parts)
            folds.append(Fold(name, seed, *parts))
    groups = duplicates.positions(utterances, apart)
    for number, whole in enumerate(folds):
        fold = folds[number] = duplicates.keep_apart(whole, groups)
        _check_usable(fold, corpus, protocol, fold != whole)
        _check_promises(fold, corpus, protocol)
    return folds


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises InputError unless these are different whole numbers of 0 or more."""
    whole = all(type(seed) is int and seed >= 0 for seed in seeds)
    if not seeds or not whole or len(set(seeds)) != len(seeds):
        raise InputError(
            "protocol.seeds: expected one or more different whole numbers of 0 or more; "
            f"got {tuple(seeds)}. Set --config.protocol.seeds=0,1,2."
        )


def target_use(
    folds: Sequence[Fold], utterances: Sequence[Utterance], protocol, normalize: str
) -> str:
    """What a training used of the corpora or speakers that it is tested on.

    `labelled`: their labels trained or chose the epoch. `unlabelled`: they are scaled by
    their own statistics. `none`. Empty where there is only one corpus, whose speakers
    are told apart by the promises.

    Args:
      folds: Of `make_folds`; what they share decides, not the name of the rule.
      utterances: Those that `make_folds` took.
      protocol: `config.protocol`.
      normalize: `data.normalize`.
    """
    corpora = [corpus_of(utterance) for utterance in utterances]
    several = len({*corpora}) > 1
    if several and (
        protocol.selection == "test"
        or any(_knows_its_target(fold, corpora, protocol) for fold in folds)
    ):
        return "labelled"
    if normalize in BY_OWNER:
        return "unlabelled"
    return "none" if several else ""


def _knows_its_target(fold: Fold, corpora: Sequence[str], protocol) -> bool:
    own = {fold.name} if protocol.split == "pairs" else set()  # is in no mean
    tested = {corpora[i] for i in fold.test} - own
    return not tested.isdisjoint(corpora[i] for i in (*fold.train, *fold.val))


def promises(
    protocol, *, compared: bool, near: Sequence[Sequence[str]]
) -> tuple[str, ...]:
    """What a reader may rely on, in the words of the report.

    `compared` says whether duplicates were looked for; `near` are the near-duplicates
    that are in two parts all the same.
    """
    apart = " and ".join(f"no {column}" for column in kept_apart(protocol))
    shared = "speakers and sessions are SHARED by training and test"
    if protocol.split == "official":
        shared = "the corpus's own parts: speakers and sessions may be SHARED by them"
    by_test = ()
    if protocol.compare_selections:
        by_test = ("the test part is scored at every validation, but chooses nothing",)
    if protocol.selection == "test":
        by_test = ("PAPER MODE: the epoch is chosen on the test part",)
    return (
        "no utterance is in two parts; segments and copies follow their utterance",
        f"{apart} is in both training and test" if apart else shared,
        *([_OWN_CORPUS] if protocol.split == "pairs" else []),
        _validation_promise(protocol),
        _duplicates_promise(compared, near),
        *by_test,
    )


def leaks(*, compared: bool, near: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """What may be in two parts although the rule keeps utterances apart.

    `compared` and `near` as in `promises`.
    """
    if not compared:
        return ("recordings were not compared",)
    return (f"{len(near)} takes probably are in two parts",) if near else ()


def _duplicates_promise(compared: bool, near: Sequence[Sequence[str]]) -> str:
    if not compared:
        return "recordings were NOT compared: one may be in two parts under two names"
    text = "no recording is in two parts, whatever its name: samples were compared"
    if not near:
        return text
    takes = "; ".join(" and ".join(ids) for ids in near[:3]) + "; ..." * (len(near) > 3)
    return f"{text}; BUT {len(near)} takes probably ARE: {takes}"


def _validation_promise(protocol) -> str:
    if protocol.split == "speaker10" and protocol.selection == "val":
        return "validation: the other speaker of the test session"
    if protocol.split == "speaker10":
        return "the other speaker of the test session does not train"
    if protocol.selection != "val":
        return "no validation part: it trains as well"
    if protocol.split in ("corpus", "pairs"):
        return _TRANSFER_VALIDATION[protocol.split, protocol.validation]
    if protocol.split == "official":
        return "validation: the corpus's own part, or if it has none cut from training"
    if not kept_apart(protocol) or protocol.validation == "random":
        return "validation: random utterances, speakers shared with training"
    next_part = "fold"
    if protocol.split == "session5_script":
        next_part = "session, without the tested script"
    who = {"speaker": "one whole speaker", "group": "all"}[protocol.validation]
    return f"validation: {who} of the next {next_part}"


def splits_json(folds: Sequence[Fold], utterances: Sequence[Utterance]) -> dict:
    """The content of splits.json: utterance ids of every fold's parts."""
    entries = [dataclasses.asdict(fold) for fold in folds]
    for entry in entries:
        for part in ("train", "val", "test"):
            entry[part] = sorted(utterances[i].id for i in entry[part])
    return {"folds": entries}


def _check_usable(fold: Fold, corpus: Corpus, protocol, lost_some: bool) -> None:
    """Raises InputError where the corpus is too small for the fold."""
    cause = " Duplicates of what is tested left it: data.duplicates." * lost_some
    where = f"protocol.split={protocol.split!r}, fold {fold.name}, seed {fold.seed}"
    trained = {int(corpus.labels[i]) for i in fold.train}
    absent = [i for i in corpus.used if int(corpus.labels[i]) not in trained]
    if absent:
        labels = ", ".join(sorted({corpus.utterances[i].emotion for i in absent}))
        raise InputError(
            f"{where}: expected every class in the training part ({len(fold.train)} "
            f"utterances); got none of the class with label {labels}. Use another "
            f"split or protocol.validation, or leave the class out by a label map.{cause}"
        )
    needed = {"test": fold.test}
    if protocol.selection == "val" or protocol.split == "speaker10":
        needed["val"] = fold.val
    for name, part in needed.items():
        if not part:
            raise InputError(
                f"{where}: expected utterances in the {name} part; got none of "
                f"{len(corpus.used)}. Use more speech, another split or, for val, "
                f"protocol.validation=random.{cause}"
            )


def _check_promises(fold: Fold, corpus: Corpus, protocol) -> None:
    """Checks what `promises` says; a corpus can break it, e.g. a speaker who moves."""
    parts = (fold.train, fold.val, fold.test)
    if len(set().union(*parts)) != sum(map(len, parts)):
        raise AssertionError(f"fold {fold.name}: an utterance is in two parts")
    for name in kept_apart(protocol):
        by_script = (protocol.split, name) == ("session5_script", "script")
        value = corpus.scripts() if by_script else corpus.values(name)
        # The other speaker of a session validates in `speaker10`, so it is shared.
        val = () if (protocol.split, name) == ("speaker10", "session") else fold.val
        others = {value[i] for i in (*fold.train, *val)}
        shared = others & {value[i] for i in fold.test}
        if by_script:
            shared -= {IMPROVISED}  # which is no script
        if shared:
            raise InputError(
                f"protocol.split={protocol.split!r}: expected no {name} of the test "
                f"fold {fold.name} in another part; got {', '.join(sorted(shared))} "
                f"there too. Use split='group' with group_by={name!r}."
            )
