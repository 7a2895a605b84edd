"""Recordings of a corpus that a workdir knows from its training, whatever their names."""

import collections
import functools
import hashlib
import os
from collections.abc import Iterable, Sequence

from ser_jax.corpora.source import Source
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.workdir import files, predictions

_PARTS = ("train", "val", "test")


def leave_out(
    trained: TrainedModel, workdir, found: Source
) -> tuple[Sequence[Utterance], list[Exclusion], list[str]]:
    """Leaves out recordings whose files, or copies of them, belong to the training.

    Returns:
      (The others, what is left out, sentences a person should read.)

    Raises:
      InputError: None is left.
    """
    recordings = predictions.read_recordings(workdir / files.RECORDINGS)
    wavs = [x.wav for x in recordings.values() if os.path.isfile(x.wav)]
    known = _same_files(found.utterances, wavs)
    excluded = [
        Exclusion(u.id, "known from the training", f"the same file as {known[u.id]}")
        for u in found.utterances
        if u.id in known
    ]
    others = [u for u in found.utterances if u.id not in known]
    place, title = trained.provenance["workdir"], found.title
    if not others:
        raise InputError(
            f"Expected another corpus than {place} was trained on; got the same "
            f"{len(known)} recordings. `run.py evaluate` without --corpus and --manifest "
            "repeats its own test."
        )
    notes = []
    if known:
        notes.append(
            f"{len(known)} of {len(found.utterances)} recordings of {title} belong to "
            "the corpus trained on and are left out."
        )
    # Of those whose files are not at hand names are all there is to compare.
    at_hand = {x.utterance for x in recordings.values() if x.wav in {*wavs}}
    ids = {x for fold in trained.folds for part in _PARTS for x in fold[part]}
    names = {_stem(x) for x in ids - at_hand}
    if alike := sum(_stem(u.id) in names for u in others):
        notes.append(
            f"{alike} of {len(others)} recordings of {title} are called as some that "
            f"{place} was trained on, whose files are not at hand: if they are the same, "
            "this is no other corpus."
        )
    return others, excluded, notes


def _stem(name: str) -> str:
    return name.rpartition("/")[2]


def _same_files(utterances: Iterable[Utterance], wavs: Iterable[str]) -> dict[str, str]:
    """Utterance id -> the one of `wavs` that has the same bytes."""
    by_size = collections.defaultdict(list)
    for wav in wavs:
        by_size[os.path.getsize(wav)].append(wav)
    found = {}
    for u in utterances:
        # Only files of one size are read.
        size = os.path.getsize(u.wav) if os.path.isfile(u.wav) else None
        known = {_digest(wav): wav for wav in by_size.get(size, ())}
        if known and (digest := _digest(u.wav)) in known:
            found[u.id] = known[digest]
    return found


@functools.cache
def _digest(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError:  # is like no other
        return os.fsencode(path)
