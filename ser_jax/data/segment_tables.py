"""The tables that segments are cut from, wherever their rows lie.

`FrameTable` holds features. `SampleTable` holds whole recordings, for VTLP that is drawn
in every training step: int16 in rows of one hop, 115 MB per hour at 16 kHz. A step cuts
the samples under its segments, and a few frames more on either side for the deltas, and
computes their features (`features/online_segments.py`). Differs from stored copies:
samples are rounded to 16 bits (nothing is lost of 16-bit recordings at the recipe's
rate), and `top_db` counts from the unwarped recording's loudest cell.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from ser_jax.datasets import store
from ser_jax.errors import InputError
from ser_jax.features import online_segments
from ser_jax.features.spec import FeatureSpec


@dataclasses.dataclass(frozen=True)
class BlockTable:
    """A table [M, ...] with one block of rows per utterance; it need not be in memory.

    Indices mean places in this table, whether a device holds it or only the file.
    """

    flat: np.ndarray  # [N, ...], where the rows come from; may be a mapped file
    source: np.ndarray  # int64 [U], first row of each block in `flat`
    # int64 [U + 1], first row of each block in the table, and the end of the last.
    # Rows before and behind the blocks are zeros.
    base: np.ndarray
    # Zeros behind the last block: XLA's slices must not reach over a table's end, it
    # would move them.
    tail: int

    @property
    def shape(self) -> tuple[int, ...]:
        """[M, ...] of the table."""
        return (int(self.base[-1]) + self.tail, *self.flat.shape[1:])

    @property
    def num_bytes(self) -> int:
        """Bytes of the table."""
        return self.flat.dtype.itemsize * math.prod(self.shape)

    def rows(self, start, num: int) -> np.ndarray:
        """Copies rows start ... start + num - 1 for every start [...]: [..., num, ...].

        Raises:
          IndexError: A start lies outside the table.
        """
        start = np.asarray(start)
        if start.size and not 0 <= start.min() <= start.max() < self.shape[0]:
            got = f"{start.min()} to {start.max()}"
            raise IndexError(f"expected rows below {self.shape[0]}; got {got}")
        at = start[..., None] + np.arange(num)
        is_zero = (at < self.base[0]) | (at >= self.base[-1])
        block = np.searchsorted(self.base, at, side="right") - 1
        block = block.clip(0, len(self.source) - 1)
        place = np.where(is_zero, 0, self.source[block] + at - self.base[block])
        # Unlike indexing, `take` copies whole rows at once.
        out = np.take(self.flat, place, axis=0)
        out[is_zero] = 0
        return out


@dataclasses.dataclass(frozen=True)
class FrameTable(BlockTable):
    """Frames [M, F, C]; a block is an original and its VTLP copies."""

    # int64 [1 + V, U], first frame of copy v (0: the original) of each utterance.
    offset: np.ndarray

    @classmethod
    def from_store(cls, corpus: store.Store, window_frames: int) -> "FrameTable":
        """A table of all utterances of a store and the copies it keeps.

        Segments have at most `window_frames` frames.

        Raises:
          InputError: The table has more frames than an index can count.
        """
        lengths = corpus.num_frames
        parts = 1 + corpus.warp_factors.shape[1]
        base = np.concatenate([[0], np.cumsum(parts * lengths)])
        if base[-1] + window_frames >= 2**31:
            raise InputError(
                f"expected fewer than 2^31 frames, copies included; got {base[-1]}. "
                "Set --config.data.vtlp_copies to a smaller number."
            )
        offset = base[:-1] + np.arange(parts)[:, None] * lengths
        return cls(corpus.flat, corpus.first, base, window_frames, offset)

    def segments(self, start: np.ndarray, window_frames: int) -> np.ndarray:
        """Cuts segments [..., T, F, C] that start at frames `start` [...].

        Behind its recording's end a segment holds the frames that follow in the table.
        """
        return self.rows(start, window_frames)


class Recordings(NamedTuple):
    """Where each recording lies; NumPy or JAX arrays [U]."""

    first_frame: np.ndarray  # int32, of its block in the table of frames
    first_row: np.ndarray  # int32, of its block in the table of samples
    num_samples: np.ndarray  # int32
    log_peak: np.ndarray  # float32, see `features.vtlp.recording_features`


@dataclasses.dataclass(frozen=True)
class SampleTable(BlockTable):
    """Samples, int16 [M, 1, hop]; a block is a recording."""

    recordings: Recordings
    spec: FeatureSpec
    channels: int  # C that the model sees

    @classmethod
    def open(
        cls, corpus: store.Store, frames: FrameTable, data, window_frames: int
    ) -> "SampleTable":
        """The samples of a corpus without copies, beside its table of `frames`.

        Segments have at most `window_frames` frames. Of `config.data`, `channels` and
        `cache_dir` are read.

        Raises:
          InputError: The dataset holds no samples, or a file cannot be written.
        """
        spec = corpus.spec
        flat, entries = store.load_samples(corpus.directory, data.cache_dir)
        rows = np.array([-(-x["num_samples"] // spec.hop_samples) for x in entries])
        peaks = np.array([x["log_peak"] for x in entries], np.float32)
        places = {entry["id"]: at for at, entry in enumerate(entries)}
        order = [places[utterance.id] for utterance in corpus.utterances]
        source = (np.cumsum(rows) - rows)[order]
        reach = online_segments.reach(spec, data.channels, window_frames)
        # The first segment's deltas look at rows before its recording's first.
        base = reach.before + np.cumsum([0, *rows[order]])
        if base[-1] >= 2**31 - 2**20:
            raise InputError(
                f"expected fewer than 2^31 hops of samples, got {base[-1]}; set "
                "--config.augment.vtlp=one"
            )
        recordings = Recordings(
            first_frame=frames.base[:-1].astype(np.int32),
            first_row=base[:-1].astype(np.int32),
            num_samples=corpus.num_samples.astype(np.int32),
            log_peak=peaks[order],
        )
        return cls(flat, source, base, reach.rows, recordings, spec, data.channels)

    def segments(self, start: np.ndarray, window_frames: int) -> np.ndarray:
        """Cuts the rows [..., rows, 1, hop] under segments of frames.

        They start at `start` [...] in the table of frames. Rows of other recordings may
        be among them: `online_segments.features` counts them as zeros.
        """
        reach = online_segments.reach(self.spec, self.channels, window_frames)
        first_frame = self.recordings.first_frame
        u = np.searchsorted(first_frame, start, side="right") - 1
        first = self.base[u] + start - first_frame[u] - reach.before
        return self.rows(first, reach.rows)
