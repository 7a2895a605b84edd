"""From the scores of a recording's windows to an answer. NumPy only."""

import dataclasses
from collections.abc import Hashable, Iterable, Iterator

import numpy as np

from ser_jax.features.audio import AudioError
from ser_jax.predict.signal_quality import Quality
from ser_jax.scoring import voting


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is said of one recording.

    Attributes:
      classes: Names of the K classes.
      probabilities: float64 [K], their sum is 1.
      warnings: Why not to trust the answer; empty if nothing is known against it.
      start_s: First second it speaks of.
      end_s: Second up to which it speaks.
    """

    classes: tuple[str, ...]
    probabilities: np.ndarray
    warnings: tuple[str, ...]
    start_s: float
    end_s: float

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.classes[int(self.probabilities.argmax())]

    def moved(self, seconds: float) -> "Answer":
        """The answer of a stretch that starts `seconds` into something longer."""
        return dataclasses.replace(
            self, start_s=self.start_s + seconds, end_s=self.end_s + seconds
        )


@dataclasses.dataclass(frozen=True)
class SpeechInput:
    """Samples that can be read more than once.

    Attributes:
      blocks: Iterates over float32 [n] at the recipe's rate, afresh each time.
      num_samples: Their number in all, at least 1.
      text: What is said in it; read by models that read words.
    """

    blocks: Iterable[np.ndarray]
    num_samples: int
    text: str | None = None


class Pending:
    """A recording whose windows are being scored.

    Attributes:
      name: The caller's.
      quality: Of its samples.
      words: What a model that reads words gets of it.
      expected: Windows cut so far.
      is_read: Whether those are all.
      scores: Per scored window the posteriors [R, K] and the mean square of its
        normalised features.
      error: Why it cannot be used, or None.
    """

    def __init__(self, name: Hashable, sample_rate_hz: int):
        """Nothing is read yet."""
        self.name = name
        self.quality = Quality(sample_rate_hz)
        self.words: tuple[np.ndarray, np.ndarray] | None = None
        self.expected = 0
        self.is_read = False
        self.scores: list[tuple[np.ndarray, float]] = []
        self.error: AudioError | None = None

    @property
    def is_complete(self) -> bool:
        """Whether `answer` may be called."""
        done = self.is_read and len(self.scores) == self.expected
        return done or self.error is not None

    def answer(self, trained) -> Answer | AudioError:
        """The windows' posteriors joined as `segment.vote` says, the runs averaged."""
        if self.error is not None:
            return self.error
        scores = np.stack([x for x, _ in self.scores], axis=1)
        rule = trained.config.segment.vote
        try:
            voted = [vote_segments(run, rule) for run in scores]
        except AudioError as error:
            return error
        distance = float(np.sqrt(np.mean([x for _, x in self.scores])))
        if trained.config.data.normalize == "none":
            distance = float("nan")
        return Answer(
            classes=trained.classes,
            probabilities=np.mean(voted, axis=0),
            warnings=self.quality.warnings(distance),
            start_s=0.0,
            end_s=self.quality.num_samples / self.quality.sample_rate_hz,
        )


def vote_segments(posteriors: np.ndarray, rule: str) -> np.ndarray:
    """The posterior [K] of a recording from those of its windows [S, K].

    Raises:
      AudioError: They are not finite, as those of samples beyond all measure are not.
    """
    if not np.isfinite(posteriors).all():
        raise AudioError(
            "unusable samples",
            "expected samples in [-1, 1]; got some that give no finite probabilities",
        )
    return voting.vote(posteriors, np.zeros(len(posteriors), int), 1, rule)[0]


def sliding(
    blocks: Iterable[np.ndarray], window: int, hop: int
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Windows that start every hop until all samples are covered.

    Args:
      blocks: Samples [n], any lengths.
      window: Samples of a window.
      hop: Samples from one start to the next, 1 ... `window`.

    Yields:
      Per block the (start, samples) that it completes; the last one may be shorter.
    """
    kept, start = np.zeros(0, np.float32), 0
    for block in blocks:
        kept = np.concatenate([kept, block])
        found = []
        while len(kept) >= window:
            found.append((start, kept[:window]))
            kept, start = kept[hop:], start + hop
        if found:
            yield found
    covered = start - hop + window if start else 0
    if start + len(kept) > covered:
        yield [(start, kept)]
