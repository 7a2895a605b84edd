"""Hidden states of a pretrained encoder as frames: what builders store."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import soxr
from flax import nnx
from jaxtyping import Array, Float, Float16, Int

from ser_jax.encoders import load
from ser_jax.encoders.pooling import means
from ser_jax.features.recipe import FASTEST, PIECE_SAMPLES, SLOWEST, StatesSpec

# Pieces are padded to one of few lengths, so that few programs are compiled: each is a
# fourth longer than the one before, and no more than that is padding.
_SHORTEST, _LONGEST = 8000, round(PIECE_SAMPLES / SLOWEST) + 1
_SIZES = sorted({_LONGEST, *(round(_SHORTEST * 1.25**i) for i in range(19))})
_BATCH_SAMPLES = 16 * 16000  # of a batch, padding included; or one piece
_TRACED = [PIECE_SAMPLES // 8, PIECE_SAMPLES // 4, PIECE_SAMPLES // 2, PIECE_SAMPLES]
_LARGEST = np.finfo(np.float16).max


class _Piece(NamedTuple):
    """What is encoded at once, of one recording."""

    recording: int  # its place
    samples: np.ndarray  # as heard: faster or slower than they were
    length: int  # in samples, as they were


class StateReader:
    """A pretrained encoder, loaded once, that turns recordings into frames."""

    def __init__(self, spec: StatesSpec):
        """Loads the weights; InputError if they cannot be used."""
        self.spec = spec
        graphdef, weights = nnx.split(load.load(spec.encoder.name))
        self._weights = jax.device_put(weights)
        self._encode = jax.jit(
            functools.partial(_encode, graphdef, spec), static_argnames="most"
        )

    def __call__(
        self, recordings: Sequence[np.ndarray], factors: Sequence[float] | None = None
    ) -> list[np.ndarray]:
        """Frames, float16 [T, F, C], of each recording, float32 [n] in [-1, 1], n >= 1.

        T is `spec.num_frames(n)`. Recordings of about one length share a call, and none
        changes another's frames by more than rounding.

        Args:
          recordings: At the recipe's rate.
          factors: Of speed, one per recording, `SLOWEST` to `FASTEST`: pitch, formants and
            tempo times as high (Ko et al., Interspeech 2015). Frames stay as many: each
            is the mean of the states that heard the same words. None = 1.
        """
        factors = [1.0] * len(recordings) if factors is None else factors
        pieces = [
            _Piece(number, _at_speed(piece, factor), len(piece))
            for number, (samples, factor) in enumerate(
                zip(recordings, factors, strict=True)
            )
            for piece in _cut(samples)
        ]
        found: list = [None] * len(pieces)
        for batch in _batches([len(piece.samples) for piece in pieces]):
            for i, frames in zip(
                batch, self._run([pieces[i] for i in batch]), strict=True
            ):
                found[i] = frames
        frames = [[] for _ in recordings]
        for piece, part in zip(pieces, found, strict=True):
            frames[piece.recording].append(part)
        return [np.concatenate(parts) for parts in frames]

    def _run(self, pieces: list[_Piece]) -> list[np.ndarray]:
        """Frames of pieces that fill no more than one batch."""
        size = _size(max(len(piece.samples) for piece in pieces))
        rows = max(1, _BATCH_SAMPLES // size)
        samples = np.zeros((rows, size), np.float32)
        heard, lengths = np.ones((2, rows), np.int32)
        for row, piece in enumerate(pieces):
            samples[row, : len(piece.samples)] = piece.samples
            heard[row], lengths[row] = len(piece.samples), piece.length
        # As many frames as any piece of this size can have, for one program.
        most = self.spec.piece_frames(min(PIECE_SAMPLES, round(FASTEST * size)))
        frames = np.asarray(
            self._encode(self._weights, samples, heard, lengths, most=most)
        )
        nums = [self.spec.piece_frames(piece.length) for piece in pieces]
        return [frames[row, :num] for row, num in enumerate(nums)]


def _cut(samples: np.ndarray) -> list[np.ndarray]:
    starts = range(0, len(samples), PIECE_SAMPLES)
    return [samples[start : start + PIECE_SAMPLES] for start in starts]


def _at_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    if factor == 1.0:
        return samples
    # At least one sample, whatever rounding says.
    heard = soxr.resample(samples, factor * 16000.0, 16000.0)
    return heard if len(heard) else samples[:1]


def _size(length: int) -> int:
    return next(size for size in _SIZES if length <= size)


def _batches(lengths: list[int]) -> Iterator[list[int]]:
    """Places of pieces, those of one size together, as many as a batch takes."""
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    for size, group in itertools.groupby(by_length, key=lambda i: _size(lengths[i])):
        while batch := list(itertools.islice(group, max(1, _BATCH_SAMPLES // size))):
            yield batch


def _encode(graphdef, spec: StatesSpec, weights, samples, heard, lengths, most: int):
    return _frames(nnx.merge(graphdef, weights), spec, samples, heard, lengths, most)


def _frames(
    encoder: nnx.Module,
    spec: StatesSpec,
    samples: Float[Array, "B N"],
    heard: Int[Array, " B"],
    lengths: Int[Array, " B"],
    most: int,
) -> Float16[Array, "B T F C"]:
    """`most` frames of pieces of `lengths`, of which `heard` samples are at some speed."""
    states, steps = encoder(samples, heard, spec.layers)
    frames = means(
        states, steps, spec.encoder.num_steps(lengths), spec.pool_steps, most
    )
    # Large encoders have a few dimensions in the thousands; none becomes infinite.
    return jnp.clip(frames, -_LARGEST, _LARGEST).astype(jnp.float16)


def traced(
    encoder: nnx.Module,
    spec: StatesSpec,
    samples: Float[Array, " N"],
    length: Int[Array, ""],
) -> Float16[Array, "T F C"]:
    """Frames of one recording inside a compiled program; N may be symbolic.

    Pieces go one by one through programs of a few sizes, so a short one does not pay for
    the longest. Frames behind the recording's last are 0.
    """
    num = -(-samples.shape[0] // PIECE_SAMPLES)
    samples = jnp.pad(samples, (0, num * PIECE_SAMPLES - samples.shape[0]))
    most = spec.piece_frames(PIECE_SAMPLES)

    def encode(size: int):
        def branch(piece, left):
            row = jnp.minimum(left, size)[None]
            frames = _frames(encoder, spec, piece[None, :size], row, row, most)
            return frames[0]

        return branch

    def piece(number):
        start = number * PIECE_SAMPLES
        part = jax.lax.dynamic_slice_in_dim(samples, start, PIECE_SAMPLES)
        left = length - start
        shape = (most, spec.num_bands, spec.num_channels)
        branches = [lambda *_: jnp.zeros(shape, jnp.float16), *map(encode, _TRACED)]
        which = sum((left > size).astype(int) for size in (0, *_TRACED[:-1]))
        return jax.lax.switch(which, branches, part, left)

    frames = jax.lax.map(piece, jnp.arange(num))
    return frames.reshape(-1, *frames.shape[2:])
