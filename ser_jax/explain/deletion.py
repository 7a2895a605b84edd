"""The deletion test: does hiding attended cells cost more than hiding others?

In every segment the most attended cells of the model's attention grid are set to the
mean of the normalised input, and the test part is scored again. The controls hide as
many cells: random ones, those attended to in another recording (as contiguous and as
central, but chosen for other speech), the least attended and the most salient ones. Only
the input changes: the model recomputes its attention on what is left.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ser_jax.scoring import metrics, voting

SHARES = (0.1, 0.3, 0.5)
DRAWS = 5
ATTENDED, LEAST, SALIENT = "most attended", "least attended", "most salient"
RANDOM, OTHER = "random", "another recording's"
CONDITIONS = (ATTENDED, SALIENT, RANDOM, OTHER, LEAST)


class Case(NamedTuple):
    """One way to hide cells: which, how many of them, and which draw."""

    condition: str
    share: float
    draw: int = 0


CASES = tuple(
    Case(condition, share, draw)
    for share in SHARES
    for condition in CONDITIONS
    for draw in range(DRAWS if condition in (RANDOM, OTHER) else 1)
)


@dataclasses.dataclass(frozen=True)
class RunScores:
    """The deletion test of one run on its own test part; UA in [0, 1]."""

    fold: str
    seed: int
    utterances: int  # in the test part
    cells: int  # in a segment's attention grid, the median
    plain: float  # UA with nothing hidden
    hidden: dict[tuple[str, float], list[float]]  # UA per draw by (condition, share)

    def mean_ua(self, condition: str, share: float) -> float:
        """UA under a condition, the mean over its draws."""
        return float(np.mean(self.hidden[condition, share]))

    def curve(self, condition: str) -> np.ndarray:
        """`mean_ua` at each of SHARES."""
        return np.array([self.mean_ua(condition, share) for share in SHARES])

    def drops_beyond(self, control: str) -> np.ndarray:
        """Drop of UA by the most attended cells less that by a control's, by share."""
        return self.curve(control) - self.curve(ATTENDED)


def hidden_cells(
    mass: Float[np.ndarray, "B H W"],
    slopes: Float[np.ndarray, "B H W"],
    valid: Bool[np.ndarray, "B W"],
    utterance: Int[np.ndarray, " B"],
    rng: np.random.Generator,
) -> Iterator[tuple[Case, Bool[np.ndarray, "B H W"]]]:
    """Chooses the cells that every case hides: of one share always as many.

    `mass` is the attention, `slopes` the saliency of the cells; `valid` columns, the
    first ones of a row, have input under them. `rng` draws, and breaks ties.
    """
    cells = np.broadcast_to(valid[:, None], mass.shape)
    number = cells.sum(axis=(1, 2))
    attended = {}
    for share in SHARES:
        count = np.maximum(1, np.round(share * number)).astype(int)
        attended[share] = _highest(mass, cells, count, rng)
    for case in CASES:
        if case.condition == ATTENDED:
            yield case, attended[case.share]
            continue
        # Counted, because a segment without any cell hides none.
        count = attended[case.share].sum(axis=(1, 2))
        score = {LEAST: -mass, SALIENT: slopes, RANDOM: np.zeros_like(mass)}
        if case.condition == OTHER:
            score[OTHER] = mass[_other_utterances(utterance, rng)]
        yield case, _highest(score[case.condition], cells, count, rng)


def _highest(score, valid, count, rng) -> np.ndarray:
    """The `count` [B] valid cells of the highest score; ties are broken at random."""
    flat = np.where(valid, score, -np.inf).reshape(len(score), -1)
    order = np.lexsort((rng.random(flat.shape), -flat), axis=1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(flat.shape[1])[None], axis=1)
    return (ranks < count[:, None]).reshape(score.shape) & valid


def _other_utterances(utterance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For every segment one of another utterance; itself if there is none."""
    differs = utterance[:, None] != utterance
    score = np.where(differs, rng.random(differs.shape), -1.0)
    return np.where(differs.any(axis=1), score.argmax(axis=1), np.arange(len(differs)))


def utterance_ua(
    posteriors: np.ndarray, utterance: np.ndarray, labels: np.ndarray, rule: str
) -> float:
    """UA of the utterances that have segments.

    `posteriors` [S, K] and `utterance` [S] are of the segments, `labels` [U] of all
    utterances; `rule` is `segment.vote`.
    """
    tested = np.unique(utterance)
    voted = voting.vote(posteriors, utterance, len(labels), rule)[tested]
    predictions, num_classes = voted.argmax(axis=1), posteriors.shape[1]
    confusion = metrics.confusion_matrix(labels[tested], predictions, num_classes)
    return metrics.unweighted_accuracy(confusion)
