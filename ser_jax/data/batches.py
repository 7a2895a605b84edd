"""From folds to index arrays: which windows each run reads, in which order.

All frames of a corpus lie in one buffer; a training example is a place in it, so the
device gathers batches itself and the host only sends integers. Every order and draw is
a function of (seed, fold, epoch): a resumed run repeats it exactly.
"""

import dataclasses
import zlib
from typing import NamedTuple

import numpy as np

from ser_jax.data.protocols import Fold
from ser_jax.data.segments import Segments
from ser_jax.data.store import Store


class Index(NamedTuple):
    """Where windows lie in the frame buffer; any leading shape.

    Attributes:
      start: int32, first frame in the buffer.
      num_frames: int32, real frames of the window; the rest is padding.
      label: int32, class of the utterance.
      weight: float32, 1 for an example, 0 for a slot that only fills the batch.
    """

    start: np.ndarray
    num_frames: np.ndarray
    label: np.ndarray
    weight: np.ndarray


@dataclasses.dataclass(frozen=True)
class FrameBuffer:
    """All utterances and their VTLP copies, one after the other.

    Attributes:
      frames: float32 [M, F, C]; ends with one window of zeros, so that a window which
        starts at the last real frame can be sliced.
      offset: int64 [1 + V, U], first frame of copy v (0: the original) of utterance u.
    """

    frames: np.ndarray
    offset: np.ndarray

    @classmethod
    def from_store(cls, store: Store, window_frames: int) -> "FrameBuffer":
        """Concatenates the store's originals, then its copies."""
        lengths = np.array([len(x) for x in store.frames], np.int64)
        num_copies = store.warp_factors.shape[1] if store.copies else 0
        parts = list(store.frames)
        for copy in range(num_copies):
            parts.extend(x[copy] for x in store.copies)
        offset = np.concatenate([[0], np.cumsum(np.tile(lengths, 1 + num_copies))[:-1]])
        padding = np.zeros((window_frames, *store.frames[0].shape[1:]), np.float32)
        return cls(
            frames=np.concatenate([*parts, padding]).astype(np.float32, copy=False),
            offset=offset.reshape(1 + num_copies, len(lengths)),
        )


@dataclasses.dataclass(frozen=True)
class RunWindows:
    """The windows one run (fold x seed) trains, validates and tests on.

    Attributes:
      fold: The run's fold.
      train: Windows of the training part, at the training step.
      select: Windows of the part that chooses the epoch (empty if none does).
      test: Windows of the test part, at the test step.
    """

    fold: Fold
    train: Segments
    select: Segments
    test: Segments

    @property
    def key(self) -> int:
        """A number that names the fold, whatever its place among the folds."""
        return zlib.crc32(self.fold.name.encode())


def training_order(
    run: RunWindows,
    buffer: FrameBuffer,
    labels: np.ndarray,
    *,
    epoch: int,
    vtlp: str,
    batch_size: int,
) -> Index:
    """The batches of one epoch of one run, as arrays [S, B].

    The last batch is filled with windows of the same epoch at weight 0, so that batch
    normalisation only ever sees speech.

    Args:
      run: The run.
      buffer: Where frames lie.
      labels: int [U], class per utterance.
      epoch: Counts from 0.
      vtlp: `all` reads every copy of every window, `one` draws one of original and
        copies per window, `none` reads the originals.
      batch_size: Windows per batch.
    """
    rng = np.random.default_rng([run.fold.seed, run.key, epoch])
    num, copies = len(run.train.utterance), len(buffer.offset)
    if vtlp == "all":
        window = np.tile(np.arange(num), copies)
        copy = np.repeat(np.arange(copies), num)
    else:
        window = np.arange(num)
        copy = rng.integers(copies, size=num) if vtlp == "one" else np.zeros(num, int)
    order = rng.permutation(len(window))
    slots = np.resize(order, -(-len(order) // batch_size) * batch_size)
    weight = (np.arange(len(slots)) < len(order)).astype(np.float32)
    index = _index(run.train, buffer, labels, window[slots], copy[slots], weight)
    return Index(*(x.reshape(-1, batch_size) for x in index))


def evaluation_order(
    windows: Segments, buffer: FrameBuffer, labels: np.ndarray, *, batch_size: int
) -> Index:
    """All windows in order, as arrays [S, B]; filled up at weight 0."""
    num = len(windows.utterance)
    slots = np.arange(-(-num // batch_size) * batch_size)
    weight = (slots < num).astype(np.float32)
    window = np.minimum(slots, num - 1)
    copy = np.zeros_like(window)
    index = _index(windows, buffer, labels, window, copy, weight)
    return Index(*(x.reshape(-1, batch_size) for x in index))


def stack_runs(indices: list[Index | None]) -> Index:
    """Stacks the runs' batches to [R, S, B]; shorter and absent runs get weight 0."""
    present = [x for x in indices if x is not None]
    steps = max(len(x.start) for x in present)
    batch_size = present[0].start.shape[1]
    blank = Index(*(np.zeros((0, batch_size), x.dtype) for x in present[0]))

    def fill(array: np.ndarray) -> np.ndarray:
        return np.pad(array, ((0, steps - len(array)), (0, 0)))

    runs = [blank if x is None else x for x in indices]
    return Index(*(np.stack([fill(x[i]) for x in runs]) for i in range(len(blank))))


def _index(
    windows: Segments,
    buffer: FrameBuffer,
    labels: np.ndarray,
    window: np.ndarray,
    copy: np.ndarray,
    weight: np.ndarray,
) -> Index:
    utterance = windows.utterance[window]
    start = buffer.offset[copy, utterance] + windows.start_frame[window]
    return Index(
        start=start.astype(np.int32),
        num_frames=windows.num_frames[window].astype(np.int32),
        label=labels[utterance].astype(np.int32),
        weight=weight,
    )
