"""Windows cut from whole-utterance features, as index arrays. NumPy only.

The rules, after their sources (systems.md 1.3, 3.2, 2.2, 5):

- `slide`: AACNN's released code. A window that starts at sample `k * step` is valid
  while `start + window` is strictly less than the utterance's length, so what lies
  behind the last step is unread.
- `tile`: windows every step until the utterance is covered; the last one is padded (the
  3 s segments with zero padding of the ACRNN paper, with step = window).
- `first_last`: the first and the last window, one padded window if the utterance fits
  (ACRNN's code, whose training windows of the class happy slide instead).
- `first`: the first window; what is longer is cut (MSCNN-SPU).
- `whole`: the utterance as it is, up to `window_s` (AFCN).

Differs from the papers: with `slide`, utterances of `window_s` or less, which have no
such window, are padded by default instead of dropped from training and from the score;
steps are whole frames (0.4 s = 6400 samples, not 6399 by float truncation); windows are
cut from the features of the whole utterance, so only utterance ends see edge padding.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ser_jax.errors import InputError
from ser_jax.features.spec import FeatureSpec

SHORT = ("pad", "drop")
RULES = ("slide", "tile", "first_last", "first", "whole")


@dataclasses.dataclass(frozen=True)
class Segments:
    """S windows, sorted by utterance, then by start.

    Attributes:
      utterance: int32 [S], position of the utterance among those that were cut.
      start_frame: int32 [S], first frame inside the utterance.
      num_frames: int32 [S], real frames; less than a window only in padded utterances.
      padded: int32 [P], utterances that got one window of their own frames because they
        fill no whole one; none with the rule `whole`, which has no fixed window.
    """

    utterance: np.ndarray
    start_frame: np.ndarray
    num_frames: np.ndarray
    padded: np.ndarray

    def take(self, utterances: Sequence[int]) -> "Segments":
        """The windows of some utterances; positions keep their meaning."""
        chosen = np.asarray(utterances, np.int32)
        keep = np.isin(self.utterance, chosen)
        return Segments(
            utterance=self.utterance[keep],
            start_frame=self.start_frame[keep],
            num_frames=self.num_frames[keep],
            padded=self.padded[np.isin(self.padded, chosen)],
        )


def window_frames(spec: FeatureSpec, window_s: float) -> int:
    """Frames of one window: 2 s of `logmel128` are 81.

    Raises:
      InputError: The window is shorter than one sample.
    """
    samples = round(window_s * spec.sample_rate_hz)
    if samples < 1:
        raise InputError(
            f"segment.window_s: expected more than 0 s; got {window_s}. The paper has "
            "2.0."
        )
    return spec.num_frames(samples)


def cut(
    num_samples: np.ndarray,
    spec: FeatureSpec,
    segment,
    *,
    step_s: float,
    dense: Sequence[int] = (),
) -> Segments:
    """Cuts every utterance into windows.

    Args:
      num_samples: int [U], lengths at the recipe's rate.
      spec: The feature recipe.
      segment: `config.segment`; `rule`, `window_s` and `short` are read.
      step_s: Seconds between starts (rules `slide` and `tile`, and dense utterances),
        rounded to whole frames, at least one.
      dense: Utterances that slide although the rule is `first_last`: starts every step
        while a whole window fits.

    Raises:
      InputError: The rule, `short`, the window or the step is none that can be used.
    """
    _check(segment, step_s)
    full = window_frames(spec, segment.window_s)
    window = round(segment.window_s * spec.sample_rate_hz)
    step = max(1, round(step_s * spec.sample_rate_hz / spec.hop_samples))
    dense = set(dense)
    rows, padded = [], []
    for u, samples in enumerate(np.asarray(num_samples).tolist()):
        frames = spec.num_frames(samples)
        if segment.rule == "slide":
            beyond = max(0, samples - window)  # k * step < beyond: so many starts
            count = math.ceil(beyond / (step * spec.hop_samples))
            starts = [k * step for k in range(count)]
        else:
            starts = _starts(segment.rule, frames, full, step, u in dense)
        if not starts and segment.short == "pad":
            starts = [0]
            padded.append(u)
        rows.extend((u, start, min(full, frames - start)) for start in starts)
    table = np.array(rows, np.int32).reshape(-1, 3)
    return Segments(*table.T, padded=np.array(padded, np.int32))


def _starts(rule: str, frames: int, full: int, step: int, dense: bool) -> list[int]:
    """First frames of an utterance's windows; none if it fills no whole window."""
    if rule == "whole":
        return [0]
    if frames < full:
        return []
    if rule == "tile":
        step = min(step, full)  # 3 s are 299 frames, but 300 steps
        return [k * step for k in range(1 + math.ceil((frames - full) / step))]
    if rule == "first_last" and dense:
        return list(range(0, frames - full + 1, step))
    if rule == "first_last" and frames > full:
        return [0, frames - full]
    return [0]


def _check(segment, step_s: float) -> None:
    for key, allowed in (("rule", RULES), ("short", SHORT)):
        if segment[key] not in allowed:
            raise InputError(
                f"segment.{key}: expected one of {', '.join(allowed)}; got "
                f"{segment[key]!r}."
            )
    if step_s <= 0:
        raise InputError(
            "segment.train_step_s, segment.test_step_s: expected more than 0 s; got "
            f"{step_s}. The paper has 1.0 and 0.4."
        )


def bucket_sizes(num_frames: np.ndarray, full: int, buckets: int) -> tuple[int, ...]:
    """Sizes to which windows of different lengths are padded, ascending.

    Args:
      num_frames: int [S], lengths of all windows.
      full: Frames of the longest window that can occur.
      buckets: How many sizes at most; their borders are quantiles of the lengths.

    Returns:
      Multiples of 8 (of `full`, if that is shorter), the last one holds every window.
    """
    shares = np.arange(1, buckets + 1) / buckets
    borders = np.quantile(num_frames, shares, method="higher").astype(int)
    return tuple(sorted({min(full, -(-int(n) // 8) * 8) for n in borders}))
