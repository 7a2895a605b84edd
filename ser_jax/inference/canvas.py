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


def within_reach(maps: Maps, num_frames: np.ndarray) -> np.ndarray:
    """Frames that some cell of the maps stands for, bool [B, T'].

    Not padding, and not the last few frames that fill no cell: all masses are 0 there.

    Args:
      maps: Over frames.
      num_frames: int [B], real frames.
    """
    whole = total(maps)
    columns = np.array(whole.columns)
    frame = np.arange(columns[-1])
    owner = np.searchsorted(columns, frame, side="right") - 1
    some = np.asarray(whole.mass).sum(axis=1) > 0
    within = (owner >= 0) & (frame < num_frames[:, None])
    return within & some[:, np.maximum(owner, 0)]


def against_even(found: AttentionMap, reached: np.ndarray) -> np.ndarray:
    """Attention of every frame as a multiple of what evenly spread attention gives it.

    The mass of a cell is shared evenly among the real frames under it.

    Args:
      found: A map over frames.
      reached: What `within_reach` says, [B, T'].

    Returns:
      [B, H, T']; 0 where nothing is reached.
    """
    columns, bands = np.array(found.columns), np.array(found.bands)
    frame = np.arange(columns[-1])
    owner = np.searchsorted(columns, frame, side="right") - 1
    owner = np.maximum(owner, 0)
    width = np.zeros((len(reached), len(columns) - 1))
    np.add.at(width.T, owner, reached.T)
    density = np.asarray(found.mass, np.float64) / np.maximum(width, 1)[:, None]
    density = np.where(reached[:, None], density[..., owner], 0.0)
    share = np.diff(bands) / (bands[-1] - bands[0])
    return density * reached.sum(axis=1)[:, None, None] / share[:, None]


def cells_under(found: AttentionMap, values: np.ndarray) -> np.ndarray:
    """Mean of values [B, T, F] (words: [B, L]) under every cell of a map, [B, H, W]."""
    if found.over == "words":
        return values[:, None]
    sums = np.moveaxis(values, 1, 2)  # [B, F, T]
    for axis, edges in ((1, found.bands), (2, found.columns)):
        edges = np.array(edges)
        sums = sums.take(np.arange(edges[0], edges[-1]), axis=axis)
        sums = np.add.reduceat(sums, edges[:-1] - edges[0], axis=axis)
    area = np.outer(np.diff(found.bands), np.diff(found.columns))
    return sums / area


def inputs_under(
    found: AttentionMap, cells: np.ndarray, shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """The inputs under some cells, as `Viewer.answer` hides them.

    Args:
      found: Whose grid it is.
      cells: bool [B, H, W].
      shape: [B, T, F] of the frames.
    """
    if found.over == "words":
        return {"words": cells[:, 0]}
    out = np.zeros((len(cells), shape[2], shape[1]), bool)
    inside = np.repeat(cells, np.diff(found.bands), axis=1)
    inside = np.repeat(inside, np.diff(found.columns), axis=2)
    (low, *_, high), (start, *_, end) = found.bands, found.columns
    out[:, low:high, start:end] = inside
    return {"frames": np.moveaxis(out, 1, 2)}
