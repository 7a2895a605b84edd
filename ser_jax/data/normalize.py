"""Z-score of features per band and channel, from a fold's training part. NumPy only.

The corpus is read once: each utterance's sums are added to those of every fold that
trains on it. Only real frames of the originals count, neither padding nor augmented
copies. The ACRNN's code pads with zeros first and counts them (`data.pad=before_norm`);
`padded_statistics` is for that.
"""

from collections.abc import Sequence

import numpy as np

from ser_jax.features.segments import Segments


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
    folds_of: list[list[int]] = [[] for _ in frames]
    for fold, train in enumerate(trains):
        for u in train:
            folds_of[u].append(fold)
    count = np.zeros(len(trains))
    total = np.zeros((len(trains), *frames[0].shape[1:]))
    squares = np.zeros_like(total)
    for u, folds in enumerate(folds_of):
        if folds:
            total_u, squares_u = _sums(frames[u])
            count[folds] += len(frames[u])
            total[folds] += total_u
            squares[folds] += squares_u
    return [_statistics(*sums) for sums in zip(count, total, squares, strict=True)]


def padded_statistics(
    frames: Sequence[np.ndarray], segments: Segments, full: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over segments, padded with zeros that count.

    Args:
      frames: U utterances of float frames [T_u, F, C].
      segments: The segments.
      full: Frames of a padded segment.

    Returns:
      mean and std, float32 [F, C]; std has the divisor n.

    Raises:
      ValueError: There is no segment.
    """
    total = squares = np.zeros(frames[0].shape[1:])
    for u, start, num in zip(
        segments.utterance, segments.start_frame, segments.num_frames, strict=True
    ):
        segment_total, segment_squares = _sums(frames[u][start : start + num])
        total, squares = total + segment_total, squares + segment_squares
    return _statistics(full * len(segments.utterance), total, squares)


def _sums(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # float32 would lose digits: hours of speech are a hundred million terms.
    exact = np.asarray(frames, np.float64)
    return exact.sum(axis=0), np.square(exact).sum(axis=0)


def _statistics(count, total, squares) -> tuple[np.ndarray, np.ndarray]:
    if count == 0:
        raise ValueError(
            "expected frames in the training part, got none; give its utterances"
        )
    mean = total / count
    # Rounding may leave a tiny negative variance of a constant band.
    variance = np.maximum(squares / count - mean**2, 0.0)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
