"""Z-score of features per band and channel, from a fold's training part. NumPy only.

The sums of every utterance are taken once; a fold adds up those of its training part.
Only real frames of the originals count, neither padding nor augmented copies. The
ACRNN's code pads with zeros first and counts them (`data.pad=before_norm`, systems.md
7.3); `window_moments` gives the sums for that.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ser_jax.data.segments import Segments

EPSILON = 1e-5  # keeps a constant band finite


@dataclasses.dataclass(frozen=True)
class Moments:
    """Sums over the frames of each utterance, in float64.

    Attributes:
      count: int64 [U], frames.
      sum: float64 [U, F, C], sum of the frames.
      sumsq: float64 [U, F, C], sum of their squares.
    """

    count: np.ndarray
    sum: np.ndarray
    sumsq: np.ndarray


def utterance_moments(frames: Sequence[np.ndarray]) -> Moments:
    """Sums of U utterances of float frames [T_u, F, C], without padding."""
    exact = (np.asarray(x, np.float64) for x in frames)
    sums = [(len(x), x.sum(axis=0), np.square(x).sum(axis=0)) for x in exact]
    count, total, squares = zip(*sums, strict=True)
    return Moments(np.array(count, np.int64), np.stack(total), np.stack(squares))


def window_moments(
    frames: Sequence[np.ndarray], windows: Segments, full: int
) -> Moments:
    """Sums of S windows, each padded with zeros to `full` frames that count.

    Args:
      frames: U utterances of float frames [T_u, F, C].
      windows: The windows; rows of the result follow them, not the utterances.
      full: Frames of a padded window.
    """
    cuts = [
        frames[u][start : start + num]
        for u, start, num in zip(
            windows.utterance, windows.start_frame, windows.num_frames, strict=True
        )
    ]
    moments = utterance_moments(cuts)
    return dataclasses.replace(moments, count=np.full(len(cuts), full, np.int64))


def fold_statistics(
    moments: Moments, train: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over all frames of a fold's training part.

    Args:
      moments: Sums of U utterances (or of windows).
      train: Positions of those of the training part; the others are not looked at.

    Returns:
      mean and std, float32 [F, C]; std has the divisor n.

    Raises:
      ValueError: The training part has no frame.
    """
    train = np.asarray(train, np.int64)
    count = moments.count[train].sum()
    if count == 0:
        raise ValueError(
            "expected frames in the training part, got none; give its utterances"
        )
    mean = moments.sum[train].sum(axis=0) / count
    # float64 sums of float32 frames: rounding can at most leave a tiny negative here.
    variance = np.maximum(moments.sumsq[train].sum(axis=0) / count - mean**2, 0.0)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def zscore(frames, mean, std):
    """(frames - mean) / (std + 1e-5) for [..., T, F, C]; NumPy or JAX arrays."""
    return (frames - mean) / (std + EPSILON)
