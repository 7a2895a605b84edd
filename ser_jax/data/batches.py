"""From folds to index arrays: which segments each run reads, in which order.

All frames of a corpus form one table; a training example is a place in it. Where the
table fits the device, the host only sends these integers (`training/feeder.py`). Every
order and draw is a function of (seed, fold, epoch): a resumed run repeats it exactly.

Segments of different lengths are never in one batch: each belongs to the smallest of a
few sizes ("buckets") that holds it, and a batch is padded to its bucket's size.
"""

import dataclasses
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ser_jax.data.protocols import Fold
from ser_jax.data.segment_tables import FrameTable
from ser_jax.errors import InputError
from ser_jax.features.segments import Segments

SAMPLING = ("all", "balanced", "corpus", "corpus_class")


class Index(NamedTuple):
    """Which segments make a batch; arrays [..., B], by default of places in `Tables`."""

    utterance: np.ndarray  # int32, row of the utterance in the tables of side inputs
    start: np.ndarray  # int32, first frame in the table of frames
    num_frames: np.ndarray  # int32, real frames of the segment; the rest is padding
    label: np.ndarray  # int32, class of the utterance
    weight: np.ndarray  # float32, 1 for an example, 0 for a slot that fills the batch
    # Where the host cuts the segments, one of these holds them: [..., B, T, F, C] and
    # [..., B, rows, 1, hop]. Else the device cuts them from its tables.
    frames: Any = None
    samples: Any = None


class Tables(NamedTuple):
    """What the device gathers batches from; NumPy or JAX arrays, None = not read."""

    frames: Any = None  # float32 [M, F, C], see `FrameTable`
    word_vectors: Any = None  # float32 [V, E], row 0 is padding
    tokens: Any = None  # int32 [U, L], rows of `word_vectors`
    speaker_embeddings: Any = None  # float32 [U, X]
    samples: Any = None  # int16 [M, 1, hop], see `SampleTable`
    recordings: Any = None  # where each utterance lies in `samples`: `Recordings`
    # Whose own mean and std scale an utterance (`data.normalize=corpus|speaker`).
    owner: Any = None  # int32 [U], row of the next two
    owner_mean: Any = None  # float32 [G, F, C]
    owner_std: Any = None  # float32 [G, F, C]

    def side_inputs(self, utterance) -> dict[str, Any]:
        """What a model reads of utterances [B] beside frames; also inside jit."""
        inputs = {}
        if self.tokens is not None:
            tokens = self.tokens[utterance]
            inputs = {"words": self.word_vectors[tokens], "word_mask": tokens > 0}
        if self.speaker_embeddings is not None:
            inputs["speaker_embedding"] = self.speaker_embeddings[utterance]
        return inputs


@dataclasses.dataclass(frozen=True)
class Run:
    """A fold x seed, and the segments that it trains, validates and tests on."""

    fold: Fold
    train: Segments  # at the training step
    select: Segments  # of the part that chooses the epoch; empty if none does
    test: Segments  # at the test step
    # int per training segment, the stratum it is of; None = all train once an epoch
    strata: np.ndarray | None = None
    point: Any = None  # of a sweep, `training.sweep.Point`; None = the config as it is

    @property
    def key(self) -> int:
        """A number that names the fold, whatever its place among the folds."""
        return zlib.crc32(self.fold.name.encode())


