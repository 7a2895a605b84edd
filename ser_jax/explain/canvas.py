"""Windows laid back on the time axis they were cut from. NumPy only."""

import numpy as np

from ser_jax.layers.attention_grid import AttentionMap, Maps


class Canvas:
    """Means of what overlapping windows say of every column.

    Attributes:
      rows: Of the picture.
      columns: Frames of a recording, or bins of a relative time axis.
    """

    def __init__(self, rows: int, columns: int):
        """Nothing is drawn yet."""
        self.rows, self.columns = rows, columns
        self._sum = np.zeros((columns, rows))
        self._count = np.zeros(columns)

    def add(self, values: np.ndarray, at: np.ndarray) -> None:
        """Adds values [rows, n] to the columns `at` [n], which may repeat."""
        np.add.at(self._sum, at, values.T)
        np.add.at(self._count, at, 1)

    def mean(self) -> np.ndarray:
        """[rows, columns]; NaN where no window came."""
        count = self._count[:, None]
        empty = np.full_like(self._sum, np.nan)
        return np.divide(self._sum, count, out=empty, where=count > 0).T


def total(maps: Maps) -> AttentionMap:
    """All maps of a model, which share one grid, added up."""
    first = next(iter(maps.values()))
    return first.replace(mass=sum(found.mass for found in maps.values()))


def columns_of(maps: Maps, num_frames: np.ndarray) -> np.ndarray:
    """The column of the maps' grid that every frame belongs to, int [B, T]; -1 = none.

    Frames behind the last cell that is attended to, which fill no cell of their own,
    belong to it; padding belongs to none.

    Args:
      maps: Over frames.
      num_frames: int [B], real frames; T is the largest.
    """
    some = np.asarray(total(maps).mass).sum(axis=1) > 0
    last = some.shape[1] - 1 - some[:, ::-1].argmax(axis=1)
    frame = np.arange(num_frames.max())
    edges = np.array(next(iter(maps.values())).columns)
    owner = np.searchsorted(edges, frame, side="right") - 1
    owner = np.minimum(owner, last[:, None])
    real = some.any(axis=1)[:, None] & (frame < num_frames[:, None])
    return np.where(real, owner, -1)


def against_even(found: AttentionMap, owner: np.ndarray) -> np.ndarray:
    """Attention of a frame's cell as a multiple of an even share among the cells.

    Args:
      found: A map over frames.
      owner: What `columns_of` says, [B, T].

    Returns:
      [B, H, T]; 0 in the padding.
    """
    cells = found.mass.shape[1] * (owner.max(axis=1, initial=-1) + 1)
    multiples = np.asarray(found.mass, np.float64) * cells[:, None, None]
    multiples = np.take_along_axis(multiples, np.maximum(owner, 0)[:, None], axis=2)
    return np.where(owner[:, None] >= 0, multiples, 0.0)


def _within(owner: np.ndarray, columns: int) -> np.ndarray:
    """Whether a frame belongs to a column, bool [B, T, W]."""
    return owner[..., None] == np.arange(columns)


def cells_under(
    found: AttentionMap, values: np.ndarray, owner: np.ndarray
) -> np.ndarray:
    """Mean of values [B, T, F] (words: [B, L]) under every cell of a map, [B, H, W].

    Args:
      found: Whose grid it is.
      values: Of the inputs; T may be longer than that of `owner`.
      owner: What `columns_of` says; of no use for words.
    """
    if found.over == "words":
        return values[:, None]
    within = _within(owner, len(found.columns) - 1).astype(values.dtype)
    width = np.maximum(within.sum(axis=1), 1)[:, None]
    sums = np.einsum("btf,btw->bfw", values[:, : owner.shape[1]], within) / width
    sums = np.add.reduceat(sums, np.array(found.bands[:-1]), axis=1)
    return sums / np.diff(found.bands)[:, None]


def inputs_under(
    found: AttentionMap, cells: np.ndarray, owner: np.ndarray, num_frames: int
) -> dict[str, np.ndarray]:
    """The inputs under some cells, as `Viewer.answer` hides them.

    Args:
      found: Whose grid it is.
      cells: bool [B, H, W].
      owner: What `columns_of` says, [B, T]; of no use for words.
      num_frames: Of the padded window, at least T.
    """
    if found.over == "words":
        return {"words": cells[:, 0]}
    rows = np.repeat(cells, np.diff(found.bands), axis=1)
    hidden = np.take_along_axis(rows, np.maximum(owner, 0)[:, None], axis=2)
    hidden = np.moveaxis(hidden & (owner >= 0)[:, None], 1, 2)
    beyond = num_frames - hidden.shape[1]
    return {"frames": np.pad(hidden, ((0, 0), (0, beyond), (0, 0)))}
