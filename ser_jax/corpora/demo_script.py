"""What the speakers of the synthetic corpus say, and how.

Prosody always carries the emotion. In improvised dialogs about half of the sentences do
so, too; scripted dialogs have the same sentences in every session, whatever the emotion,
so that words carry nothing there.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# Dialogs of every session: (mocap side, name); two carry suffixes as in the release.
DIALOGS = (
    ("F", "impro01"),
    ("M", "impro02"),
    ("M", "impro05"),
    ("F", "script01_1"),
    ("M", "script02_2"),
)
SUFFIXES = {"Ses03M_impro05": "a", "Ses05F_script01_1": "b"}

# speaker -> (voice, rate in words per minute, pitch on espeak's scale). No variant with
# `breath` in its file (f2, f3, f5): its noise differs from process to process.
VOICES = {
    "1F": ("en-us+f1", 172, 46),
    "1M": ("en-us+m1", 162, 44),
    "2F": ("en+linda", 160, 52),
    "2M": ("en+m2", 176, 50),
    "3F": ("en-gb-scotland+Annie", 166, 44),
    "3M": ("en-gb-scotland+m3", 158, 48),
    "4F": ("en-us+f4", 178, 50),
    "4M": ("en-us+m4", 170, 42),
    "5F": ("en-gb-x-rp+steph", 164, 48),
    "5M": ("en-gb-x-rp+m7", 168, 46),
}


@dataclasses.dataclass(frozen=True)
class Prosody:
    """Mean of an emotion's prosody, relative to the speaker, and its V/A/D ratings."""

    rate: float  # factor
    pitch: float  # added, espeak's scale
    pitch_range: float  # 0 to 100
    word_gap: float  # units of 10 ms
    tilt: float  # vocal effort: more high frequencies
    ratings: tuple[float, float, float]  # valence, activation, dominance, 1 to 5


PROSODY = {
    "neu": Prosody(1.00, -4, 42, 0.0, 0.28, (3.0, 2.5, 2.8)),
    "hap": Prosody(1.10, 34, 80, 0.0, 0.46, (4.2, 3.3, 3.1)),
    "exc": Prosody(1.16, 38, 86, 0.0, 0.50, (4.1, 3.8, 3.4)),
    "sad": Prosody(0.76, -18, 14, 4.0, 0.08, (2.2, 2.1, 2.3)),
    "ang": Prosody(1.36, 4, 92, 0.0, 0.66, (1.8, 3.8, 4.0)),
    "fru": Prosody(1.14, -4, 62, 1.0, 0.50, (2.3, 3.1, 3.3)),
    "sur": Prosody(1.05, 32, 96, 0.5, 0.42, (3.2, 3.5, 2.9)),
    "fea": Prosody(1.24, 16, 40, 2.0, 0.25, (2.0, 3.4, 2.0)),
    "dis": Prosody(0.90, -8, 68, 2.0, 0.35, (2.0, 2.8, 3.4)),
    "oth": Prosody(0.95, 4, 55, 2.0, 0.30, (3.0, 2.9, 3.0)),
    "xxx": Prosody(1.05, 5, 60, 1.0, 0.35, (2.9, 2.9, 2.9)),
}

# Every fifth turn of a speaker is none of the four usual classes.
_FOUR = {"F": ("neu", "ang", "sad", "hap", "", "neu", "ang", "sad", "exc", "")}
_FOUR["M"] = ("neu", "ang", "sad", "exc", "", "neu", "ang", "sad", "hap", "")
_OTHERS = ("fru", "xxx", "sur", "fea", "dis", "oth")
_EMOTION_WORDS = {"exc": "hap", "fru": "ang", "sur": "hap", "fea": "sad", "dis": "ang"}
_TELLING_SHARE = 0.5  # of improvised turns whose words tell the emotion

_FILE = Path(__file__).with_name("demo_sentences.json")
_SENTENCES = json.loads(_FILE.read_text("utf-8"))


