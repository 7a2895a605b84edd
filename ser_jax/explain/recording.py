"""Attention and saliency of one recording, on its own time axis."""

import collections
import dataclasses
from collections.abc import Iterator

import numpy as np

from ser_jax.explain.explainer import Explainer, Explanation, SegmentBatch
from ser_jax.explain.grid import MeanMaps, SegmentGrid, add_segments
from ser_jax.features.audio import AudioError
from ser_jax.predict.answers import Answer, SpeechInput
from ser_jax.predict.recognizer import Recognizer

LONGEST_S = 120  # that one picture can show


@dataclasses.dataclass(frozen=True)
class Attention:
    """Attention of a recording's segments, averaged over segments and runs.

    Maps [H, N] hold the attention to the cell over each frame as a multiple of the mean
    cell's; NaN where no segment came.
    """

    maps: dict[str, np.ndarray]  # by name, each relative to its own mean
    shares: dict[str, float]  # of each map in the whole attention; they add up to 1
    total: np.ndarray  # all maps together
    bands: tuple[int, ...]  # edges of the H rows

    @property
    def over_time(self) -> bool:
        """Whether the model attends over time alone, to all frequencies alike."""
        return len(self.bands) == 2


@dataclasses.dataclass(frozen=True)
class RecordingExplanation:
    """What the figure of one recording shows; NaN in frames that no segment covers."""

    answer: Answer
    features: np.ndarray  # static ones [F, N], before normalisation
    attention: Attention | None  # over frames
    # |d logit of the likeliest class / d input| [F, N] over its mean; all 0 if the
    # model reads words alone.
    saliency: np.ndarray
    # (word, attention, saliency) in order; both columns add up to 1.
    words: list[tuple[str, float, float]]

    @property
    def attends(self) -> bool:
        """Whether there is attention over anything."""
        return self.attention is not None or bool(self.words)


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
    maps, summary = MeanMaps(num_frames), _Summary()
    for batch in segment_batches(recognizer, recording):
        for r in range(len(explainer.trained.runs)):
            explanation = explainer.explain(r, batch, target)
            attention = summary.add(explanation, batch)
            explanation = explanation._replace(features=batch.frames[..., 0])
            add_segments({0: maps}, [num_frames], batch, explanation, attention)
    means = maps.means()
    features, saliency = means.pop("features"), means.pop("saliency")
    mean = np.nanmean(saliency)
    return RecordingExplanation(
        answer=answer,
        features=features,
        saliency=saliency / mean if mean > 0 else saliency,
        attention=summary.attention(means),
        words=summary.words(recognizer.words_of(recording)),
    )


def segment_batches(
    recognizer: Recognizer, recording: SpeechInput
) -> Iterator[SegmentBatch]:
    """The segments of a recording as the recognizer cuts them."""
    for count, window, frames, side_inputs in recognizer.features(recording):
        yield SegmentBatch(
            frames=np.asarray(frames),
            num_frames=window.num_frames,
            start_frame=window.first_frame,
            utterance=np.zeros(len(frames), int),
            count=count,
            side_inputs=side_inputs,
        )


class _Summary:
    """What is averaged over segments and runs beside the maps on the time axis."""

    def __init__(self):
        self._shares: dict[str, list[float]] = collections.defaultdict(list)
        self._bands: tuple[int, ...] = ()
        self._words: list[tuple[np.ndarray, np.ndarray]] = []

    def add(
        self, explanation: Explanation, batch: SegmentBatch
    ) -> dict[str, np.ndarray]:
        """Adds a batch; returns its maps over frames, see `SegmentGrid.relative`."""
        if not explanation.maps:
            return {}
        grid = SegmentGrid(explanation.maps, batch)
        if grid.over_words:
            attended = grid.total.mass[: batch.count, 0].mean(axis=0)
            slopes = explanation.saliency["words"][: batch.count].mean(axis=0)
            self._words.append((attended, slopes))
            return {}
        self._bands = grid.total.bands
        for name, attention in explanation.maps.items():
            mass = attention.mass.sum(axis=(1, 2))
            self._shares[name] += mass[: batch.count].tolist()
        return {name: grid.relative(x) for name, x in explanation.maps.items()}

    def attention(self, means: dict[str, np.ndarray]) -> Attention | None:
        """Of the maps' means on the time axis; None if frames are not attended to."""
        if not means:
            return None
        shares = {name: float(np.mean(self._shares[name])) for name in means}
        return Attention(
            maps={name: x / (shares[name] or 1.0) for name, x in means.items()},
            shares=shares,
            total=np.sum(list(means.values()), axis=0),
            bands=self._bands,
        )

    def words(self, read: list[str]) -> list[tuple[str, float, float]]:
        """Attention and saliency of the words, as shares."""
        if not self._words:
            return []
        columns = [np.mean(x, axis=0) for x in zip(*self._words, strict=True)]
        shares = [x / (x.sum() or 1.0) for x in columns]
        # Columns behind the words that are read hold padding.
        return list(zip(read, *(x.tolist() for x in shares), strict=False))
