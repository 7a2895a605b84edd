"""Recordings of the same sound: which are left out, and which must stay apart."""

import collections
import dataclasses
import logging
from collections.abc import Sequence
from typing import NamedTuple

from ser_jax.corpora.utterance import Exclusion, Utterance

SAME_SOUND = ("apart", "first", "ignore")


class Duplicates(NamedTuple):
    """What was decided on recordings of the same sound."""

    excluded: tuple[Exclusion, ...]  # ids that are not used
    apart: tuple[tuple[str, ...], ...]  # ids of copies that stay


def find_equal(
    utterances: Sequence[Utterance], sounds: Sequence[str]
) -> list[tuple[str, ...]]:
    """Ids of recordings with the same samples, two or more each.

    `sounds` are digests of the samples, one per utterance.
    """
    groups = collections.defaultdict(list)
    for utterance, sound in zip(utterances, sounds, strict=True):
        groups[sound].append(utterance.id)
    return [tuple(names) for names in groups.values() if len(names) > 1]


def settle(
    utterances: Sequence[Utterance], same_sound: Sequence[Sequence[str]], choice: str
) -> Duplicates:
    """Decides which copies are used.

    Copies under different labels are never used: nobody knows which one is right.

    Args:
      utterances: U utterances.
      same_sound: Groups of ids with the same samples.
      choice: `config.data.same_sound`: `apart` keeps the copies of a group, `first` the
        first one, `ignore` all of them, as if they had not been compared.
    """
    if choice == "ignore":
        return Duplicates((), ())
    by_id = {utterance.id: utterance for utterance in utterances}
    excluded, apart = [], []
    for group in same_sound:
        copies = [by_id[name] for name in group if name in by_id]
        if len(copies) < 2:
            continue
        listed = ", ".join(f"{u.id} ({u.emotion}, speaker {u.speaker})" for u in copies)
        if len({u.emotion for u in copies}) > 1:
            detail = f"expected one label for one sound, got {listed}"
            excluded += [
                Exclusion(u.id, "two labels for one sound", detail) for u in copies
            ]
        elif choice == "first":
            detail = f"the same sound as {listed}"
            excluded += [Exclusion(u.id, "same sound", detail) for u in copies[1:]]
        else:
            apart.append(tuple(u.id for u in copies))
        if len({u.speaker for u in copies}) > 1:
            logging.getLogger(__name__).warning("One sound, two speakers: %s", listed)
    return Duplicates(tuple(excluded), tuple(apart))


def keep_apart(fold, groups: Sequence[Sequence[int]]):
    """A `Fold` that neither learns from nor is chosen by a copy of what it tests.

    A copy of a tested recording leaves the other parts, one of a validating recording
    leaves the training part. `groups` are positions of utterances of the same sound.
    """
    group_of = {u: number for number, group in enumerate(groups) for u in group}

    def without(part, *others) -> tuple[int, ...]:
        taken = {group_of[u] for other in others for u in other if u in group_of}
        return tuple(u for u in part if group_of.get(u) not in taken)

    val = without(fold.val, fold.test)
    train = without(fold.train, fold.test, val)
    return dataclasses.replace(fold, train=train, val=val)
