"""Z-score of features per band and channel, from a fold's training part. NumPy only.

Only real frames of the originals count, neither padding nor augmented copies. The
ACRNN's code pads with zeros first and counts them (`data.pad=before_norm`):
`padded_statistics`. `owner_statistics` are those of whole corpora or speakers, tested
ones too: they use the target without its labels.
"""

from collections.abc import Sequence

import numpy as np

from ser_jax.features.segments import Segments

BY_OWNER = ("corpus", "speaker")  # of `data.normalize`, see `owner_statistics`


def fold_statistics(
    frames: Sequence[np.ndarray],
    trains: Sequence[Sequence[int]],
    full: int | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and standard deviation over all frames of each fold's training part.

    Args:
      frames: U utterances of float frames [T_u, F, C]; each is read once, and its sums
        are added to those of every fold that trains on it.
      trains: Per fold the positions of its training utterances; others play no part.
      full: Frames that each of them counts, the rest being zeros; None = T_u.

    Returns mean and std per fold, float32 [F, C]; std has the divisor n. Raises
    ValueError if a training part has no frame.
    """
    folds_of: list[list[int]] = [[] for _ in frames]
    for fold, train in enumerate(trains):
        for u in train:
            folds_of[u].append(fold)
    count = np.zeros((len(trains), 1, 1))
    total = np.zeros((len(trains), *(frames[0].shape[1:] if frames else (1, 1))))
    squares = np.zeros_like(total)
    for u, folds in enumerate(folds_of):
        if folds:
            # float32 would lose digits: hours of speech are a hundred million terms.
            exact = np.asarray(frames[u], np.float64)
            count[folds] += full or len(exact)
            total[folds] += exact.sum(axis=0)
            squares[folds] += np.square(exact).sum(axis=0)
    if not count.all():
        raise ValueError(
            "expected frames in the training part, got none; give its utterances"
        )
    mean = total / count
    # Rounding may leave a tiny negative variance of a constant band.
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return list(zip(mean.astype(np.float32), std.astype(np.float32), strict=True))


def padded_statistics(
    frames: Sequence[np.ndarray], segments: Segments, full: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std, as above, over segments padded to `full` frames with zeros."""
    places = zip(
        segments.utterance, segments.start_frame, segments.num_frames, strict=True
    )
    cut = [frames[u][start : start + num] for u, start, num in places]
    return fold_statistics(cut, [range(len(cut))], full)[0]


def owner_statistics(
    frames: Sequence[np.ndarray], owners: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and std [G, F, C] of each owner's utterances, and int32 [U], whose are whose."""
    names, owner = np.unique(np.asarray(owners), return_inverse=True)
    members = [np.flatnonzero(owner == number) for number in range(len(names))]
    mean, std = zip(*fold_statistics(frames, members), strict=True)
    return np.stack(mean), np.stack(std), owner.astype(np.int32)
