"""Warnings about a recording's signal, given beside its answer. NumPy only."""

import dataclasses

import numpy as np

# Rules of thumb, which music may pass: no warning does not make an answer right.
_FRAME_S = 0.05
_SILENT = 1e-3  # peak; -60 dB of full scale
_QUIET = 1e-2  # peak; -40 dB
_BEYOND = 2.0  # peak; resampling alone goes a little over 1
_FULL = 0.999  # of full scale
_CLIPPED = 1e-3  # share of the samples
_STEADY_DB = 3.0  # spread of the level; syllables and pauses spread speech by over 8
_FAR = 3.0  # root mean square z-score of the features; 1 in training
_SHORT_S = 0.5


@dataclasses.dataclass
class SignalQuality:
    """Measures a recording block by block."""

    sample_rate_hz: int
    num_samples: int = 0  # seen so far
    peak: float = 0.0  # largest magnitude
    clipped: int = 0  # samples at full scale
    # In dB, of frames of 50 ms: few numbers, where hours of samples fill the memory.
    _levels: list[np.ndarray] = dataclasses.field(default_factory=list)

    def add(self, block: np.ndarray) -> np.ndarray:
        """Measures samples [n] and returns them."""
        size = np.abs(block)
        self.num_samples += len(block)
        self.peak = max(self.peak, float(size.max(initial=0.0)))
        self.clipped += int(np.count_nonzero(size >= _FULL))
        width = round(_FRAME_S * self.sample_rate_hz)
        whole = block[: len(block) // width * width].reshape(-1, width)
        # 1e-10 keeps digital silence finite, at -100 dB.
        power = np.square(whole, dtype=np.float64).mean(axis=1)
        self._levels.append(10 * np.log10(power + 1e-10))
        return block

    def warnings(self, distance: float) -> tuple[str, ...]:
        """Reasons not to trust an answer; none for ordinary speech.

        Args:
          distance: Root mean square of the recording's normalised features; NaN if
            the model does not normalise.
        """
        peak = f"{20 * np.log10(self.peak):.0f} dB" if self.peak else "0"
        if self.peak < _SILENT:  # what the others measure would be noise
            return (f"silent: peak {peak}",)
        seconds = self.num_samples / self.sample_rate_hz
        share = self.clipped / self.num_samples
        levels = np.concatenate(self._levels)
        spread = levels.std() if len(levels) > 1 else np.inf
        checks = [
            (seconds < _SHORT_S, f"short: {seconds:.2f} s"),
            (self.peak < _QUIET, f"quiet: peak {peak}"),
            (self.peak > _BEYOND, f"beyond full scale: peak {peak}"),
            (share > _CLIPPED, f"clipped: {share:.1%} of the samples at full scale"),
            (spread < _STEADY_DB, f"steady, perhaps no speech: level ±{spread:.1f} dB"),
            (
                distance > _FAR,
                f"unlike the training speech: features {distance:.1f} σ away",
            ),
        ]
        return tuple(text for applies, text in checks if applies)
