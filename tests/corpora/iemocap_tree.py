"""Writes trees in IEMOCAP's layout with the published class counts and tiny wavs."""

import itertools
import os
import random
from pathlib import Path

import numpy as np
import soundfile

EMOTIONS = ("neu", "hap", "exc", "sad", "ang")

# The published counts per true speaker (neu, hap, exc, sad, ang): improvised, and both
# styles together. Session tables elsewhere are sums of these.
IMPROVISED = {
    "1F": (119, 18, 54, 43, 37),
    "1M": (104, 15, 45, 61, 25),
    "2F": (90, 25, 88, 63, 7),
    "2M": (127, 29, 49, 37, 15),
    "3F": (95, 39, 41, 108, 22),
    "3M": (103, 21, 48, 82, 68),
    "4F": (51, 10, 119, 41, 47),
    "4M": (123, 21, 45, 40, 37),
    "5F": (151, 56, 68, 73, 18),
    "5M": (136, 50, 106, 60, 13),
}
BOTH = {
    "1F": (171, 69, 63, 78, 147),
    "1M": (213, 66, 80, 116, 82),
    "2F": (135, 70, 96, 113, 67),
    "2M": (227, 47, 114, 84, 70),
    "3F": (130, 80, 48, 172, 92),
    "3M": (190, 55, 103, 133, 148),
    "4F": (76, 31, 154, 62, 205),
    "4M": (182, 34, 84, 81, 122),
    "5F": (221, 77, 82, 132, 78),
    "5M": (163, 66, 217, 113, 92),
}
_DIALOGS = {
    "improvised": ("F_impro01", "F_impro02", "M_impro01", "M_impro05"),
    "scripted": ("F_script01_1", "M_script01_1", "M_script02_2"),
}
_SUFFIXES = {"Ses03M_impro05": "a", "Ses05M_script01_1": "b"}


def published_counts() -> dict[tuple[str, str], dict[str, int]]:
    """`{(speaker, style): {emotion: turns}}` of the 5531 turns."""
    counts = {}
    for speaker, both in BOTH.items():
        improvised = IMPROVISED[speaker]
        scripted = [b - i for b, i in zip(both, improvised, strict=True)]
        counts[speaker, "improvised"] = dict(zip(EMOTIONS, improvised, strict=True))
        counts[speaker, "scripted"] = dict(zip(EMOTIONS, scripted, strict=True))
    return counts


def write_tree(root: Path) -> Path:
    """Writes label files, transcripts and wavs (hard links to one noise recording)."""
    root.mkdir(parents=True, exist_ok=True)
    recording = root / "noise.wav"
    noise = 0.1 * np.random.default_rng(0).standard_normal(3200)
    soundfile.write(recording, noise, 16000, subtype="PCM_16")
    turns: dict[str, list[tuple[str, str]]] = {}
    for (speaker, style), row in published_counts().items():
        dialogs = itertools.cycle(_DIALOGS[style])
        for emotion, number in row.items():
            for _ in range(number):
                dialog = f"Ses0{speaker[0]}{next(dialogs)}"
                dialog += _SUFFIXES.get(dialog, "")
                same = turns.setdefault(dialog, [])
                same.append((f"{dialog}_{speaker[1]}{len(same):03d}", emotion))
    for dialog, items in turns.items():
        _write_dialog(root / f"Session{dialog[4]}", dialog, items, recording)
    recording.unlink()
    return root


def _write_dialog(
    session: Path, dialog: str, items: list[tuple[str, str]], recording: Path
) -> None:
    wavs = session / "sentences" / "wav" / dialog
    labels = session / "dialog" / "EmoEvaluation"
    transcripts = session / "dialog" / "transcriptions"
    for folder in (wavs, labels, transcripts):
        folder.mkdir(parents=True, exist_ok=True)
    blocks, lines = [], []
    for place, (name, emotion) in enumerate(items):
        os.link(recording, wavs / f"{name}.wav")
        times = f"{place}.0000 - {place}.2000"
        blocks.append(
            f"[{times}]\t{name}\t{emotion}\t[2.5000, 3.0000, 3.5000]\n"
            f"C-E1:\tAnger;\t()\nA-E1:\tval 3; act 3; dom  3;\t()\n\n"
        )
        lines.append(f"{name} [{place:08.4f}-{place + 0.2:08.4f}]: Turn: {place}.\n")
    random.Random(0).shuffle(blocks)  # the release does not sort them
    (labels / f"{dialog}.txt").write_text("% header\n\n" + "".join(blocks), "utf-8")
    (transcripts / f"{dialog}.txt").write_text("".join(lines), "utf-8")
