"""Warnings about a recording's signal, given beside its answer. NumPy only."""

import dataclasses

import numpy as np

# Rules of thumb, which music may pass: no warning does not make an answer right.
_FRAME_S = 0.05
_SILENT = 1e-3  # peak; -60 dB of full scale
_QUIET = 1e-2  # peak; -40 dB
_FULL = 0.999  # of full scale
_CLIPPED_SHARE = 1e-3  # of the samples
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
    # The level's moments over frames: a recording is never in memory as a whole.
    _frames: int = 0
    _sum_db: float = 0.0
    _sum_db2: float = 0.0

    def add(self, block: np.ndarray) -> np.ndarray:
        """Measures samples [n] and returns them."""
        size = np.abs(block)
        self.num_samples += len(block)
        self.peak = max(self.peak, float(size.max(initial=0.0)))
        self.clipped += int(np.count_nonzero(size >= _FULL))
        width = round(_FRAME_S * self.sample_rate_hz)
        whole = block[: len(block) // width * width].reshape(-1, width)
        # 1e-10 keeps digital silence finite, at -100 dB.
        level = 10 * np.log10(np.square(whole, dtype=np.float64).mean(axis=1) + 1e-10)
        self._frames += len(level)
        self._sum_db += float(level.sum())
        self._sum_db2 += float(np.square(level).sum())
        return block

    def warnings(self, distance: float) -> tuple[str, ...]:
        """Reasons not to trust an answer; none for ordinary speech.

        Args:
          distance: Root mean square of the recording's normalised features; NaN if
            the model does not normalise.
        """
        if self.peak < _SILENT:  # what the others measure would be noise
            return (f"silent: peak {_db(self.peak)}",)
        seconds = self.num_samples / self.sample_rate_hz
        share = self.clipped / self.num_samples
        spread = self._spread_db()
        applies = {
            f"short: {seconds:.2f} s": seconds < _SHORT_S,
            f"quiet: peak {_db(self.peak)}": self.peak < _QUIET,
            f"clipped: {share:.1%} of the samples at full scale": (
                share > _CLIPPED_SHARE
            ),
            f"steady, perhaps no speech: level ±{spread:.1f} dB": spread < _STEADY_DB,
            f"unlike the training speech: features {distance:.1f} σ away": (
                distance > _FAR
            ),
        }
        return tuple(text for text, holds in applies.items() if holds)

    def _spread_db(self) -> float:
        """Standard deviation of the level; infinite if there is no second frame."""
        if self._frames < 2:
            return float("inf")
        mean = self._sum_db / self._frames
        # Rounding may leave a steady level's variance below 0.
        return float(np.sqrt(max(0.0, self._sum_db2 / self._frames - mean**2)))


def _db(peak: float) -> str:
    return f"{20 * np.log10(peak):.0f} dB" if peak else "0"
