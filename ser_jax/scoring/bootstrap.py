"""How sure a UA is: intervals that know that the utterances of a speaker are alike."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95
MIN_SPEAKERS = 5  # fewer say nothing of how speakers differ
_SPEAKERS_PER_BLOCK = 100_000  # what is drawn at once, to bound the memory


def drawn(speakers: Sequence[str]) -> str:
    """What an interval resamples: `speakers`, or `utterances` if there are too few."""
    names = {*map(str, speakers)}
    return (
        "speakers" if "" not in names and len(names) >= MIN_SPEAKERS else "utterances"
    )


def ua_interval(
    labels: Sequence[int],
    hits: Sequence[bool],
    speakers: Sequence[str],
    *,
    seed: int = 0,
) -> list[float]:
    """The middle 95 % of UA in 1,000 bootstrap resamples, [low, high].

    Of speakers, and of the utterances within each, where all are named and at least
    `MIN_SPEAKERS`; else of utterances within each class, which takes every utterance as
    a speaker of its own and is too narrow. The order of the utterances changes nothing.

    Args:
      labels: Integers [N].
      hits: [N], whether the decision is right.
      speakers: [N] names; "" where unknown.
      seed: Of the resampling.
    """
    rng = np.random.default_rng(seed)
    names, labels = np.unique(labels, return_inverse=True)
    # All that UA depends on are numbers of misses and hits by speaker and class.
    groups = np.zeros_like(labels)
    if drawn(speakers) == "speakers":
        groups = np.unique(np.asarray(speakers, str), return_inverse=True)[1]
    table = np.zeros((groups.max() + 1, len(names), 2), np.int64)
    np.add.at(table, (groups, labels, np.asarray(hits, int)), 1)
    if len(table) == 1:
        totals = table[0].sum(1)
        right = rng.binomial(totals, table[0, :, 1] / totals, (RESAMPLES, len(names)))
        values = (right / totals).mean(1)
    else:
        step = max(1, _SPEAKERS_PER_BLOCK // len(table))
        sizes = [min(step, RESAMPLES - at) for at in range(0, RESAMPLES, step)]
        values = np.concatenate([_resample(table, size, rng) for size in sizes])
    return interval(values)


def interval(values) -> list[float]:
    """The middle 95 % of resampled values, [low, high]."""
    tail = (1 - LEVEL) / 2
    return np.quantile(values, [tail, 1 - tail]).tolist()


def _resample(table, size: int, rng) -> np.ndarray:
    """UA [size] of resampled speakers and utterances; of the classes they have."""
    recalls, present = resampled_recalls(table, size, rng)
    return recalls.sum(1) / present.sum(1)


def resampled_counts(table, size: int, rng) -> np.ndarray:
    """Counts [size, ...] of resampled speakers, and utterances of each.

    `table` counts utterances, [speakers, ...]; every speaker has one or more.
    """
    chosen = rng.integers(len(table), size=(size, len(table)))
    flat = table.reshape(len(table), -1)
    totals = flat.sum(1)
    counts = rng.multinomial(totals[chosen], (flat / totals[:, None])[chosen]).sum(1)
    return counts.reshape(size, *table.shape[1:])


def resampled_recalls(table, size: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Recalls [size, C] of resampled speakers and utterances, and which classes are there.

    `table` counts misses and hits, [speakers, C, 2]; absent classes have a recall of 0.
    """
    misses, hits = np.moveaxis(resampled_counts(table, size, rng), -1, 0)
    support = misses + hits
    recalls = np.divide(hits, support, out=np.zeros(hits.shape), where=support > 0)
    return recalls, support > 0
