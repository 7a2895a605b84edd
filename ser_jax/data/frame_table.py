"""The tables that segments are cut from, wherever their rows lie."""

import dataclasses
import math

import numpy as np

from ser_jax.datasets.store import Store
from ser_jax.errors import InputError


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
        starts = np.ravel(start)
        if starts.size and not 0 <= starts.min() <= starts.max() < self.shape[0]:
            raise IndexError(
                f"expected rows below {self.shape[0]}; got {starts.min()} to "
                f"{starts.max()}"
            )
        out = np.zeros((len(starts), num, *self.flat.shape[1:]), self.flat.dtype)
        for into, first in zip(out, starts.tolist(), strict=True):
            self._copy(into, first)
        return out.reshape(*np.shape(start), *out.shape[1:])

    def _copy(self, into: np.ndarray, start: int) -> None:
        end = min(start + len(into), int(self.base[-1]))
        at = max(start, int(self.base[0]))
        u = int(np.searchsorted(self.base, at, side="right")) - 1
        while at < end:
            num = min(int(self.base[u + 1]), end) - at
            place = int(self.source[u] + at - self.base[u])
            into[at - start : at - start + num] = self.flat[place : place + num]
            at, u = at + num, u + 1


@dataclasses.dataclass(frozen=True)
class FrameTable(BlockTable):
    """Frames [M, F, C]; a block is an original and its VTLP copies."""

    # int64 [1 + V, U], first frame of copy v (0: the original) of each utterance.
    offset: np.ndarray

    @classmethod
    def from_store(cls, store: Store, window_frames: int) -> "FrameTable":
        """A table of all utterances of a store and the copies it keeps.

        Args:
          store: The used utterances.
          window_frames: Frames of the longest segment.

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
        return cls(store.flat, store.first, base, window_frames, offset)

    def segments(self, start: np.ndarray, window_frames: int) -> np.ndarray:
        """Cuts segments [..., T, F, C] that start at frames `start` [...].

        Behind its recording's end a segment holds the frames that follow in the table.
        """
        return self.rows(start, window_frames)