def training_order(
    run: Run,
    table: FrameTable,
    labels: np.ndarray,
    config,
    *,
    epoch: int,
    sizes: Sequence[int],
) -> list[Index]:
    """The batches of one epoch of one run: per bucket, arrays [S, B].

    The last batch of a bucket is filled with segments of the same bucket at weight 0, so
    that batch normalisation only ever sees speech. `augment.vtlp`: `all` reads every copy
    of every segment, `one` draws one of original and copies per segment, `none` and
    `online` read the originals.

    Args:
      run: Whose training segments are read.
      table: Where frames lie.
      labels: int [U], class per utterance.
      config: `augment` and `train` are read.
      epoch: Counts from 0.
      sizes: Frames of the buckets, ascending; the last holds every segment.
    """
    rng = np.random.default_rng([run.fold.seed, run.key, epoch])
    segment = np.arange(len(run.train.utterance))
    if run.strata is not None:
        segment = _sample(run.strata, config.train.per_class, rng)
    num, copies = len(segment), len(table.offset)
    copy = np.zeros(num, int)
    if config.augment.vtlp == "all":
        segment, copy = np.tile(segment, copies), np.repeat(np.arange(copies), num)
    elif config.augment.vtlp == "one":
        copy = rng.integers(copies, size=num)
    order = rng.permutation(len(segment))
    index = _index(run.train, table, labels, segment[order], copy[order])
    return _batches(index, sizes, config.train.batch_size)


def strata_of(
    sampling: str, labels: np.ndarray, corpora: Sequence[str]
) -> np.ndarray | None:
    """Which of the strata that train equally often an utterance is of, int [U].

    Classes if `sampling` is `balanced`, corpora, or the classes of each corpus; None if
    it is `all`. `labels` and `corpora` are those of the U utterances.

    Raises:
      InputError: Corpora are to train equally often, and there is one.
    """
    if sampling == "all":
        return None
    if sampling == "balanced":
        return labels
    names, corpus = np.unique(np.asarray(corpora), return_inverse=True)
    if len(names) < 2:
        raise InputError(
            f"train.sampling={sampling}: expected two or more corpora; got one. Set "
            "--config.train.sampling=all or balanced."
        )
    return corpus if sampling == "corpus" else corpus * (labels.max() + 1) + labels


def _sample(strata: np.ndarray, per_stratum: int, rng: np.random.Generator):
    """Numbers of the segments that take part in an epoch, as many of every stratum.

    0 = the mean. A segment is drawn as often as any other of its stratum (give or take
    one); the ACRNN's code draws 300 per class, once.
    """
    present = np.unique(strata)
    count = per_stratum or round(len(strata) / len(present))
    drawn = []
    for stratum in present:
        members = np.flatnonzero(strata == stratum)
        repeats = -(-count // len(members))
        shuffled = [rng.permutation(members) for _ in range(repeats)]
        drawn.append(np.concatenate(shuffled)[:count])
    return np.concatenate(drawn)


def evaluation_order(
    segments: Segments,
    table: FrameTable,
    labels: np.ndarray,
    *,
    batch_size: int,
    sizes: Sequence[int],
) -> list[Index]:
    """All segments in order: per bucket, arrays [S, B] filled up at weight 0."""
    everything = np.arange(len(segments.utterance))
    index = _index(segments, table, labels, everything, np.zeros_like(everything))
    return _batches(index, sizes, batch_size)


def _index(
    segments: Segments,
    table: FrameTable,
    labels: np.ndarray,
    segment: np.ndarray,
    copy: np.ndarray,
) -> Index:
    """The segments with these numbers, of these copies; arrays [N]."""
    utterance = segments.utterance[segment]
    start = table.offset[copy, utterance] + segments.start_frame[segment]
    return Index(
        utterance=utterance.astype(np.int32),
        start=start.astype(np.int32),
        num_frames=segments.num_frames[segment].astype(np.int32),
        label=labels[utterance].astype(np.int32),
        weight=np.ones(len(segment), np.float32),
    )


def _batches(index: Index, sizes: Sequence[int], batch_size: int) -> list[Index]:
    """Deals segments [N] to the buckets: batches [S, B] of each."""
    parts = []
    bucket = np.searchsorted(sizes, index.num_frames)
    for number in range(len(sizes)):
        members = np.flatnonzero(bucket == number)
        slots = np.resize(members, -(-len(members) // batch_size) * batch_size)
        filled = jax.tree.map(lambda x, slots=slots: x[slots], index)
        filled.weight[len(members) :] = 0.0
        parts.append(jax.tree.map(lambda x: x.reshape(-1, batch_size), filled))
    return parts
