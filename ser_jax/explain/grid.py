"""From cells of an attention grid to inputs, and from segments to a time axis. NumPy."""

from collections.abc import Mapping

import numpy as np

from ser_jax.explain.explainer import Explanation, SegmentBatch
from ser_jax.layers.attention_grid import AttentionMap, AttentionMaps


class SegmentGrid:
    """The attention grid of a batch, laid over the inputs of its segments.

    Attributes:
      total: The sum of all maps of the model, which share one grid.
      column: int [B, T], the grid column of every frame; -1 for padding. Frames behind
        the last attended cell belong to it. Undefined for attention over words.
      valid: bool [B, W], columns with inputs under them.
    """

    def __init__(self, maps: AttentionMaps, batch: SegmentBatch):
        """Finds the column of every frame; `maps` must not be empty."""
        first = next(iter(maps.values()))
        mass = sum(attention.mass for attention in maps.values())
        self.total = first.replace(mass=mass)
        if self.over_words:
            self.valid = np.asarray(batch.side_inputs["word_mask"])
            return
        attended = mass.sum(axis=1) > 0
        width = attended.shape[1]
        last = width - 1 - attended[:, ::-1].argmax(axis=1)
        frame = np.arange(batch.frames.shape[1])
        column = np.searchsorted(np.array(first.columns), frame, side="right") - 1
        # A stride drops the frames that fill no cell; the last cell stands for them.
        column = np.minimum(column, last[:, None])
        real = attended.any(axis=1)[:, None] & (
            frame < np.asarray(batch.num_frames)[:, None]
        )
        self.column = np.where(real, column, -1)
        self.valid = np.arange(width) <= self.column.max(axis=1)[:, None]

    @property
    def over_words(self) -> bool:
        """Whether the cells are words, not times and frequencies."""
        return self.total.over == "words"

    @property
    def num_cells(self) -> np.ndarray:
        """Cells with inputs under them, int [B]."""
        return self.valid.sum(axis=1) * self.total.mass.shape[1]

    def relative(self, attention: AttentionMap) -> np.ndarray:
        """Attention to the cell over each frame, as a multiple of uniform attention.

        Args:
          attention: A map over frames.

        Returns:
          [B, H, T]; 0 in the padding.
        """
        multiples = np.asarray(attention.mass, np.float64)
        multiples = multiples * self.num_cells[:, None, None]
        at = np.maximum(self.column, 0)[:, None]
        multiples = np.take_along_axis(multiples, at, axis=2)
        return np.where(self.column[:, None] >= 0, multiples, 0.0)

    def mean_per_cell(self, values: np.ndarray) -> np.ndarray:
        """Mean of input values [B, T, F] (of words: [B, L]) in every cell, [B, H, W]."""
        if self.over_words:
            return values[:, None]
        bands = np.array(self.total.bands)
        inside = self.column[..., None] == np.arange(self.total.mass.shape[2])
        inside = inside.astype(values.dtype)
        width = np.maximum(inside.sum(axis=1), 1)[:, None]
        sums = np.einsum("btf,btw->bfw", values, inside) / width
        return np.add.reduceat(sums, bands[:-1], axis=1) / np.diff(bands)[:, None]

    def input_mask(self, cells: np.ndarray) -> dict[str, np.ndarray]:
        """The inputs under some cells, as `Explainer.posteriors` hides them.

        Args:
          cells: bool [B, H, W].
        """
        if self.over_words:
            return {"words": cells[:, 0]}
        rows = np.repeat(cells, np.diff(self.total.bands), axis=1)
        at = np.maximum(self.column, 0)[:, None]
        mask = np.take_along_axis(rows, at, axis=2) & (self.column >= 0)[:, None]
        return {"frames": np.moveaxis(mask, 1, 2)}


class ColumnMean:
    """Running mean of [rows, columns] pictures that each cover some columns."""

    def __init__(self, rows: int, columns: int):
        """Starts without a picture."""
        self._sum = np.zeros((columns, rows))
        self._count = np.zeros(columns)

    def add(self, values: np.ndarray, at: np.ndarray) -> None:
        """Adds values [rows, n] to the columns `at` [n], which may repeat."""
        np.add.at(self._sum, at, values.T)
        np.add.at(self._count, at, 1)

    def mean(self) -> np.ndarray:
        """[rows, columns]; NaN in columns that nothing was added to."""
        count = self._count[:, None]
        empty = np.full_like(self._sum, np.nan)
        return np.divide(self._sum, count, out=empty, where=count > 0).T


class UtteranceMaps:
    """Features, saliency and attention of one utterance, overlapping segments averaged.

    The time axis has one column per frame, or a fixed number of columns for utterances
    of any length.
    """

    def __init__(self, num_frames: int, columns: int):
        """Starts without a segment."""
        self._num_frames, self._columns = num_frames, columns
        self._means: dict[str, ColumnMean] = {}

    def add(
        self, name: str, values: np.ndarray, covered: np.ndarray, start: int
    ) -> None:
        """Adds one segment.

        Args:
          name: Of the map.
          values: [rows, T].
          covered: bool [T], frames that have a value.
          start: First frame of the segment.
        """
        frames = np.flatnonzero(covered)
        place = (start + frames + 0.5) / self._num_frames
        at = np.minimum((place * self._columns).astype(int), self._columns - 1)
        own = self._means.setdefault(name, ColumnMean(len(values), self._columns))
        own.add(values[:, frames], at)

    def means(self) -> dict[str, np.ndarray]:
        """[rows, columns] by name; NaN where no segment came."""
        return {name: own.mean() for name, own in self._means.items()}


def add_segments(
    utterances: Mapping[int, UtteranceMaps],
    batch: SegmentBatch,
    explanation: Explanation,
    grid: SegmentGrid | None,
    maps: AttentionMaps,
) -> None:
    """Adds `features`, `saliency` and the attention maps of a batch to its utterances.

    Args:
      utterances: By index.
      batch: The segments.
      explanation: Of one run.
      grid: Of its attention; None if the model does not attend.
      maps: The attention maps to add; left out where they are over words.
    """
    real = np.arange(batch.frames.shape[1]) < np.asarray(batch.num_frames)[:, None]
    pictures = {
        "features": (np.moveaxis(explanation.features, 1, 2), real),
        "saliency": (np.moveaxis(explanation.saliency["frames"], 1, 2), real),
    }
    if grid is not None and not grid.over_words:
        for name, attention in maps.items():
            pictures[name] = grid.relative(attention), grid.column >= 0
    for i in range(batch.count):
        own = utterances[int(batch.utterance[i])]
        for name, (values, covered) in pictures.items():
            own.add(name, values[i], covered[i], int(batch.start_frame[i]))
