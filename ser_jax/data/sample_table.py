"""Samples beside the frames: what VTLP that is drawn in every training step is made from.

The table holds whole recordings as int16, in rows of one hop, 115 MB per hour at 16 kHz
whatever the recipe. A step cuts the samples under its segments, and a few frames more on
either side for the deltas, and computes their features (`features/online_segments.py`).

Differs from stored copies: samples are rounded to 16 bits (nothing is lost of 16-bit
recordings at the recipe's rate), and `top_db` counts from the unwarped recording's
loudest cell.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from ser_jax.data.frame_table import BlockTable, FrameTable
from ser_jax.datasets import store
from ser_jax.errors import InputError
from ser_jax.features import online_segments
from ser_jax.features.spec import FeatureSpec


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
        """The samples of a corpus without copies.

        Args:
          corpus: The used utterances.
          frames: Their table of frames.
          data: `config.data`; `channels` and `cache_dir` are read.
          window_frames: Frames of the longest segment.

        Raises:
          InputError: The dataset holds no samples, or a file cannot be written.
        """
        spec = corpus.spec
        cache = store.load_samples(corpus.directory, cache_dir=data.cache_dir)
        rows = [-(-entry["num_samples"] // spec.hop_samples) for entry in cache.entries]
        first = np.cumsum([0, *rows], dtype=np.int64)
        places = {entry["id"]: at for at, entry in enumerate(cache.entries)}
        order = [places[utterance.id] for utterance in corpus.utterances]
        reach = online_segments.reach(spec, data.channels, window_frames)
        # The first segment's deltas look at rows before its recording's first.
        base = reach.before + np.cumsum(
            [0, *(rows[at] for at in order)], dtype=np.int64
        )
        if base[-1] >= 2**31 - 2**20:
            raise InputError(
                f"expected fewer than 2^31 hops of samples, got {base[-1]}; set "
                "--config.augment.vtlp=one"
            )
        peaks = [cache.entries[at]["log_peak"] for at in order]
        recordings = Recordings(
            first_frame=frames.base[:-1].astype(np.int32),
            first_row=base[:-1].astype(np.int32),
            num_samples=corpus.num_samples.astype(np.int32),
            log_peak=np.array(peaks, np.float32),
        )
        source, tail = first[order], reach.rows
        return cls(cache.frames, source, base, tail, recordings, spec, data.channels)

    def segments(self, start: np.ndarray, window_frames: int) -> np.ndarray:
        """Cuts the rows under segments of frames.

        Args:
          start: int [...], the segments' first frames in the table of frames.
          window_frames: T.

        Returns:
          int16 [..., rows, 1, hop]. Rows of other recordings may be among them:
          `online_segments.features` counts them as zeros.
        """
        reach = online_segments.reach(self.spec, self.channels, window_frames)
        first_frame = self.recordings.first_frame
        u = np.searchsorted(first_frame, start, side="right") - 1
        first = self.base[u] + start - first_frame[u] - reach.before
        return self.rows(first, reach.rows)