@dataclasses.dataclass(frozen=True)
class Turn:
    """One planned turn."""

    id: str
    dialog: str
    emotion: str
    text: str
    pause_s: float
    ratings: tuple[tuple[int, int, int], ...]  # per evaluator: V, A, D in 1..5
    speech: dict[str, str | int | float]  # fields of `demo_speech.Job` but `wav`


def plan(session: int, *, turns: int, seed: int) -> Iterator[Turn]:
    """Plans all dialogs of session 1 to 5, `turns` labelled turns each."""
    # The order of the draws is part of the corpus: another order, another corpus.
    rng = np.random.default_rng([seed, session])
    scripts, num_turns = _SENTENCES["scripts"], {"F": 0, "M": 0}
    for index, (side, name) in enumerate(DIALOGS):
        dialog = f"Ses0{session}{side}_{name}"
        dialog += SUFFIXES.get(dialog, "")
        letters = [side, "FM".replace(side, "")]  # who wears the markers begins
        emotions = {}
        for place, letter in enumerate(letters):
            first = num_turns[letter]
            num_turns[letter] += len(range(place, turns, 2))
            counts = range(first, num_turns[letter])
            emotions[letter] = [_emotion(session, letter, count) for count in counts]
            rng.shuffle(emotions[letter])
        for place in range(turns):
            letter = letters[place % 2]
            emotion = emotions[letter][place // 2]
            if "script" in name:
                text = scripts[index % 2][place % len(scripts[0])]
            else:
                text = _improvise(emotion, rng)
            yield Turn(
                id=f"{dialog}_{letter}{place // 2:03d}",
                dialog=dialog,
                emotion=emotion,
                text=text,
                pause_s=float(rng.uniform(0.2, 1.5)),
                ratings=_rate(emotion, rng),
                speech={"text": text, **_speak(f"{session}{letter}", emotion, rng)},
            )


def _emotion(session: int, letter: str, count: int) -> str:
    cycle = _FOUR[letter]
    emotion = cycle[count % len(cycle)]
    # Speakers start at different places, so that small corpora have all labels, too.
    speaker = 2 * (session - 1) + (letter == "M")
    return emotion or _OTHERS[(speaker + count // 5) % len(_OTHERS)]


def _improvise(emotion: str, rng: np.random.Generator) -> str:
    plain, telling = _SENTENCES["plain"], _SENTENCES["telling"]
    telling = telling.get(_EMOTION_WORDS.get(emotion, emotion), plain)
    pool = telling if rng.random() < _TELLING_SHARE else plain
    return pool[rng.integers(len(pool))]


def _rate(emotion: str, rng: np.random.Generator) -> tuple[tuple[int, int, int], ...]:
    mean = np.array(PROSODY[emotion].ratings)
    scores = np.clip(np.round(mean + rng.normal(0.0, 0.5, (2, 3))), 1, 5).astype(int)
    return tuple(tuple(row) for row in scores.tolist())


def _speak(speaker: str, emotion: str, rng: np.random.Generator) -> dict:
    """Draws one turn's prosody; wide spreads make the classes overlap."""
    mean = PROSODY[emotion]
    voice, rate_wpm, pitch = VOICES[speaker]
    jitter = rng.normal(size=6)
    rate = rate_wpm * mean.rate * np.exp(0.06 * jitter[0])
    return {
        "voice": voice,
        "rate_wpm": int(np.clip(round(rate), 90, 320)),
        "pitch": int(np.clip(round(pitch + mean.pitch + 4.0 * jitter[1]), 0, 99)),
        "pitch_range": int(np.clip(mean.pitch_range + 8.0 * jitter[2], 0, 100)),
        "word_gap": int(max(0, round(mean.word_gap + jitter[3]))),
        "level_db": float(-26.0 + 3.0 * jitter[4]),
        "tilt": float(np.clip(mean.tilt + 0.12 * jitter[5], -0.5, 0.9)),
        "snr_db": float(rng.uniform(26.0, 36.0)),
        "noise_seed": int(rng.integers(2**31)),
    }
