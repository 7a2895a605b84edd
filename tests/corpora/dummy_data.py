"""Writes `tfds_iemocap/dummy_data/`: two turns in each of five sessions of IEMOCAP.

Run `python -m tests.corpora.dummy_data` from the repository's root; the same bytes come
out every time. Tones, not speech: nothing of the corpus is in there.
"""

from pathlib import Path

import numpy as np
import soundfile

from ser_jax.corpora.iemocap import SYNTHETIC_MARKER

FOLDER = Path(__file__).parents[2] / "tfds_iemocap" / "dummy_data"
_RATE_HZ = 16000
_LABELS = ("neu", "hap", "exc", "sad", "ang", "fru", "sur", "xxx", "oth", "dis")


def write(root: Path) -> None:
    generator = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    (root / SYNTHETIC_MARKER).write_text('{"corpus": "dummy data"}\n')
    for session in range(1, 6):
        dialog = f"Ses{session:02}F_impro01"
        home = root / f"Session{session}"
        wavs = home / "sentences" / "wav" / dialog
        labels = home / "dialog" / "EmoEvaluation" / f"{dialog}.txt"
        texts = home / "dialog" / "transcriptions" / f"{dialog}.txt"
        for folder in (wavs, labels.parent, texts.parent):
            folder.mkdir(parents=True, exist_ok=True)
        label_lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
        text_lines = []
        for turn, letter in enumerate("FM"):
            name = f"{dialog}_{letter}000"
            label = _LABELS[2 * (session - 1) + turn]
            # 0.25 s to 0.34 s, so that every turn has its own length.
            num = 4000 + 160 * (2 * session + turn)
            tone_hz = 150 + 50 * session + 70 * turn
            wave = 0.3 * np.sin(2 * np.pi * tone_hz * np.arange(num) / _RATE_HZ)
            wave += 0.01 * generator.standard_normal(num)
            soundfile.write(wavs / f"{name}.wav", wave, _RATE_HZ, subtype="PCM_16")
            start, end = 2.0 * turn, 2.0 * turn + num / _RATE_HZ
            label_lines += [
                f"[{start:.4f} - {end:.4f}]\t{name}\t{label}\t[2.5000, 3.0000, 3.5000]",
                f"C-E1:\tNeutral;\t({label})",
                "",
            ]
            text_lines.append(f"{name} [{start:08.4f}-{end:08.4f}]: Turn {turn}: yes.")
        labels.write_text("\n".join(label_lines) + "\n")
        texts.write_text("\n".join(text_lines) + "\n")


if __name__ == "__main__":
    write(FOLDER)
