"""Recordings to answer for, and answers from the posteriors of their segments."""

import dataclasses
from collections.abc import Hashable, Iterable, Iterator

import numpy as np

from ser_jax.features.audio import AudioError
from ser_jax.predict.signal_quality import SignalQuality
from ser_jax.scoring import voting


@dataclasses.dataclass(frozen=True)
class SpeechInput:
    """Samples of one recording, which can be read more than once.

    Attributes:
      blocks: Iterates over float32 [n] at the recipe's rate, afresh each time.
      num_samples: Their number in all, at least 1.
      text: Transcript, for models that read words.
    """

    blocks: Iterable[np.ndarray]
    num_samples: int
    text: str | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """The predicted emotion of one recording, or of a stretch of it.

    Attributes:
      classes: Names of the K classes.
      probabilities: float64 [K]; they sum to 1.
      warnings: Reasons not to trust the answer, see `SignalQuality`.
      start_s: Where the stretch starts.
      end_s: Where it ends.
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

    def shifted(self, seconds: float) -> "Answer":
        """The answer of a stretch that starts `seconds` into something longer."""
        return dataclasses.replace(
            self, start_s=self.start_s + seconds, end_s=self.end_s + seconds
        )


class PendingAnswer:
    """Collects the posteriors of a recording's segments until all are there.

    Segments of several recordings go through the model in one batch, so a recording
    may have to wait for a batch to fill.

    Attributes:
      name: The caller's.
      quality: Of its samples.
      words: Vectors and mask, if the model reads words.
      num_segments: Segments cut so far.
      is_read: Whether those are all.
      posteriors: [R, K] of each segment that the model has seen.
      distances: Mean square of each segment's normalised features.
      error: Why it cannot be used, or None.
    """

    def __init__(self, name: Hashable, sample_rate_hz: int):
        """Starts with nothing read."""
        self.name = name
        self.quality = SignalQuality(sample_rate_hz)
        self.words: tuple[np.ndarray, np.ndarray] | None = None
        self.num_segments = 0
        self.is_read = False
        self.posteriors: list[np.ndarray] = []
        self.distances: list[float] = []
        self.error: AudioError | None = None

    @property
    def is_complete(self) -> bool:
        """Whether `answer` may be called."""
        has_all = self.is_read and len(self.posteriors) == self.num_segments
        return has_all or self.error is not None

    def answer(self, classes: tuple[str, ...], config) -> Answer | AudioError:
        """Joins the segments as `segment.vote` says, then averages the runs."""
        if self.error is not None:
            return self.error
        posteriors = np.array(self.posteriors)
        if not np.isfinite(posteriors).all():
            return AudioError(
                "unusable samples",
                "expected samples in [-1, 1]; got some that give no finite "
                "probabilities",
            )
        one_utterance = np.zeros(len(posteriors), int)
        voted = [
            voting.vote(run, one_utterance, 1, config.segment.vote)[0]
            for run in posteriors.swapaxes(0, 1)
        ]
        distance = float(np.sqrt(np.mean(self.distances)))
        if config.data.normalize == "none":
            distance = float("nan")  # in units of the features, not of their spread
        return Answer(
            classes=classes,
            probabilities=np.mean(voted, axis=0),
            warnings=self.quality.warnings(distance),
            start_s=0.0,
            end_s=self.quality.num_samples / self.quality.sample_rate_hz,
        )


def sliding_windows(
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
    buffer, start = np.zeros(0, np.float32), 0
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        complete = []
        while len(buffer) >= window:
            complete.append((start, buffer[:window]))
            buffer, start = buffer[hop:], start + hop
        if complete:
            yield complete
    covered = start - hop + window if start else 0
    if start + len(buffer) > covered:
        yield [(start, buffer)]
