"""A small EMO-DB with the traps that people's copies have."""

import shutil
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000


def tone(hz: float, seconds: float, level: float = 0.5, rate_hz: int = RATE_HZ):
    """A tone that swells and fades four times a second, as syllables do."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return level * np.sin(2 * np.pi * hz * t) * np.sin(2 * np.pi * 2 * t) ** 4


def write(root: Path) -> Path:
    """Six recordings that training can use, and three files that are left out.

    name      class      speaker  seconds  what is special
    03a01Wa   anger      03 M     1.0      the same samples as 03a02Fa
    03a02Fa   happiness  03 M     1.0
    03b01Na   neutral    03 M     2.0      8 kHz, two channels
    08a01Wa   anger      08 F     2.0
    08a02Na   neutral    08 F     3.0      clipped
    08b01Na   neutral    08 F     3.0      08a02Na at a tenth of its level
    08b02Na   neutral    08 F              silent
    16a01Wa   anger      16 F              cut off
    copy/03a01Wa                           a second copy
    """
    folder = root / "wav"
    (root / "copy").mkdir(parents=True)
    folder.mkdir()
    generator = np.random.default_rng(0)
    loud = np.clip(tone(700, 3.0, 2.0) + generator.normal(0, 0.02, 48_000), -1, 1)
    stereo = np.tile(tone(400, 2.0, rate_hz=8_000)[:, None], 2)
    sounds = {
        "03a01Wa": (tone(300, 1.0), RATE_HZ),
        "03a02Fa": (tone(300, 1.0), RATE_HZ),
        "03b01Na": (stereo, 8_000),
        "08a01Wa": (tone(1500, 2.0), RATE_HZ),
        "08a02Na": (loud, RATE_HZ),
        "08b01Na": (0.1 * loud, RATE_HZ),
        "08b02Na": (np.zeros(RATE_HZ), RATE_HZ),
        "16a01Wa": (tone(500, 1.0), RATE_HZ),
    }
    for name, (samples, rate_hz) in sounds.items():
        soundfile.write(folder / f"{name}.wav", samples, rate_hz)
    cut = folder / "16a01Wa.wav"
    cut.write_bytes(cut.read_bytes()[:10_000])
    shutil.copy(folder / "03a01Wa.wav", root / "copy")
    return root
