"""Z-score of features per band and channel, from a fold's training part. NumPy only.

The corpus is read once: each utterance's sums are added to those of every fold that
trains on it. Only real frames of the originals count, neither padding nor augmented
copies. The ACRNN's code pads with zeros first and counts them (`data.pad=before_norm`);
`window_statistics` is for that.
"""

from collections.abc import Sequence

import numpy as np

from ser_jax.features.segments import Segments


class _Sums:
    """Sums of frames and of their squares, in float64."""

    def __init__(self, shape: tuple[int, int]):
        self.count = 0
        self.sum, self.sumsq = np.zeros(shape), np.zeros(shape)

    def add(self, count: int, total: np.ndarray, squares: np.ndarray) -> None:
        self.count += count
        self.sum += total
        self.sumsq += squares

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        if self.count == 0:
            raise ValueError(
                "expected frames in the training part, got none; give its utterances"
            )
        mean = self.sum / self.count
        # float64 sums of float32 frames: rounding at most leaves a tiny negative here.
        variance = np.maximum(self.sumsq / self.count - mean**2, 0.0)
        return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def _sums_of(frames: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    exact = np.asarray(frames, np.float64)
    return len(exact), exact.sum(axis=0), np.square(exact).sum(axis=0)


def fold_statistics(
    frames: Sequence[np.ndarray], trains: Sequence[Sequence[int]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and standard deviation over all frames of each fold's training part.

    Args:
      frames: U utterances of float frames [T_u, F, C], without padding; each is read
        once.
      trains: Per fold the positions of its training utterances; others play no part.

    Returns:
      Per fold mean and std, float32 [F, C]; std has the divisor n.

    Raises:
      ValueError: A training part has no frame.
    """
    sums = [_Sums(frames[0].shape[1:]) for _ in trains]
    members: list[list[_Sums]] = [[] for _ in frames]
    for own, train in zip(sums, trains, strict=True):
        for u in train:
            members[u].append(own)
    for u, folds in enumerate(members):
        if folds:
            found = _sums_of(frames[u])
            for own in folds:
                own.add(*found)
    return [own.statistics() for own in sums]


def window_statistics(
    frames: Sequence[np.ndarray], windows: Segments, full: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over windows, padded with zeros that count.

    Args:
      frames: U utterances of float frames [T_u, F, C].
      windows: The windows.
      full: Frames of a padded window.

    Returns:
      mean and std, float32 [F, C]; std has the divisor n.

    Raises:
      ValueError: There is no window.
    """
    sums = _Sums(frames[0].shape[1:])
    for u, start, num in zip(
        windows.utterance, windows.start_frame, windows.num_frames, strict=True
    ):
        _, total, squares = _sums_of(frames[u][start : start + num])
        sums.add(full, total, squares)
    return sums.statistics()
