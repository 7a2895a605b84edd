"""Sentences and scripts on both sides of a split: what a model that reads can recall."""

from collections.abc import Sequence

from ser_jax.corpora.utterance import Utterance
from ser_jax.data.labelled_corpus import IMPROVISED, script
from ser_jax.data.protocols import Fold
from ser_jax.features.words import plain


def sentence_shares(
    folds: Sequence[Fold], *columns: Sequence[str]
) -> tuple[float, ...]:
    """Per fold, the share of test utterances whose sentence also occurs in training.

    Compared without case, punctuation and noises; an empty sentence never counts. Short
    answers (`Yeah.`) repeat in any corpus, scripted ones repeat all of their sentences.

    Each of `columns` has a sentence per utterance (transcripts, recognized speech); one
    that repeats in any of them counts.
    """
    plain_columns = [[plain(text) for text in column] for column in columns]
    shares = []
    for fold in folds:
        repeated = set()
        for column in plain_columns:
            trained = {column[i] for i in fold.train} - {""}
            repeated |= {i for i in fold.test if column[i] in trained}
        shares.append(len(repeated) / max(1, len(fold.test)))
    return tuple(shares)


def scripts_shared(folds: Sequence[Fold], utterances: Sequence[Utterance]) -> bool:
    """Whether some fold tests a scripted IEMOCAP play that it also trains on.

    The sessions act the same plays and say about the same sentences, which is more than
    exact repetition finds.
    """
    scripts = [script(utterance.dialog) for utterance in utterances]
    for fold in folds:
        shared = {scripts[i] for i in fold.train} & {scripts[i] for i in fold.test}
        if shared - {"", IMPROVISED}:
            return True
    return False
