"""The deletion test: does it matter more to lose what is attended to?

In every window the most attended cells of the model's own attention grid are set to the
mean of the normalised input, and the test part is scored again; then as many cells at
random, those that are attended to in another recording (as contiguous and as central as
the own ones, but chosen for what is said elsewhere), the least attended and the most
salient ones. Only the input is changed: the model attends afresh to what is left.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from ser_jax.scoring import metrics, voting

SHARES = (0.1, 0.3, 0.5)
DRAWS = 5
ATTENDED, LEAST, SALIENT = "most attended", "least attended", "most salient"
RANDOM, OTHER = "random", "another recording's"
CONDITIONS = (ATTENDED, SALIENT, RANDOM, OTHER, LEAST)
DRAWN = (RANDOM, OTHER)


@dataclasses.dataclass(frozen=True)
class Case:
    """One way to hide cells: which, how many of them, and which draw."""

    condition: str
    share: float
    draw: int = 0


CASES = tuple(
    Case(condition, share, draw)
    for share in SHARES
    for condition in CONDITIONS
    for draw in range(DRAWS if condition in DRAWN else 1)
)


def hidden_cells(
    mass: np.ndarray,
    slopes: np.ndarray,
    valid: np.ndarray,
    utterance: np.ndarray,
    rng: np.random.Generator,
) -> Iterator[tuple[Case, np.ndarray]]:
    """Which cells every case hides.

    Args:
      mass: Attention [B, H, W].
      slopes: Saliency of the cells, likewise.
      valid: bool [B, W], columns with input under them: the first ones of a row.
      utterance: int [B], whose windows these are.
      rng: Draws, and breaks ties.

    Yields:
      (case, bool [B, H, W]); every case of a share hides the same number of cells.
    """
    cells = np.broadcast_to(valid[:, None], mass.shape)
    number = cells.sum(axis=(1, 2))
    attended = {}
    for share in SHARES:
        count = np.maximum(1, np.round(share * number)).astype(int)
        attended[share] = _highest(mass, cells, count, rng)
    for case in CASES:
        count = attended[case.share].sum(axis=(1, 2))
        if case.condition == ATTENDED:
            yield case, attended[case.share]
            continue
        score = {LEAST: -mass, SALIENT: slopes, RANDOM: np.zeros_like(mass)}
        if case.condition == OTHER:
            score[OTHER] = mass[_others(utterance, rng)]
        yield case, _highest(score[case.condition], cells, count, rng)


def _highest(score, valid, count, rng) -> np.ndarray:
    """The `count` [B] valid cells of the highest score; ties fall at random."""
    flat = np.where(valid, score, -np.inf).reshape(len(score), -1)
    order = np.lexsort((rng.random(flat.shape), -flat), axis=1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(flat.shape[1])[None], axis=1)
    return (ranks < count[:, None]).reshape(score.shape) & valid


def _others(utterance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For every window one of another recording; itself if there is none."""
    differs = utterance[:, None] != utterance
    score = np.where(differs, rng.random(differs.shape), -1.0)
    return np.where(differs.any(axis=1), score.argmax(axis=1), np.arange(len(differs)))


class Scores:
    """Posteriors of one run under all cases, window by window."""

    def __init__(self):
        """Nothing is scored yet."""
        self._utterance: list[np.ndarray] = []
        self._plain: list[np.ndarray] = []
        self._hidden: dict[Case, list[np.ndarray]] = {case: [] for case in CASES}

    def add(
        self,
        utterance: np.ndarray,
        plain: np.ndarray,
        cases: Iterator[tuple[Case, np.ndarray]],
        answer: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        """Scores a batch.

        Args:
          utterance: int [B], whose windows these are.
          plain: Posteriors [B, K] with nothing hidden.
          cases: What `hidden_cells` yields.
          answer: Posteriors [B, K] with cells hidden.
        """
        self._utterance.append(utterance)
        self._plain.append(plain)
        for case, cells in cases:
            self._hidden[case].append(answer(cells))

    def accuracies(self, labels: np.ndarray, rule: str) -> tuple[float, dict]:
        """UA with nothing hidden, and under every case.

        Args:
          labels: int [U], classes of the utterances.
          rule: How windows vote, `segment.vote`.
        """
        utterance = np.concatenate(self._utterance)
        tested = np.unique(utterance)

        def ua(posteriors: list[np.ndarray]) -> float:
            joined = np.concatenate(posteriors)
            voted = voting.vote(joined, utterance, len(labels), rule)[tested]
            confusion = metrics.confusion_matrix(
                labels[tested], voted.argmax(axis=1), joined.shape[1]
            )
            return metrics.unweighted_accuracy(confusion)

        return ua(self._plain), {case: ua(x) for case, x in self._hidden.items()}
