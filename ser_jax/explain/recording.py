"""One recording: where its answer looked, on its own time axis."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ser_jax.explain import canvas
from ser_jax.explain.canvas import Canvas
from ser_jax.explain.viewer import View, Viewer, Windows
from ser_jax.features.audio import AudioError
from ser_jax.predict.answers import SpeechInput, vote_segments
from ser_jax.predict.recognizer import Recognizer

LONGEST_S = 120  # of a recording that is drawn


@dataclasses.dataclass(frozen=True)
class Attention:
    """Where a recording's windows looked.

    Attributes:
      maps: By name [H, N]: attention of the cell over a frame as a multiple of the
        mean cell's, in this map. NaN where no window came.
      shares: Of each map in the whole attention; they add up to 1.
      total: All maps together.
      bands: Edges of the H rows.
    """

    maps: dict[str, np.ndarray]
    shares: dict[str, float]
    total: np.ndarray
    bands: tuple[int, ...]

    @property
    def over_time(self) -> bool:
        """Whether frequencies are all attended to alike, by construction."""
        return len(self.bands) == 2


@dataclasses.dataclass(frozen=True)
class Explained:
    """All that a picture shows of one recording.

    Attributes:
      name: The recording's.
      classes: Names of the K classes.
      probabilities: [K].
      features: Static features [F, N] as the recipe has them; NaN where no window came.
      attention: Over frames, or None.
      saliency: |d logit of the likeliest class / d input| [F, N] over its mean; all 0
        if the model does not hear.
      words: (word, attention, saliency) each, in order; both columns add up to 1.
    """

    name: str
    classes: tuple[str, ...]
    probabilities: np.ndarray
    features: np.ndarray
    attention: Attention | None
    saliency: np.ndarray
    words: list[tuple[str, float, float]]


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Windows of the recording and how many of them are no fillings."""

    count: int
    start: np.ndarray
    windows: Windows


def explain(
    recognizer: Recognizer, viewer: Viewer, name: str, recording: SpeechInput
) -> Explained:
    """Looks at a recording through all runs of the viewer and takes their mean.

    Windows are put back where they were cut; where they overlap, their mean counts.

    Args:
      recognizer: Cuts the recording.
      viewer: The runs.
      name: Of the recording.
      recording: The samples.

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
    batches = [
        _Batch(count, window.first_frame, Windows(frames, window.num_frames, others))
        for count, window, frames, others in recognizer.features(recording)
    ]
    trained = viewer.trained
    runs = range(len(trained.runs))
    probabilities = np.mean(
        [_voted(viewer, r, batches, trained.config.segment.vote) for r in runs], axis=0
    )
    picture = _Picture(trained.spec.num_frames(recording.num_samples))
    for view, batch in _views(viewer, batches, int(probabilities.argmax())):
        picture.add(view, batch)
    return Explained(
        name=name,
        classes=trained.classes,
        probabilities=probabilities,
        features=picture.canvas("features", 0).mean(),
        attention=picture.attention(),
        saliency=_over_mean(picture.canvas("saliency", 0).mean()),
        words=picture.words(recognizer.words_of(recording)),
    )


def _voted(viewer: Viewer, r: int, batches: list[_Batch], rule: str) -> np.ndarray:
    found = [viewer.answer(r, batch.windows)[: batch.count] for batch in batches]
    return vote_segments(np.concatenate(found), rule)


def _views(viewer: Viewer, batches, target: int) -> Iterator[tuple[View, _Batch]]:
    for batch in batches:
        for r in range(len(viewer.trained.runs)):
            yield viewer.look(r, batch.windows, target), batch


class _Picture:
    """Canvases of one recording, and the sums of what has no time axis."""

    def __init__(self, num_frames: int):
        self._num_frames = num_frames
        self._canvases: dict[str, Canvas] = {}
        self._maps: dict[str, list[float]] = {}
        self._bands: tuple[int, ...] = ()
        self._words: list[tuple[np.ndarray, np.ndarray]] = []

    def canvas(self, name: str, rows: int) -> Canvas:
        """The canvas of that name, made when it is first asked for."""
        if name not in self._canvases:
            self._canvases[name] = Canvas(rows, self._num_frames)
        return self._canvases[name]

    def add(self, view: View, batch: _Batch) -> None:
        """Draws a batch as one run sees it."""
        num_frames = np.asarray(batch.windows.num_frames)
        everywhere = np.arange(batch.windows.frames.shape[1]) < num_frames[:, None]
        features = np.asarray(batch.windows.frames)[..., 0]
        self._draw("features", np.moveaxis(features, 1, 2), everywhere, batch)
        saliency = np.moveaxis(view.saliency["frames"], 1, 2)
        self._draw("saliency", saliency, everywhere, batch)
        over = {found.over for found in view.maps.values()}
        if over == {"words"}:
            attended = canvas.total(view.maps).mass[: batch.count, 0]
            slopes = view.saliency["words"][: batch.count]
            self._words.append((attended.mean(axis=0), slopes.mean(axis=0)))
        elif over:
            self._add_maps(view, num_frames, batch)

    def _add_maps(self, view: View, num_frames: np.ndarray, batch: _Batch) -> None:
        owner = canvas.columns_of(view.maps, num_frames)
        for name, found in view.maps.items():
            self._bands = found.bands
            multiples = canvas.against_even(found, owner)
            self._draw(f"map {name}", multiples, owner >= 0, batch)
            mass = np.asarray(found.mass).sum(axis=(1, 2))
            self._maps.setdefault(name, []).extend(mass[: batch.count].tolist())

    def _draw(self, name: str, values, where: np.ndarray, batch: _Batch) -> None:
        into = self.canvas(name, values.shape[1])
        for i in range(batch.count):
            frames = np.flatnonzero(where[i])
            into.add(values[i][:, frames], int(batch.start[i]) + frames)

    def attention(self) -> Attention | None:
        """Of the windows together; None if frames are not attended to."""
        if not self._maps:
            return None
        shares = {name: float(np.mean(mass)) for name, mass in self._maps.items()}
        maps = {name: self.canvas(f"map {name}", 0).mean() for name in shares}
        return Attention(
            maps={name: x / (shares[name] or 1.0) for name, x in maps.items()},
            shares=shares,
            total=np.sum(list(maps.values()), axis=0),
            bands=self._bands,
        )

    def words(self, read: list[str]) -> list[tuple[str, float, float]]:
        """Attention and saliency of the words."""
        if not self._words:
            return []
        columns = [np.mean(x, axis=0) for x in zip(*self._words, strict=True)]
        shares = [x / (x.sum() or 1.0) for x in columns]
        return list(zip(read, *(x.tolist() for x in shares), strict=False))


def _over_mean(values: np.ndarray) -> np.ndarray:
    mean = np.nanmean(values)
    return values / mean if mean > 0 else values
