"""Feature recipes as plain numbers. Imports NumPy alone."""

import dataclasses

import numpy as np

VTLP_MODES = ("textbook", "nlpaug")  # see `vtlp.log_energies`


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
    """A recipe: framing, power spectrum, filterbank, logarithm, perhaps a DCT."""

    name: str  # key in `RECIPES`, first part of a built dataset's config name
    kind: str  # `logmel` (mel bands), `mfcc` (their DCT) or `spectrogram` (FFT bins)
    n_fft: int  # FFT length, samples
    win_samples: int
    hop_samples: int  # between frames
    # Mel bands between 0 Hz and half the sample rate, or the lowest FFT bins.
    num_filters: int
    num_coefficients: int = 0  # `mfcc`: lowest ones kept of the orthonormal DCT-II
    sample_rate_hz: int = 16000  # to which a recording is resampled first
    sample_scale: float = 1.0  # on samples in [-1, 1]; 32768 = as 16-bit numbers
    window: str = "hann"  # of SciPy, in the periodic form, as librosa uses it
    # True: librosa's default framing, zeros on both sides, frame t is centred at sample
    # t * hop. False: frame t starts there, zeros are appended to fill the last frame,
    # and the power is divided by `n_fft`, as speech toolkits do.
    centered: bool = True
    # `slaney` (area-normalised triangles, librosa's default), `htk` (2595 log10(1 +
    # f / 700), triangles of height 1), `psf` (as `htk`, edges rounded down to FFT bins
    # as python_speech_features does) or `none`.
    mel_scale: str = "slaney"
    log: str = "log10"  # or `ln`, or `db` (10 log10)
    floor: float = 1e-10  # smallest power before the logarithm: silence stays finite
    # `db`: values further below the utterance's largest are raised to that distance.
    top_db: float = 0.0  # 0 = none
    preemphasis: float = 0.0  # a of y[n] = x[n] - a x[n-1], y[0] = x[0]; 0 = none
    deltas: bool = True  # delta and delta-delta are stored beside the static values

    dtype = np.float32  # of the stored features
    num_static = 1  # channels that are not deltas of others

    @property
    def num_bands(self) -> int:
        """F of the stored features [T, F, C]."""
        return self.num_coefficients or self.num_filters

    @property
    def num_channels(self) -> int:
        """C of the stored features: static, delta, delta-delta, or static alone."""
        return 3 if self.deltas else 1

    @property
    def lead_samples(self) -> int:
        """Samples before `t * hop_samples` at which the window of frame t starts."""
        if not self.centered:
            return 0
        # librosa puts the window into the middle of the FFT frame, and that around the
        # centre: together half a window.
        return self.n_fft // 2 - (self.n_fft - self.win_samples) // 2

    def num_frames(self, num_samples):
        """Frames of a recording of n >= 1 samples at `sample_rate_hz`.

        `1 + n // hop` if centred; else `1 + ceil(max(0, n - win) / hop)`. `num_samples`
        is an int or an array of NumPy's or JAX's, the result like it.
        """
        if self.centered:
            return 1 + num_samples // self.hop_samples
        beyond = (num_samples - self.win_samples) * (num_samples > self.win_samples)
        return 1 - (-beyond // self.hop_samples)


# AACNN's input (Xu et al., ICASSP 2021, released code: 50/25 ms). Differs from that
# code: a floor, so that silence gives -10 and not -inf; features are computed on the
# whole utterance and then cut into segments.
_LOGMEL128 = FeatureSpec(
    name="logmel128",
    kind="logmel",
    n_fft=800,
    win_samples=800,
    hop_samples=400,
    num_filters=128,
)

# The input of the 3-D ACRNN family as its papers write it (Chen et al., 2018): 25/10 ms,
# Hamming window, exact triangle edges, samples in [-1, 1].
_LOGMEL40_3D = FeatureSpec(
    name="logmel40_3d",
    kind="logmel",
    n_fft=512,
    win_samples=400,
    hop_samples=160,
    num_filters=40,
    window="hamming",
    centered=False,
    mel_scale="htk",
    log="ln",
    floor=2.0**-52,
    preemphasis=0.97,
)

# The same input as those systems' code computes it: python_speech_features on 16-bit
# numbers, whose static values lie 2 ln 32768 = 20.794 higher.
_LOGMEL40_PSF = dataclasses.replace(
    _LOGMEL40_3D,
    name="logmel40_psf",
    sample_scale=32768.0,
    window="boxcar",
    mel_scale="psf",
)

# librosa.feature.mfcc's defaults, the head-fusion and GLAM systems' input: 2 s are 63
# frames. Differs from their code: computed on the whole utterance, then cut, so `top_db`
# counts from the loudest cell of the utterance, not of the segment, and only the
# utterance's ends see librosa's zeros.
_MFCC26 = FeatureSpec(
    name="mfcc26",
    kind="mfcc",
    n_fft=2048,
    win_samples=2048,
    hop_samples=512,
    num_filters=128,
    num_coefficients=26,
    log="db",
    top_db=80.0,
    deltas=False,
)

# MSCNN-SPU's 96 values per frame, 32 x 3, as KrishnaDN's code reads the paper's figure;
# 7.5 s are 751 frames (the paper's 750 and librosa's one more). Differs from that code:
# regression deltas, not librosa's Savitzky-Golay filter.
_MFCC32_3D = dataclasses.replace(
    _MFCC26,
    name="mfcc32_3d",
    win_samples=400,
    hop_samples=160,
    num_coefficients=32,
    deltas=True,
)

# AFCN's input: 0-4 kHz of a 40/10 ms Hamming spectrogram in steps of 20 Hz, as public
# code reads it (samsudinng/speech_emo_recognition). Differs from that code: log power
# above a floor, where it takes dB below the utterance's loudest cell, at most 80; the
# z-score per band removes factors and fixed offsets.
_SPECTROGRAM200 = FeatureSpec(
    name="spectrogram200",
    kind="spectrogram",
    n_fft=800,
    win_samples=640,
    hop_samples=160,
    num_filters=200,
    window="hamming",
    mel_scale="none",
    preemphasis=0.97,
    deltas=False,
)

RECIPES: dict[str, FeatureSpec] = {
    spec.name: spec
    for spec in (
        _LOGMEL128,
        dataclasses.replace(_LOGMEL128, name="logmel64", num_filters=64),
        _LOGMEL40_3D,
        _LOGMEL40_PSF,
        _MFCC26,
        _MFCC32_3D,
        _SPECTROGRAM200,
        # In steps of 10 Hz.
        dataclasses.replace(
            _SPECTROGRAM200, name="spectrogram400", n_fft=1600, num_filters=400
        ),
    )
}
