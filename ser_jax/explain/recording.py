"""Attention and saliency of one recording, on its own time axis."""

import collections
import dataclasses
from collections.abc import Iterator

import numpy as np

from ser_jax.explain.explainer import Explainer, Explanation, SegmentBatch, static
from ser_jax.explain.grid import MeanMaps, SegmentGrid, add_segments
from ser_jax.features.audio import AudioError
from ser_jax.predict.answers import Answer, SpeechInput
from ser_jax.predict.recognizer import Recognizer

LONGEST_S = 120  # that one picture can show


@dataclasses.dataclass(frozen=True)
class RecordingExplanation:
    """Attention and saliency of a recording, the means over its segments and all runs.

    Maps lie over its N frames; NaN where no segment came.
    """

    answer: Answer
    features: np.ndarray  # static ones [F, N], before normalisation
    # |d logit of the likeliest class / d input| [F, N] over its mean; all 0 if the
    # model reads words alone.
    saliency: np.ndarray
    # Attention [H, N] by name, to the cell over each frame, as a multiple of the mean
    # cell's in all maps together; {} if frames are not attended to.
    maps: dict[str, np.ndarray]
    shares: dict[str, float]  # of each map in the whole attention; they add up to 1
    bands: tuple[int, ...]  # edges of the H rows; () without maps
    # (word, attention, saliency) in order; both columns add up to 1.
    words: list[tuple[str, float, float]]

    @property
    def attention(self) -> np.ndarray | None:
        """All maps together; None without any."""
        return np.sum(list(self.maps.values()), axis=0) if self.maps else None

    @property
    def over_time(self) -> bool:
        """Whether the model attends over time alone, to all frequencies alike."""
        return len(self.bands) == 2

    @property
    def attends(self) -> bool:
        """Whether there is attention over anything."""
        return bool(self.maps or self.words)


def explain(
    recognizer: Recognizer, explainer: Explainer, recording: SpeechInput
) -> RecordingExplanation:
    """Explains the recognizer's answer for a recording by the mean of its runs.

    The explainer must have the same runs.

    Raises:
      AudioError: It cannot be read, or is too long for a picture.
      InputError: A text is missing.
    """
    seconds = recording.num_samples / recognizer.sample_rate_hz
    if seconds > LONGEST_S:
        raise AudioError(
            "too long",
            f"expected at most {LONGEST_S} s, which one picture can show; got "
            f"{seconds:.0f} s. Cut it, or ask `predict` for a timeline",
        )
    answer = recognizer.answer(recording)
    # Every run explains the joint decision, not its own.
    target = int(answer.probabilities.argmax())
    num_frames = explainer.trained.spec.num_frames(recording.num_samples)
    maps, shares, words = MeanMaps(num_frames), collections.defaultdict(list), []
    for batch in segment_batches(recognizer, recording):
        for r in range(len(explainer.trained.runs)):
            explanation = explainer.explain(r, batch, target)
            attention = _attention(explanation, batch, shares, words)
            frames = np.asarray(batch.frames, np.float32)  # squares of float16 overflow
            features = static(frames, explainer.trained.spec)
            explanation = explanation._replace(features=features)
            add_segments({0: maps}, [num_frames], batch, explanation, attention)
    means = maps.means()
    features, saliency = means.pop("features"), means.pop("saliency")
    mean = np.nanmean(saliency)
    columns = np.mean(words, axis=0) if words else np.empty((2, 0))
    attended, slopes = (x / (x.sum() or 1.0) for x in columns)
    # Columns behind the words that are read hold padding.
    read = recognizer.words.known_words(recording.text) if recognizer.words else []
    rows = zip(read, attended, slopes, strict=False)
    return RecordingExplanation(
        answer=answer,
        features=features,
        saliency=saliency / mean if mean > 0 else saliency,
        maps=means,
        shares={name: float(np.mean(x)) for name, x in shares.items()},
        bands=next(iter(explanation.maps.values())).bands if means else (),
        words=list(rows),
    )


def segment_batches(
    recognizer: Recognizer, recording: SpeechInput
) -> Iterator[SegmentBatch]:
    """The segments of a recording as the recognizer cuts them."""
    for count, segments, frames in recognizer.features(recording):
        yield SegmentBatch(
            frames=np.asarray(frames),
            num_frames=segments.num_frames,
            start_frame=segments.cut.first_frame,
            utterance=np.zeros(len(frames), int),
            count=count,
            side_inputs=segments.side_inputs,
        )


def _attention(
    explanation: Explanation, batch: SegmentBatch, shares: dict, words: list
) -> dict[str, np.ndarray]:
    """Maps over the frames of a batch, see `SegmentGrid.relative`.

    Adds to `shares` the mass of every map in each segment, or to `words` the mean
    attention and saliency of each word.
    """
    if not explanation.maps:
        return {}
    grid, count = SegmentGrid(explanation.maps, batch), batch.count
    if grid.over_words:
        columns = grid.total.mass[:count, 0], explanation.saliency["words"][:count]
        words.append([x.mean(axis=0) for x in columns])
        return {}
    for name, attention in explanation.maps.items():
        shares[name] += attention.mass[:count].sum(axis=(1, 2)).tolist()
    return {name: grid.relative(x) for name, x in explanation.maps.items()}
