"""The table of frames that all windows are cut from, wherever its frames lie."""

import dataclasses
import math

import numpy as np

from ser_jax.datasets.store import Store
from ser_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class FrameBuffer:
    """The table of frames that windows are cut from; it need not be in memory.

    It holds one block per used utterance, the original and its VTLP copies, and ends
    with one window of zeros, so that a window which starts at the last real frame can
    be sliced. Indices mean places in this table, wherever its frames lie.

    Attributes:
      flat: float32 [N, F, C], where the frames come from; may be a mapped file.
      first: int64 [U], first frame of each block in `flat`.
      base: int64 [U + 1], first frame of each block in the table, and their end.
      offset: int64 [1 + V, U], first frame of copy v (0: the original) of utterance u
        in the table.
      window_frames: Frames of the longest window.
    """

    flat: np.ndarray
    first: np.ndarray
    base: np.ndarray
    offset: np.ndarray
    window_frames: int

    @classmethod
    def from_store(cls, store: Store, window_frames: int) -> "FrameBuffer":
        """A table of all utterances of a store and the copies it keeps.

        Raises:
          InputError: The table has more frames than an index can count.
        """
        lengths = store.num_frames
        parts = 1 + store.warp_factors.shape[1]
        base = np.concatenate([[0], np.cumsum(parts * lengths)])
        if base[-1] + window_frames >= 2**31:
            raise InputError(
                f"expected fewer than 2^31 frames, copies included; got {base[-1]}. "
                "Set --config.data.vtlp_copies to a smaller number."
            )
        offset = base[:-1] + np.arange(parts)[:, None] * lengths
        return cls(store.flat, store.first, base, offset, window_frames)

    @property
    def shape(self) -> tuple[int, ...]:
        """[M, F, C] of the table."""
        return (int(self.base[-1]) + self.window_frames, *self.flat.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Of a value."""
        return np.dtype(np.float32)

    @property
    def num_bytes(self) -> int:
        """Bytes of the table."""
        return 4 * math.prod(self.shape)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Frames start ... stop - 1 of the table, a new array."""
        out = np.zeros((stop - start, *self.shape[1:]), np.float32)
        end = min(stop, int(self.base[-1]))
        at = start
        while at < end:
            u = int(np.searchsorted(self.base, at, side="right")) - 1
            num = min(int(self.base[u + 1]), end) - at
            place = int(self.first[u] + at - self.base[u])
            out[at - start : at - start + num] = self.flat[place : place + num]
            at += num
        return out

    def windows(self, start: np.ndarray, window: int) -> np.ndarray:
        """Cuts windows.

        Args:
          start: int [...], their first frames in the table.
          window: T.

        Returns:
          float32 [..., T, F, C], a new array. Frames of the next utterance, which a
          window padded to T does not count, are zeros.
        """
        flat_start = np.ravel(start)
        block = np.searchsorted(self.base, flat_start, side="right") - 1
        place = self.first[block] + flat_start - self.base[block]
        num = np.minimum(self.base[block + 1] - flat_start, window)
        out = np.empty((len(place), window, *self.shape[1:]), np.float32)
        cuts = zip(out, place.tolist(), num.tolist(), strict=True)
        for into, first, length in cuts:
            into[:length] = self.flat[first : first + length]
            into[length:] = 0.0
        return out.reshape(*np.shape(start), window, *self.shape[1:])
