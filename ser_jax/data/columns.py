"""Which columns of a corpus tell groups of its recordings apart."""

from collections.abc import Sequence

from ser_jax.corpora.utterance import Utterance

MOST_VALUES = 20  # more are names or measurements, not groups


def telling(
    utterances: Sequence[Utterance], labels: Sequence[int]
) -> dict[str, list[str]]:
    """Gender, language and each further column with 2 to 20 values, one per utterance.

    A column that only names the speakers or the classes anew says nothing new, and is
    left out. "" where an utterance has none.
    """
    names = ("gender", "language")
    extra = sorted({name for u in utterances for name in u.extra} - {*names})
    found = {name: [getattr(u, name) for u in utterances] for name in names}
    found |= {name: [u.extra.get(name, "") for u in utterances] for name in extra}
    speakers = [u.speaker for u in utterances]
    return {
        name: values
        for name, values in found.items()
        if 2 <= len({*values} - {""}) <= MOST_VALUES
        and not _renames(values, speakers)
        and not _renames(values, labels)
    }


def _renames(values: Sequence, others: Sequence) -> bool:
    """Whether each value stands for exactly one of the others, and the reverse."""
    pairs = {*zip(values, others, strict=True)}
    return len(pairs) == len({*values}) == len({*others})
