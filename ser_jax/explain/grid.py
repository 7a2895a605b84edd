"""From cells of an attention grid to inputs, and from segments to a time axis. NumPy."""

from collections.abc import Mapping, Sequence

import numpy as np

from ser_jax.explain.explainer import Explanation, SegmentBatch
from ser_jax.layers.attention_grid import AttentionMap, AttentionMaps


class SegmentGrid:
    """The attention grid of a batch, laid over the inputs of its segments."""

    def __init__(self, maps: AttentionMaps, batch: SegmentBatch):
        """Finds the column of every frame; `maps` must not be empty, and share a grid."""
        first = next(iter(maps.values()))
        mass = sum(attention.mass for attention in maps.values())
        self.total = first.replace(mass=mass)  # the sum of all maps
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
        real = attended.any(axis=1)[:, None] & (frame < batch.num_frames[:, None])
        # int [B, T], grid column of every frame; -1 for padding; unset for words
        self.column = np.where(real, column, -1)
        # bool [B, W], columns with inputs under them
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

        Of a map over frames; [B, H, T], NaN in the padding.
        """
        multiples = np.asarray(attention.mass, np.float64)
        multiples = multiples * self.num_cells[:, None, None]
        at = np.maximum(self.column, 0)[:, None]
        multiples = np.take_along_axis(multiples, at, axis=2)
        return np.where(self.column[:, None] >= 0, multiples, np.nan)

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
        """The inputs under cells [B, H, W], as `Explainer.posteriors` hides them."""
        if self.over_words:
            return {"words": cells[:, 0]}
        rows = np.repeat(cells, np.diff(self.total.bands), axis=1)
        at = np.maximum(self.column, 0)[:, None]
        mask = np.take_along_axis(rows, at, axis=2) & (self.column >= 0)[:, None]
        return {"frames": np.moveaxis(mask, 1, 2)}


class MeanMaps:
    """Named maps [rows, columns], averaged column by column over all that is added."""

    def __init__(self, columns: int):
        self.columns = columns
        self._sums, self._counts = {}, {}  # [columns, rows] and [columns] by name

    def add(self, name: str, values: np.ndarray, at: np.ndarray) -> None:
        """Adds values [rows, n] to columns `at` [n], which may repeat; not where NaN."""
        known = ~np.isnan(values).any(axis=0)
        at, values = at[known], values[:, known]
        sums = self._sums.setdefault(name, np.zeros((self.columns, len(values))))
        np.add.at(sums, at, values.T)
        np.add.at(self._counts.setdefault(name, np.zeros(self.columns)), at, 1)

    def means(self) -> dict[str, np.ndarray]:
        """[rows, columns] by name; NaN in columns that nothing was added to."""
        with np.errstate(invalid="ignore"):  # 0 / 0
            return {k: sums.T / self._counts[k] for k, sums in self._sums.items()}


def add_segments(
    utterances: Mapping[int, MeanMaps],
    num_frames: Sequence[int],
    batch: SegmentBatch,
    explanation: Explanation,
    attention: Mapping[str, np.ndarray],
) -> None:
    """Adds `features`, `saliency` and attention of a batch to the time axes.

    `utterances` are the maps of every utterance, whose columns share out its
    `num_frames` equally. `attention` are more maps [B, H, T], NaN in the padding.
    """
    frame = np.arange(batch.frames.shape[1])
    padding = frame >= batch.num_frames[:, None]
    maps = {
        "features": explanation.features,
        "saliency": explanation.saliency["frames"],
    }
    for name, values in maps.items():
        maps[name] = np.where(padding[:, None], np.nan, np.moveaxis(values, 1, 2))
    maps |= attention
    for i in range(batch.count):
        own = utterances[u := int(batch.utterance[i])]
        place = (batch.start_frame[i] + frame + 0.5) / num_frames[u]
        # Rounding could put the last frame behind the last column.
        at = np.minimum((place * own.columns).astype(int), own.columns - 1)
        for name, values in maps.items():
            own.add(name, values[i], at)
