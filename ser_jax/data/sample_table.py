"""Samples beside the frames: what VTLP that is drawn in every training step is made from.

The table holds whole recordings as int16, in rows of one hop, 115 MB per hour at 16 kHz
whatever the recipe. A step cuts the samples under its windows, and a few frames more on
either side for the deltas, and computes their features there (`features/online_segments.py`).

Differs from stored copies: samples are rounded to 16 bits (nothing is lost of 16-bit
recordings at the recipe's rate), and `top_db` counts from the unwarped recording's
loudest cell.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.data.batches import Index, Tables
from ser_jax.data.frame_table import FrameBuffer
from ser_jax.datasets import store
from ser_jax.errors import InputError
from ser_jax.features import online_segments
from ser_jax.features.spec import FeatureSpec


class Recordings(NamedTuple):
    """Where each recording lies; NumPy or JAX arrays [U].

    Attributes:
      first_frame: int32, of its block in the table of frames.
      first_row: int32, of its block in the table of samples.
      num_samples: int32.
      log_peak: float32, see `features.vtlp.recording_features`.
    """

    first_frame: np.ndarray
    first_row: np.ndarray
    num_samples: np.ndarray
    log_peak: np.ndarray


@dataclasses.dataclass(frozen=True)
class SampleBuffer:
    """The table of samples, addressed by places in the table of frames.

    It has what `training.feeder` asks of a `FrameBuffer`. Rows of the recording before
    or behind may lie in a window: `online_segments.features` counts them
    as zeros.

    Attributes:
      flat: int16 [N, 1, hop], where rows come from; may be a mapped file.
      source: int64 [U], first row of each recording in `flat`.
      base: int64 [U + 1], first row of each recording in the table, and their end.
      frame_base: int64 [U + 1], first frame of each recording in the table of frames.
      num_samples: int64 [U].
      log_peak: float32 [U].
      spec: The recipe.
      channels: C that the model sees.
      window_frames: Frames of the longest window.
    """

    flat: np.ndarray
    source: np.ndarray
    base: np.ndarray
    frame_base: np.ndarray
    num_samples: np.ndarray
    log_peak: np.ndarray
    spec: FeatureSpec
    channels: int
    window_frames: int

    @classmethod
    def open(cls, corpus: store.Store, frames: FrameBuffer, data) -> "SampleBuffer":
        """The samples of a corpus without copies.

        Args:
          corpus: The used utterances.
          frames: Their table of frames.
          data: `config.data`; `channels` and `cache_dir` are read.

        Raises:
          InputError: The dataset holds no samples, or a file cannot be written.
        """
        spec = corpus.spec
        found = store.load_samples(corpus.directory, cache_dir=data.cache_dir)
        rows = [-(-entry["num_samples"] // spec.hop_samples) for entry in found.entries]
        first = np.cumsum([0, *rows], dtype=np.int64)
        places = {entry["id"]: at for at, entry in enumerate(found.entries)}
        order = [places[utterance.id] for utterance in corpus.utterances]
        before = online_segments.reach(spec, data.channels, 1).before
        base = before + np.cumsum([0, *(rows[at] for at in order)], dtype=np.int64)
        if base[-1] >= 2**31 - 2**20:
            raise InputError(
                f"expected fewer than 2^31 hops of samples, got {base[-1]}; set "
                "--config.augment.vtlp=one"
            )
        return cls(
            flat=found.frames,
            source=first[order],
            base=base,
            frame_base=frames.base,
            num_samples=corpus.num_samples,
            log_peak=np.array(
                [found.entries[at]["log_peak"] for at in order], np.float32
            ),
            spec=spec,
            channels=data.channels,
            window_frames=frames.window_frames,
        )

    @property
    def dtype(self) -> np.dtype:
        """Of a sample."""
        return np.dtype(np.int16)

    @property
    def shape(self) -> tuple[int, ...]:
        """[M, 1, hop] of the table, with zeros before the first and behind the last."""
        behind = online_segments.reach(
            self.spec, self.channels, self.window_frames
        ).rows
        return (int(self.base[-1]) + behind, *self.flat.shape[1:])

    @property
    def num_bytes(self) -> int:
        """Bytes of the table."""
        return self.dtype.itemsize * math.prod(self.shape)

    @property
    def recordings(self) -> Recordings:
        """Where each recording lies, for the device."""
        return Recordings(
            first_frame=self.frame_base[:-1].astype(np.int32),
            first_row=self.base[:-1].astype(np.int32),
            num_samples=self.num_samples.astype(np.int32),
            log_peak=self.log_peak,
        )

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows start ... stop - 1 of the table, a new array."""
        out = np.zeros((stop - start, *self.shape[1:]), self.dtype)
        end = min(stop, int(self.base[-1]))
        at = max(start, int(self.base[0]))
        while at < end:
            u = int(np.searchsorted(self.base, at, side="right")) - 1
            num = min(int(self.base[u + 1]), end) - at
            place = int(self.source[u] + at - self.base[u])
            out[at - start : at - start + num] = self.flat[place : place + num]
            at += num
        return out

    def windows(self, start: np.ndarray, window: int) -> np.ndarray:
        """Cuts the rows that windows of frames need.

        Args:
          start: int [...], first frames in the table of frames.
          window: Frames of a window.

        Returns:
          int16 [..., rows, 1, hop], a new array.
        """
        need = online_segments.reach(self.spec, self.channels, window)
        frame = np.ravel(start)
        u = np.searchsorted(self.frame_base, frame, side="right") - 1
        first = self.base[u] + frame - self.frame_base[u] - need.before
        cut = [self.rows(int(at), int(at) + need.rows) for at in first]
        return np.stack(cut).reshape(*np.shape(start), need.rows, *self.shape[1:])


def cut(
    tables: Tables,
    index: Index,
    window: int,
    spec: FeatureSpec,
    channels: int,
    *,
    own: bool,
) -> online_segments.Cut:
    """Gathers the samples under windows.

    Args:
      tables: `samples` and `recordings` are read.
      index: Windows [B], as places in the table of frames of the whole corpus.
      window: T.
      spec: The recipe.
      channels: C that the model sees.
      own: Whether `samples` holds the rows of these windows alone, one window after
        the other.
    """
    at = jax.tree.map(lambda x: x[index.utterance], tables.recordings)
    first_frame = index.start - at.first_frame
    need = online_segments.reach(spec, channels, window)
    if own:
        first = jnp.arange(len(first_frame)) * need.rows
    else:
        first = at.first_row + first_frame - need.before

    def one(start):
        return jax.lax.dynamic_slice_in_dim(tables.samples, start, need.rows, axis=0)

    return online_segments.Cut(
        jax.vmap(one)(first), first_frame, at.num_samples, at.log_peak
    )
