"""Windows cut from whole-utterance features, as index arrays. NumPy only.

Source: the rule of AACNN's released code (2 s windows; step 1 s in training, 0.4 s in
test). A window that starts at sample `k * step` is valid while `start + window` is
strictly less than the utterance's length, so what lies behind the last step is unread.

Differs from the paper: utterances of `window_s` or less, which have no such window, are
padded by default instead of dropped from training and from the score; steps are whole
frames (0.4 s = 6400 samples, not 6399 by float truncation); windows are cut from the
features of the whole utterance, so only utterance ends see the edge padding.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ser_jax.errors import InputError
from ser_jax.features.spec import LogMelSpec

SHORT = ("pad", "drop")


@dataclasses.dataclass(frozen=True)
class Segments:
    """S windows, sorted by utterance, then by start.

    Attributes:
      utterance: int32 [S], position of the utterance among those that were cut.
      start_frame: int32 [S], first frame inside the utterance.
      num_frames: int32 [S], real frames; less than a window only in padded utterances.
      padded: int32 [P], utterances of `window_s` or less that got one window of their
        own frames.
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


def window_frames(spec: LogMelSpec, window_s: float) -> int:
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
    num_samples: np.ndarray, spec: LogMelSpec, segment, *, step_s: float
) -> Segments:
    """Cuts every utterance into windows.

    Args:
      num_samples: int [U], lengths at the recipe's rate.
      spec: The feature recipe.
      segment: `config.segment`; `window_s` and `short` are read.
      step_s: Seconds between starts, rounded to whole frames, at least one.

    Raises:
      InputError: `short`, the window or the step is none that can be used.
    """
    if segment.short not in SHORT:
        raise InputError(
            f"segment.short: expected one of {', '.join(SHORT)}; got {segment.short!r}."
        )
    if step_s <= 0:
        raise InputError(
            "segment.train_step_s, segment.test_step_s: expected more than 0 s; got "
            f"{step_s}. The paper has 1.0 and 0.4."
        )
    full = window_frames(spec, segment.window_s)
    window = round(segment.window_s * spec.sample_rate_hz)
    step_frames = max(1, round(step_s * spec.sample_rate_hz / spec.hop_samples))
    lengths = np.asarray(num_samples, np.int64)
    # k * step < length - window holds for ceil((length - window) / step) starts.
    step = step_frames * spec.hop_samples
    counts = np.maximum(0, -(-(lengths - window) // step))
    short = np.flatnonzero(counts == 0)
    if segment.short == "pad":
        counts[short] = 1
    else:
        short = short[:0]
    utterance = np.repeat(np.arange(len(lengths)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    num_frames = np.full(len(utterance), full, np.int32)
    own = [min(full, spec.num_frames(int(n))) for n in lengths[short]]
    num_frames[np.isin(utterance, short)] = own
    return Segments(
        utterance=utterance.astype(np.int32),
        start_frame=((np.arange(len(utterance)) - first) * step_frames).astype(
            np.int32
        ),
        num_frames=num_frames,
        padded=short.astype(np.int32),
    )
