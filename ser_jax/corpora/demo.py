"""The synthetic corpus: espeak's speech in a tree that is laid out as IEMOCAP is.

It has one of each pitfall of the release (AppleDouble files, rater sub-folders, a
suffix dialog, `xxx`, turns without label, a labelled turn without wav, ...), so that
the reader meets them. Scores on it show that the code works, nothing about emotion.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import soundfile

from ser_jax import clock
from ser_jax.corpora.demo_script import Turn, plan
from ser_jax.corpora.iemocap import SYNTHETIC_MARKER
from ser_jax.errors import InputError, writing

_VERSION = 1  # increase it when the contents change: old trees are then replaced
_ABOUT = {
    "corpus": "ser_jax demo",
    "licence": "synthetic speech (espeak NG); no recording of a person",
}
_HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"
_CATEGORIES = {
    "neu": "Neutral state",
    "hap": "Happiness",
    "exc": "Excited",
    "sad": "Sadness",
    "ang": "Anger",
    "fru": "Frustration",
    "sur": "Surprise",
    "fea": "Fear",
    "dis": "Disgust",
    "oth": "Other",
}
_RATER_FILES = (
    ("Categorical", "e1_cat", ":Neutral state; ()"),
    ("Attribute", "e1_atr", ":act 3; :val 3; :dom  3; ()"),
    ("Self-evaluation", "f1_cat", ":Neutral state; ()"),
)
_APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "


@clock.part("corpus")
def make(folder: str | os.PathLike, *, turns: int, seed: int) -> Path:
    """Makes the corpus, the same bytes from the same arguments, unless it is there.

    Args:
      folder: Root of the tree. A corpus of other `turns` or `seed` in it is replaced.
      turns: Labelled turns per dialog (25 in all); even: as many from both speakers.
      seed: Of words, prosody and noise.

    Raises:
      InputError: `espeakng-loader` is missing or does not run, `folder` holds something
        else or cannot be written, or `turns` is less than 2.
    """
    folder = Path(folder).expanduser().absolute()
    if turns < 2:
        raise InputError(
            f"data.demo_turns: expected 2 or more turns per dialog, got {turns}."
        )
    contents = _ABOUT | {"turns": turns, "seed": seed, "version": _VERSION}
    marker = json.dumps(contents, indent=2) + "\n"
    if _is_complete(folder, marker):
        return folder
    if importlib.util.find_spec("espeakng_loader") is None:
        raise InputError(
            "the demo corpus is spoken by espeak NG: expected the package "
            "espeakng-loader, got none. Install it: pip install -e '.[demo]'"
        )
    with writing(folder, "--config.data.tfds_dir"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Built in a scratch folder and renamed, so that a tree is complete or absent.
        with tempfile.TemporaryDirectory(
            dir=folder.parent, prefix=f".{folder.name}-"
        ) as scratch:
            tree = Path(scratch) / "tree"
            _build(tree, turns=turns, seed=seed)
            (tree / SYNTHETIC_MARKER).write_text(marker, encoding="utf-8")
            if not _is_complete(folder, marker):  # another process may have been faster
                if folder.exists():
                    folder.rename(tree.with_name("old"))
                tree.rename(folder)
    return folder


def _is_complete(folder: Path, marker: str) -> bool:
    """Whether this corpus is there; refuses a folder that holds something else."""
    file = folder / SYNTHETIC_MARKER
    if file.is_file():
        return file.read_text(encoding="utf-8") == marker
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"the demo corpus cannot go to {folder}: expected an empty or new folder or "
            f"an older demo corpus (with {SYNTHETIC_MARKER}), got something else. Set "
            "--config.data.tfds_dir to another folder."
        )
    return False


def _build(root: Path, *, turns: int, seed: int) -> None:
    sessions = {n: list(plan(n, turns=turns, seed=seed)) for n in range(1, 6)}
    jobs = []
    for session, planned in sessions.items():
        for turn in planned:
            wav = _wav(root, session, turn)
            wav.parent.mkdir(parents=True, exist_ok=True)
            jobs.append({"wav": str(wav), **turn.speech})
    _speak(jobs, root.with_name("jobs.json"))
    for session, planned in sessions.items():
        for dialog in dict.fromkeys(turn.dialog for turn in planned):
            _write_dialog(root, session, [t for t in planned if t.dialog == dialog])
    first = sessions[1][0]
    _plant_pitfalls(root / "Session1", first.dialog, _wav(root, 1, first))


def _wav(root: Path, session: int, turn: Turn) -> Path:
    folder = root / f"Session{session}" / "sentences" / "wav" / turn.dialog
    return folder / f"{turn.id}.wav"


def _speak(jobs: list[dict], file: Path) -> None:
    file.write_text(json.dumps(jobs), "utf-8")
    # A fresh process, so that the same jobs give the same bytes (see `demo_speech`).
    home = str(Path(__file__).parents[2])  # the package need not be installed
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "ser_jax.corpora.demo_speech", str(file)]
    environment = {**os.environ, "PYTHONPATH": path}
    options = {"env": environment, "capture_output": True, "text": True}
    done = subprocess.run(command, check=False, **options)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2] or f"status {done.returncode}"
        raise InputError(
            "the demo corpus could not be spoken: expected espeak NG to run, and room in "
            f"{file.parent}; got {last}. Free space there or set --config.data.tfds_dir; "
            "or reinstall espeak NG: pip install --force-reinstall espeakng-loader"
        )


def _write_dialog(root: Path, session: int, turns: list[Turn]) -> None:
    dialog = turns[0].dialog
    blocks, transcript, time_s = [], [], 1.0
    for turn in turns:
        start_s = time_s + turn.pause_s
        time_s = start_s + soundfile.info(_wav(root, session, turn)).duration
        blocks.append(_block(turn, start_s, time_s))
        transcript.append(f"{turn.id} [{start_s:08.4f}-{time_s:08.4f}]: {turn.text}\n")
    # As in the release: label blocks in no order; turns nobody rated; stray lines.
    blocks = blocks[1::2] + blocks[::2]
    transcript.insert(1, f"{dialog}_FXX0 [000.1000-000.9000]: Hm.\n")
    transcript.insert(2, "M: Go on.\n")
    folder = root / f"Session{session}" / "dialog"
    _write(folder / "EmoEvaluation" / f"{dialog}.txt", _HEADER + "\n" + "".join(blocks))
    _write(folder / "transcriptions" / f"{dialog}.txt", "".join(transcript))
    for kind, suffix, value in _RATER_FILES:
        text = "".join(f"{turn.id} {value}\n" for turn in turns)
        # A rater's file may look like a label file and have other labels.
        text += f"[0.0000 - 1.0000]\t{turns[0].id}\toth\t[1.0000, 1.0000, 1.0000]\n"
        _write(folder / "EmoEvaluation" / kind / f"{dialog}_{suffix}.txt", text)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _block(turn: Turn, start_s: float, end_s: float) -> str:
    # A summary line and one line per rater: three evaluators and the actor.
    votes = [turn.emotion] * 3
    if turn.emotion == "xxx":  # no majority
        votes = ["neu", "fru", "ang"]
    elif turn.ratings[0][0] == turn.ratings[1][0]:
        votes[2] = "neu" if turn.emotion != "neu" else "fru"  # one may disagree
    means = (sum(scores) / 2 for scores in zip(*turn.ratings, strict=True))
    average = ", ".join(f"{mean:.4f}" for mean in means)
    lines = [f"[{start_s:.4f} - {end_s:.4f}]\t{turn.id}\t{turn.emotion}\t[{average}]"]
    lines += [f"C-E{n}:\t{_CATEGORIES[e]};\t()" for n, e in enumerate(votes, start=1)]
    lines.append(f"C-F1:\t{_CATEGORIES[votes[0]]};\t()")
    for name, (v, a, d) in zip(("E3", "E4"), turn.ratings, strict=True):
        lines.append(f"A-{name}:\tval {v}; act {a}; dom  {d};\t()")
    lines.append("A-F1:\tval 3; act 3; dom  3;\t()")
    return "\n".join(lines) + "\n\n"


def _plant_pitfalls(session: Path, dialog: str, wav: Path) -> None:
    labels = session / "dialog" / "EmoEvaluation"
    for file in (wav.with_name(f"._{wav.name}"), labels / f"._{dialog}.txt"):
        file.write_bytes(_APPLE_DOUBLE)
    for folder in (session, labels, wav.parent):
        (folder / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    with (labels / f"{dialog}.txt").open("a", encoding="utf-8") as stream:
        stream.write(
            f"[900.0000 - 901.0000]\t{dialog}_M900\tneu\t[3.0000, 3.0000, 3.0000]\n"
            "C-E1:\tNeutral state;\t()\n\n"  # the wav of this turn is missing
        )
