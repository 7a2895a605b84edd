"""Segments cut from whole-utterance features, as index arrays.

`RULES` says for each rule how many segments an utterance has and where they start. The
formulas take integer arrays of NumPy or JAX: training, `predict` and `explain` cut with
them through `cut`, and exported programs compute them from a traced length.

Differs from the papers: with `slide`, utterances of `window_s` or less, which have no
segment, are padded by default instead of dropped from training and from the score;
steps are whole frames (0.4 s = 6400 samples, not 6399 by float truncation); segments
are cut from the features of the whole utterance, so only utterance ends see edge
padding.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ser_jax.features.spec import FeatureSpec

SHORT = ("pad", "drop")


class Layout(NamedTuple):
    """Sizes of the segments of one recipe and config."""

    frames: int  # of a full segment
    step: int  # frames from one start to the next
    samples: int  # of a full segment
    hop: int  # samples from one frame to the next

    @classmethod
    def of(cls, spec: FeatureSpec, window_s: float, step_s: float) -> "Layout":
        """The step is rounded to whole frames, at least one."""
        rate_hz, hop = spec.sample_rate_hz, spec.hop_samples
        return cls(
            frames=window_frames(spec, window_s),
            step=max(1, round(step_s * rate_hz / hop)),
            samples=round(window_s * rate_hz),
            hop=hop,
        )


class Rule(NamedTuple):
    """Where an utterance is cut. All numbers are integer arrays, NumPy's or JAX's."""

    # (num_samples, num_frames, layout) -> how many segments it fills: with none it is
    # padded or dropped (`segment.short`).
    count: Callable
    # (number, num_frames, layout) -> first frame of segment `number`, counted from 0.
    start: Callable


def _slide_count(num_samples, _, layout: Layout):
    # ceil((num_samples - samples) / step), by floor division of the negated number.
    step_samples = layout.step * layout.hop
    return (-((layout.samples - num_samples) // step_samples)).clip(0)


def _tile_step(layout: Layout) -> int:
    # 3 s are 299 frames but 300 steps: without this a frame would be left out.
    return min(layout.step, layout.frames)


def _tile_count(_, num_frames, layout: Layout):
    rest = layout.frames - num_frames
    return (rest <= 0) * (1 - rest // _tile_step(layout))


def _tile_start(number, num_frames, layout: Layout):
    start, last = number * _tile_step(layout), (num_frames - layout.frames).clip(0)
    return start - (start - last).clip(0)  # the lesser, of NumPy's and JAX's arrays


def _first_last_count(_, num_frames, layout: Layout):
    return 1 * (num_frames >= layout.frames) + (num_frames > layout.frames)


def _by_step(number, _, layout: Layout):
    return number * layout.step


RULES = {
    # AACNN's released code: a segment that starts at sample k * step is valid while
    # start + window is strictly less than the length; what is behind stays unread.
    "slide": Rule(_slide_count, _by_step),
    # Every step until the utterance is covered; the last segment ends with it, so that
    # none but those of short utterances is padded: the ACRNN paper's, which has equal
    # lengths of 3 s and zeros "for the utterances whose duration is less".
    "tile": Rule(_tile_count, _tile_start),
    # As workdirs of before have it: the last one is padded, however little it holds.
    "tile_padded": Rule(
        _tile_count, lambda number, _, layout: number * _tile_step(layout)
    ),
    # ACRNN's code: the first and the last window, if the utterance is longer than one.
    "first_last": Rule(
        _first_last_count,
        lambda number, num_frames, layout: (
            number * (num_frames - layout.frames).clip(0)
        ),
    ),
    # MSCNN-SPU: what is longer than a window is cut off.
    "first": Rule(
        lambda _, num_frames, layout: 1 * (num_frames >= layout.frames), _by_step
    ),
    # AFCN: the utterance as it is, up to `window_s`.
    "whole": Rule(lambda _, num_frames, layout: 1 * (num_frames > 0), _by_step),
}
# ACRNN's code cuts training utterances of the class happy this way, not `first_last`.
_DENSE = Rule(
    lambda _, num_frames, layout: (
        1 + (num_frames - layout.frames) // layout.step
    ).clip(0),
    _by_step,
)


@dataclasses.dataclass(frozen=True)
class Segments:
    """S segments, sorted by utterance, then by start."""

    utterance: np.ndarray  # int32 [S], position among the utterances that were cut
    start_frame: np.ndarray  # int32 [S], first frame inside the utterance
    num_frames: np.ndarray  # int32 [S], real frames; less than a window if padded
    # int32 [P], utterances that got one segment of their own frames because they fill no
    # whole one; none with the rule `whole`, which has no fixed length.
    padded: np.ndarray

    def take(self, utterances: Sequence[int]) -> "Segments":
        """The segments of some utterances; positions keep their meaning."""
        chosen = np.asarray(utterances, np.int32)
        keep = np.isin(self.utterance, chosen)
        columns = (self.utterance, self.start_frame, self.num_frames)
        padded = self.padded[np.isin(self.padded, chosen)]
        return Segments(*(column[keep] for column in columns), padded)


def window_frames(spec: FeatureSpec, window_s: float) -> int:
    """Frames of a full segment, 81 for 2 s of `logmel128`."""
    return spec.num_frames(round(window_s * spec.sample_rate_hz))


def cut(
    num_samples: np.ndarray,
    spec: FeatureSpec,
    segment,
    *,
    step_s: float,
    dense: Sequence[int] = (),
) -> Segments:
    """Cuts every utterance into segments.

    Args:
      num_samples: int [U], lengths at the recipe's rate.
      segment: `config.segment`; `rule`, `window_s` and `short` are read.
      step_s: Seconds between starts, rounded to whole frames, at least one.
      dense: Utterances that slide whatever the rule: starts every step while a whole
        window fits.
    """
    layout = Layout.of(spec, segment.window_s, step_s)
    num_samples = np.asarray(num_samples, np.int64)
    frames = spec.num_frames(num_samples)
    rule, is_dense = RULES[segment.rule], np.isin(np.arange(len(frames)), dense)
    count = np.where(
        is_dense,
        _DENSE.count(num_samples, frames, layout),
        rule.count(num_samples, frames, layout),
    )
    is_padded = (count == 0) & (segment.short == "pad")
    count += is_padded
    utterance = np.repeat(np.arange(len(frames)), count)
    number = np.arange(len(utterance)) - np.repeat(count.cumsum() - count, count)
    frames, is_dense = frames[utterance], is_dense[utterance]
    start = np.where(
        is_dense,
        _DENSE.start(number, frames, layout),
        rule.start(number, frames, layout),
    )
    return Segments(
        utterance=utterance.astype(np.int32),
        start_frame=start.astype(np.int32),
        num_frames=np.minimum(layout.frames, frames - start).astype(np.int32),
        padded=np.flatnonzero(is_padded).astype(np.int32),
    )


def bucket_sizes(num_frames: np.ndarray, full: int, buckets: int) -> tuple[int, ...]:
    """Sizes to which segments of different lengths are padded, ascending.

    At most `buckets` multiples of 8, none above `full`, the longest segment that can
    occur; borders are quantiles of the lengths [S], the last one holds every segment.
    """
    shares = np.arange(1, buckets + 1) / buckets
    borders = np.quantile(num_frames, shares, method="higher").astype(int)
    return tuple(sorted({min(full, -(-int(n) // 8) * 8) for n in borders}))
