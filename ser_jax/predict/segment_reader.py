"""The segments of a recording, cut from its samples while they are read once forwards."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from ser_jax.features import online_segments, segments
from ser_jax.features.online_segments import Cut
from ser_jax.features.recipe import Recipe, StatesSpec, WaveformSpec

# Two sizes of batch, so that few programs are compiled: one short recording fits the
# first, many or long ones fill the second.
_BATCH_SIZES = (4, 32)
_SMALLEST_FRAMES = 64  # `whole` pads to powers of two from here: few programs again


class FrameCut(NamedTuple):
    """The frames of a segment: hidden states, or samples."""

    frames: np.ndarray  # [T, F, C], zeros behind the recording's end
    first_frame: np.ndarray  # int32, of the segment inside its recording


class Segment(NamedTuple):
    """What a model needs of one segment; arrays of a batch have a leading axis."""

    # Its samples (`log_peak` is 0 without `top_db`), or frames that are made of the
    # whole recording.
    cut: Cut | FrameCut
    num_frames: np.ndarray  # real ones; the rest is padding
    side_inputs: dict[str, np.ndarray]  # what the model reads beside the sound


class SegmentReader:
    """Cuts recordings as the tests of a training were cut; short ones are padded."""

    def __init__(self, config, spec: Recipe):
        """Reads `config.segment` and `config.data.channels`; may load an encoder.

        Raises:
          InputError: The encoder's weights cannot be used.
        """
        self._spec, self._frames = spec, None
        if isinstance(spec, StatesSpec):
            from ser_jax.features import hidden_states  # no other recipe needs it

            states = hidden_states.StateReader(spec)
            self._frames = lambda samples: states([samples])[0]
        elif isinstance(spec, WaveformSpec):
            self._frames = spec.frames
        self._channels = config.data.channels
        self._segment = ConfigDict(config.segment.to_dict())
        self._segment.short = "pad"  # every recording gets an answer

    def segments(
        self, blocks: Iterable[np.ndarray], num_samples: int, log_peak: float = 0.0
    ) -> Iterator[tuple[int, Segment]]:
        """Cuts a recording.

        Args:
          blocks: Its samples, float32 [n] at the recipe's rate, read once.
          num_samples: Their number in all.
          log_peak: Its largest log energy, for recipes with `top_db`.

        Yields:
          (T, segment), in order of the start. Samples behind the last are not read.
        """
        rule = self._segment
        lengths = np.array([num_samples])
        cut = segments.cut(lengths, self._spec, rule, step_s=rule.test_step_s)
        size = segments.window_frames(self._spec, rule.window_s)
        if rule.rule == "whole":
            longest = int(cut.num_frames.max())
            size = min(size, max(_SMALLEST_FRAMES, 1 << (longest - 1).bit_length()))
        places = cut.start_frame, cut.num_frames, size
        if self._frames:
            yield from self._read_frames(*places, blocks)
        else:
            yield from self._read(*places, blocks, num_samples, log_peak)

    def tiles(
        self, blocks: Iterable[np.ndarray], num_samples: int, size: int = 512
    ) -> Iterator[tuple[int, Segment]]:
        """Segments of `size` frames, one behind the other, over a whole recording."""
        total = self._spec.num_frames(num_samples)
        start = np.arange(0, total, size)
        num = np.minimum(size, total - start)
        yield from self._read(start, num, size, blocks, num_samples, 0.0)

    def _read(self, starts, nums, size, blocks, num_samples, log_peak):
        need = online_segments.reach(self._spec, self._channels, size)
        hop = self._spec.hop_samples
        # The deltas of the first frames look back, so reading starts earlier.
        places = [(start - need.before) * hop for start in starts.tolist()]
        stretches = _read_stretches(blocks, places, need.rows * hop)
        for start, num, samples in zip(starts, nums, stretches, strict=True):
            # Arrays, not Python numbers: a batch of them is stacked.
            start, num, length = map(np.int32, (start, num, num_samples))
            cut = Cut(samples, start, length, np.float32(log_peak))
            yield size, Segment(cut, num, {})

    def _read_frames(self, starts, nums, size, blocks):
        whole = self._frames(np.concatenate([*blocks]))
        for start, num in zip(starts, nums, strict=True):
            frames = np.zeros((size, *whole.shape[1:]), whole.dtype)
            frames[:num] = whole[start : start + num]
            yield size, Segment(FrameCut(frames, np.int32(start)), np.int32(num), {})


def _read_stretches(
    blocks: Iterable[np.ndarray], starts: list[int], length: int
) -> Iterator[np.ndarray]:
    """Samples start ... start + length - 1 for ascending starts, zeros outside."""
    blocks = iter(blocks)
    # Only the last stretch is kept. What lies before the recording is zeros like these.
    first = min(0, starts[0])
    buffer = np.zeros(-first, np.float32)
    for start in starts:
        parts, end = [buffer], first + len(buffer)
        while end < start + length and (block := next(blocks, None)) is not None:
            parts.append(block)
            end += len(block)
        buffer = np.concatenate(parts) if len(parts) > 1 else buffer
        drop = min(start - first, len(buffer))
        buffer, first = buffer[drop:], first + drop
        stretch = np.zeros(length, np.float32)
        samples = buffer[:length]
        stretch[: len(samples)] = samples
        yield stretch


def group(items: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, list]]:
    """Groups neighbours (T, item) of one T into (T, items), 1 ... 32 of them."""
    for size, neighbours in itertools.groupby(items, key=lambda pair: pair[0]):
        values = (item for _, item in neighbours)
        while batch := list(itertools.islice(values, _BATCH_SIZES[-1])):
            yield size, batch


def stack(batch: list[Segment]) -> Segment:
    """Stacks a batch, filled up with its last segment to one of few sizes."""
    size = next(size for size in _BATCH_SIZES if len(batch) <= size)
    batch = batch + batch[-1:] * (size - len(batch))
    return jax.tree.map(lambda *arrays: np.stack(arrays), *batch)
