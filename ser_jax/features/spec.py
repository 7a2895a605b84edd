"""What a log-mel recipe is, as plain numbers. Imports nothing heavy."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class LogMelSpec:
    """A log-mel recipe: framing, power spectrum, mel triangles, logarithm.

    Attributes:
      name: Key in `RECIPES`, first part of a built dataset's config name.
      sample_rate_hz: Rate the recording is brought to first.
      n_fft: FFT length, samples.
      win_samples: Window length, samples.
      hop_samples: Step between frames, samples.
      n_mels: Mel bands between 0 Hz and half the sample rate.
      window: SciPy window name (periodic form, as librosa uses it).
      centered: True: librosa's default framing, zeros on both sides, frame t is
        centred at sample `t * hop_samples`. False: frame t starts at sample
        `t * hop_samples`, zeros are appended to fill the last frame, and the power
        is divided by `n_fft`, as speech toolkits do.
      mel_scale: `slaney` (area-normalised triangles, librosa's default) or `htk`
        (2595 log10(1 + f / 700), triangles of height 1).
      log: `log10` or `ln`.
      floor: Smallest power before the logarithm, so that silence stays finite.
      preemphasis: Coefficient a of y[n] = x[n] - a x[n-1], y[0] = x[0]; 0 = none.
    """

    name: str
    sample_rate_hz: int
    n_fft: int
    win_samples: int
    hop_samples: int
    n_mels: int
    window: str
    centered: bool
    mel_scale: str
    log: str
    floor: float
    preemphasis: float

    def num_frames(self, num_samples: int) -> int:
        """Frames of a recording.

        Args:
          num_samples: Length at `sample_rate_hz`, at least 1.

        Returns:
          `1 + n // hop` if centred; else 1 for one window or less and
          `1 + ceil((n - win) / hop)` beyond.
        """
        if self.centered:
            return 1 + num_samples // self.hop_samples
        beyond = max(0, num_samples - self.win_samples)
        return 1 + math.ceil(beyond / self.hop_samples)


_LOGMEL128 = LogMelSpec(
    name="logmel128",
    sample_rate_hz=16000,
    n_fft=800,
    win_samples=800,
    hop_samples=400,
    n_mels=128,
    window="hann",
    centered=True,
    mel_scale="slaney",
    log="log10",
    floor=1e-10,
    preemphasis=0.0,
)

# `logmel128` is AACNN's input (Xu et al., ICASSP 2021, released code: 50/25 ms).
# Differs from that code: a floor, so that silence gives -10 and not -inf; features
# are computed on the whole utterance and then cut into segments.
#
# `logmel40_3d` is the input of the 3-D ACRNN family (Chen et al., 2018): 25/10 ms.
# Differs from python_speech_features, which those systems ran: triangle edges are
# exact frequencies (it rounds them down to FFT bins), the window is Hamming as in
# the paper (its default is rectangular), and samples are in [-1, 1] (it took int16,
# which shifts every value by 2 ln 32768 = 20.794).
RECIPES: dict[str, LogMelSpec] = {
    "logmel128": _LOGMEL128,
    "logmel64": dataclasses.replace(_LOGMEL128, name="logmel64", n_mels=64),
    "logmel40_3d": LogMelSpec(
        name="logmel40_3d",
        sample_rate_hz=16000,
        n_fft=512,
        win_samples=400,
        hop_samples=160,
        n_mels=40,
        window="hamming",
        centered=False,
        mel_scale="htk",
        log="ln",
        floor=2.0**-52,
        preemphasis=0.97,
    ),
}
