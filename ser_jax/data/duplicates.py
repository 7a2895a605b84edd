"""Recordings with the same samples: which are left out, and which must stay apart."""

import collections
import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from ser_jax.corpora.utterance import Exclusion, Utterance

CHOICES = ("apart", "first", "ignore")  # of `config.data.duplicates`


def find(
    utterances: Sequence[Utterance], digests: Sequence[str]
) -> list[tuple[str, ...]]:
    """Ids of recordings with the same samples, two or more each.

    `digests` are of the samples, one per utterance.
    """
    groups = collections.defaultdict(list)
    for utterance, digest in zip(utterances, digests, strict=True):
        groups[digest].append(utterance.id)
    return [tuple(names) for names in groups.values() if len(names) > 1]


def positions(
    utterances: Sequence[Utterance], groups: Sequence[Sequence[str]]
) -> list[list[int]]:
    """Where the ids of each group are; those of no utterance are nowhere."""
    position = {utterance.id: u for u, utterance in enumerate(utterances)}
    return [[position[x] for x in ids if x in position] for ids in groups]


def leave_out(
    utterances: Sequence[Utterance],
    labels: np.ndarray,
    groups: Sequence[Sequence[str]],
    choice: str,
) -> tuple[np.ndarray, list[Exclusion]]:
    """Decides which duplicates are used.

    Not those that contradict each other: nobody knows which label is right.

    Args:
      utterances: U utterances.
      labels: int [U], class or -1 for utterances that are not used.
      groups: From `find`.
      choice: `apart` uses all, for `keep_apart` to deal with; `first` uses the first
        of a group; `ignore` uses all, even those that contradict each other.

    Returns:
      (Labels with -1 for what is left out as well; what is left out.)
    """
    if choice == "ignore":
        return labels, []
    labels, excluded, shared = labels.copy(), [], []
    for copies in positions(utterances, groups):
        used = [u for u in copies if labels[u] >= 0]
        listed = ", ".join(map(_described, (utterances[u] for u in copies)))
        reason, unused = "duplicate", used[1:] if choice == "first" else []
        if _contradict(copies, utterances, labels):
            reason, unused = "two labels for one recording", used
        detail = f"expected each recording once, under one label; got {listed}"
        excluded += [Exclusion(utterances[u].id, reason, detail) for u in unused]
        labels[unused] = -1
        if used and len({utterances[u].speaker for u in copies}) > 1:
            shared.append(listed)
    if shared:
        message = "%d recordings are listed under several speakers, first %s"
        logging.getLogger(__name__).warning(message, len(shared), shared[0])
    return labels, excluded


def _contradict(copies, utterances, labels) -> bool:
    one_label = len({utterances[u].emotion for u in copies}) == 1
    one_class = len({labels[u] for u in copies}) == 1 and labels[copies[0]] >= 0
    return not (one_label or one_class)


def _described(utterance: Utterance) -> str:
    return f"{utterance.id} ({utterance.emotion}, speaker {utterance.speaker})"


def in_two_parts(folds, utterances: Sequence[Utterance], groups) -> list[tuple]:
    """The groups of ids that have members in two parts of any of the folds."""
    parts = [[{*fold.train}, {*fold.val}, {*fold.test}] for fold in folds]

    def is_split(members) -> bool:
        return any(
            sum(not part.isdisjoint(members) for part in three) > 1 for three in parts
        )

    members = positions(utterances, groups)
    return [ids for ids, at in zip(groups, members, strict=True) if is_split(at)]


def keep_apart(fold, groups: Sequence[Sequence[int]]):
    """A `Fold` that neither learns from nor is chosen by a duplicate of what it tests.

    A duplicate of a tested recording leaves the other parts, one of a validating
    recording leaves the training part. `groups` are positions of utterances.
    """
    group_of = {u: number for number, group in enumerate(groups) for u in group}

    def without(part, *others) -> tuple[int, ...]:
        taken = {group_of[u] for other in others for u in other if u in group_of}
        return tuple(u for u in part if group_of.get(u) not in taken)

    val = without(fold.val, fold.test)
    train = without(fold.train, fold.test, val)
    return dataclasses.replace(fold, train=train, val=val)
