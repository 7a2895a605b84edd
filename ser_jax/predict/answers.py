"""Recordings to answer for, and answers from the posteriors of their segments."""

import dataclasses
from collections.abc import Hashable, Iterable, Iterator

import numpy as np

from ser_jax.features.audio import AudioError
from ser_jax.features.signal_quality import SignalQuality
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.scoring import voting


@dataclasses.dataclass(frozen=True)
class SpeechInput:
    """Samples of one recording, which can be read more than once."""

    blocks: Iterable[np.ndarray]  # float32 [n] at the recipe's rate, afresh each time
    num_samples: int  # in all, at least 1
    text: str | None = None  # transcript, for models that read words
    note: str = ""  # what is odd about its file, for the answer's warnings


@dataclasses.dataclass(frozen=True)
class Answer:
    """The predicted emotion of one recording, or of a stretch of it."""

    classes: tuple[str, ...]  # names of the K classes
    probabilities: np.ndarray  # float64 [K]; they sum to 1
    warnings: tuple[str, ...]  # reasons not to trust it, see `SignalQuality`
    start_s: float  # of the stretch
    end_s: float

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.classes[int(self.probabilities.argmax())]


@dataclasses.dataclass
class PendingAnswer:
    """Collects the posteriors of a recording's segments until all are there.

    Segments of several recordings go through the model in one batch, so a recording
    may have to wait for a batch to fill.
    """

    name: Hashable  # the caller's
    quality: SignalQuality  # of its samples
    num_segments: int = 0  # cut so far
    is_read: bool = False  # whether those are all
    # Of each segment that the model has seen: posteriors [R, K], and the mean square of
    # the normalised features.
    posteriors: list[np.ndarray] = dataclasses.field(default_factory=list)
    distances: list[float] = dataclasses.field(default_factory=list)
    error: AudioError | None = None  # why it cannot be used
    note: str = ""  # of its `SpeechInput`

    @property
    def is_complete(self) -> bool:
        """Whether `answer` may be called."""
        has_all = self.is_read and len(self.posteriors) == self.num_segments
        return has_all or self.error is not None

    def answer(self, trained: TrainedModel) -> Answer | AudioError:
        """Joins the segments as `segment.vote` says, then averages the runs."""
        if self.error is not None:
            return self.error
        posteriors = np.array(self.posteriors)  # [S, R, K]
        if not np.isfinite(posteriors).all():
            return AudioError(
                "unusable samples",
                "expected samples in [-1, 1]; got some that give no finite "
                "probabilities",
            )
        one_utterance = np.zeros(len(posteriors), int)
        # Votes before means, as the evaluation of each run does.
        voted = [
            voting.vote(run, one_utterance, 1, trained.config.segment.vote)[0]
            for run in posteriors.swapaxes(0, 1)
        ]
        distance = float(np.sqrt(np.mean(self.distances)))
        if trained.config.data.normalize == "none":
            distance = float("nan")  # in units of the features, not of their spread
        return Answer(
            classes=trained.classes,
            probabilities=np.mean(voted, axis=0),
            warnings=(*filter(None, [self.note]), *self.quality.warnings(distance)),
            start_s=0.0,
            end_s=self.quality.num_samples / self.quality.sample_rate_hz,
        )


def sliding_windows(
    blocks: Iterable[np.ndarray], window: int, hop: int
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """The (start, samples) of the windows that each block of samples [n] completes.

    Windows of `window` samples start every `hop`, at most `window`, until all samples
    are covered; the last one may be shorter.
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
    # The rest is answered for unless the last whole window ended with the samples.
    covered = start - hop + window if start else 0
    if start + len(buffer) > covered:
        yield [(start, buffer)]
