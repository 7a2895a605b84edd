"""From folds to index arrays: which windows each run reads, in which order.

All frames of a corpus form one table; a training example is a place in it. Where the
table fits the device, the device gathers batches itself and the host only sends integers
(`training/feeder.py`). Every order and draw is
a function of (seed, fold, epoch): a resumed run repeats it exactly.

Windows of different lengths are never in one batch: each belongs to the smallest of a
few sizes ("buckets") that holds it, and a batch is padded to its bucket's size.
"""

import dataclasses
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ser_jax.data.frame_table import FrameBuffer
from ser_jax.data.protocols import Fold
from ser_jax.features.segments import Segments

SAMPLING = ("all", "balanced")


class Index(NamedTuple):
    """Where windows lie in the frame buffer; any leading shape.

    Attributes:
      utterance: int32, row of the utterance in the tables of what is not frames.
      start: int32, first frame in the buffer.
      num_frames: int32, real frames of the window; the rest is padding.
      label: int32, class of the utterance.
      weight: float32, 1 for an example, 0 for a slot that only fills the batch.
    """

    utterance: np.ndarray
    start: np.ndarray
    num_frames: np.ndarray
    label: np.ndarray
    weight: np.ndarray


class Tables(NamedTuple):
    """What the device gathers batches from; NumPy or JAX arrays, None = not read.

    Attributes:
      frames: float32 [M, F, C], see `FrameBuffer`.
      word_vectors: float32 [V, E], row 0 is padding.
      tokens: int32 [U, L], rows of `word_vectors`.
      speaker_embeddings: float32 [U, X].
      samples: int16 [M, 1, hop], see `SampleBuffer`.
      recordings: Where each utterance lies in `samples`, see `samples.Recordings`.
    """

    frames: Any = None
    word_vectors: Any = None
    tokens: Any = None
    speaker_embeddings: Any = None
    samples: Any = None
    recordings: Any = None


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
    config,
    *,
    epoch: int,
    sizes: Sequence[int],
) -> list[Index]:
    """The batches of one epoch of one run: per bucket, arrays [S, B].

    The last batch of a bucket is filled with windows of the same bucket at weight 0, so
    that batch normalisation only ever sees speech.

    Args:
      run: The run.
      buffer: Where frames lie.
      labels: int [U], class per utterance.
      config: `augment.vtlp` (`all` reads every copy of every window, `one` draws one of
        original and copies per window, `none` and `online` read the originals), `train.batch_size`,
        `train.sampling` and `train.per_class` are read.
      epoch: Counts from 0.
      sizes: Frames of the buckets, ascending; the last holds every window.
    """
    rng = np.random.default_rng([run.fold.seed, run.key, epoch])
    window = _sampled(labels[run.train.utterance], config.train, rng)
    num, copies = len(window), len(buffer.offset)
    copy = np.zeros(num, int)
    if config.augment.vtlp == "all":
        window, copy = np.tile(window, copies), np.repeat(np.arange(copies), num)
    elif config.augment.vtlp == "one":
        copy = rng.integers(copies, size=num)
    order = rng.permutation(len(window))
    bucket = np.searchsorted(sizes, run.train.num_frames[window[order]])
    parts = []
    for number in range(len(sizes)):
        chosen = order[bucket == number]
        slots, weight = _filled(chosen, config.train.batch_size)
        index = _index(run.train, buffer, labels, window[slots], copy[slots], weight)
        parts.append(_batched(index, config.train.batch_size))
    return parts


def _sampled(labels: np.ndarray, train, rng: np.random.Generator) -> np.ndarray:
    """Numbers of the windows that take part in an epoch.

    `balanced` draws `per_class` of every class, each window as often as any other of
    its class (give or take one); the ACRNN's code draws 300 per class, once.
    """
    if train.sampling == "all":
        return np.arange(len(labels))
    classes = np.unique(labels)
    wanted = train.per_class or round(len(labels) / len(classes))
    drawn = []
    for label in classes:
        members = np.flatnonzero(labels == label)
        repeats = -(-wanted // len(members))
        shuffled = [rng.permutation(members) for _ in range(repeats)]
        drawn.append(np.concatenate(shuffled)[:wanted])
    return np.concatenate(drawn)


def evaluation_order(
    windows: Segments,
    buffer: FrameBuffer,
    labels: np.ndarray,
    *,
    batch_size: int,
    sizes: Sequence[int],
) -> tuple[list[Index], list[np.ndarray]]:
    """All windows in order: per bucket, arrays [S, B] filled up at weight 0.

    Returns:
      (Indices, and per bucket the numbers of its windows, in the order of the slots.)
    """
    bucket = np.searchsorted(sizes, windows.num_frames)
    parts, places = [], []
    for number in range(len(sizes)):
        place = np.flatnonzero(bucket == number)
        slots, weight = _filled(place, batch_size)
        index = _index(windows, buffer, labels, slots, np.zeros_like(slots), weight)
        parts.append(_batched(index, batch_size))
        places.append(place)
    return parts, places


def stack_runs(indices: Sequence[Index | None]) -> Index:
    """Stacks the runs' batches to [R, S, B]; shorter and absent runs get weight 0."""
    present = [x for x in indices if x is not None]
    steps = max(len(x.start) for x in present)
    batch_size = present[0].start.shape[1]
    blank = Index(*(np.zeros((0, batch_size), x.dtype) for x in present[0]))

    def fill(array: np.ndarray) -> np.ndarray:
        return np.pad(array, ((0, steps - len(array)), (0, 0)))

    runs = [blank if x is None else x for x in indices]
    return Index(*(np.stack([fill(x[i]) for x in runs]) for i in range(len(blank))))


def _filled(chosen: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole batches of slots: the chosen ones, then repeats of them at weight 0."""
    slots = np.resize(chosen, -(-len(chosen) // batch_size) * batch_size)
    return slots, (np.arange(len(slots)) < len(chosen)).astype(np.float32)


def _batched(index: Index, batch_size: int) -> Index:
    return Index(*(x.reshape(-1, batch_size) for x in index))


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
        utterance=utterance.astype(np.int32),
        start=start.astype(np.int32),
        num_frames=windows.num_frames[window].astype(np.int32),
        label=labels[utterance].astype(np.int32),
        weight=weight,
    )
