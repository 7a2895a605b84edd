"""IEMOCAP as released (Busso et al., 2008): one folder per session.

    <root>/Session1 ... Session5/
        dialog/EmoEvaluation/<dialog>.txt       labels; sub-folders hold single raters
        dialog/transcriptions/<dialog>.txt
        sentences/wav/<dialog>/<utterance>.wav  16 kHz

`<dialog>` is `Ses01F_impro05a` or `Ses01F_script01_1b`: the letter after the session
is the actor who wears the motion-capture markers. The speaker of a turn is the letter
after the last underscore (`Ses01F_impro05a_M003` is spoken by 1M).

A label file has a header beginning with `%`, then blocks: a summary line
`[start - end]<tab>turn<tab>label<tab>[valence, activation, dominance]` and one line per
rater (`C-E2:` a category, `A-E3:` attributes; `E` is an evaluator, `F` and `M` are the
actors themselves). A transcript has `turn [start-end]: text` lines.
"""

import collections
import logging
import math
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError

# `xxx`: the raters found no majority. Kept, so that dropping it is the user's choice.
LABELS = ("neu", "hap", "exc", "sad", "ang", "fru", "sur", "fea", "dis", "oth", "xxx")
LICENCE, ADDRESS = "on request, for research", "https://sail.usc.edu/iemocap/"
SYNTHETIC_MARKER = "DEMO.json"  # at the root of a tree that is not the real corpus

_UTTERANCE = re.compile(r"(Ses0([1-5])([FM])_(impro|script)\w*)_([FM])\d+")
_STYLES = {"impro": "improvised", "script": "scripted"}
_SESSIONS = tuple(f"Session{n}" for n in range(1, 6))

# style -> session -> turns of the five emotions that published systems use, as EmoBox
# lists them: 5531 turns, 7.5 h.
COUNTED = LABELS[:5]
COUNTS = {
    "improvised": {
        "session1": (223, 33, 99, 104, 62),
        "session2": (217, 54, 137, 100, 22),
        "session3": (198, 60, 89, 190, 90),
        "session4": (174, 31, 164, 81, 84),
        "session5": (287, 106, 174, 133, 31),
    },
    "scripted": {
        "session1": (161, 102, 44, 90, 167),
        "session2": (145, 63, 73, 97, 115),
        "session3": (122, 75, 62, 115, 150),
        "session4": (84, 34, 74, 62, 243),
        "session5": (97, 37, 125, 112, 139),
    },
}


def find_root(root: str, setting: str = "--config.data.root") -> Path:
    """`root` (if empty, `$IEMOCAP_ROOT`) or the `IEMOCAP_full_release` in it.

    Raises InputError, which names the `setting` that `root` comes from, if neither
    holds a session.
    """
    root = root or os.environ.get("IEMOCAP_ROOT", "")
    if not root:
        nowhere = f"nowhere: {setting} and IEMOCAP_ROOT are empty"
        raise InputError(_how_to_get(nowhere, setting))
    folder = Path(root).expanduser().absolute()
    for candidate in (folder, folder / "IEMOCAP_full_release"):
        if any((candidate / name).is_dir() for name in _SESSIONS):
            return candidate
    kind = "" if folder.is_dir() else ", which is not a folder"
    where = f"in {folder} (and its sub-folder IEMOCAP_full_release){kind}"
    raise InputError(_how_to_get(where, setting))


def _how_to_get(looked: str, setting: str) -> str:
    return (
        "IEMOCAP was not found.\n"
        f"  looked for: the folders Session1 ... Session5; looked {looked}\n"
        "  obtain it: the corpus is licensed, free for research; fill in the release "
        f"form on {ADDRESS} (USC SAIL lab)\n"
        f"  point to it: {setting}=/path/to/IEMOCAP_full_release or the "
        "environment variable IEMOCAP_ROOT\n"
        "  or try synthetic speech: python run.py --config=configs/area_attn.py:demo"
    )


def is_synthetic(root: str | os.PathLike) -> bool:
    """Whether the tree is marked as synthetic speech."""
    return (Path(root) / SYNTHETIC_MARKER).is_file()


def read(
    root: str | os.PathLike,
    *,
    strict: bool = True,
    excluded: list[Exclusion] | None = None,
) -> Iterator[Utterance]:
    """Reads every labelled turn, sorted by id, before the first one is handed out.

    Args:
      root: See `find_root`.
      strict: A missing session or class counts that differ from the full release's
        are errors; otherwise warnings. Synthetic trees are not counted.
      excluded: Gets one entry per turn left out: `missing wav`, `malformed label
        line`, `unknown label`.

    Raises:
      InputError: No IEMOCAP there; a duplicate id; with `strict`, see above.
    """
    folder = find_root(str(root))
    left_out: list[Exclusion] = []
    turns: dict[str, tuple[Utterance, Path]] = {}
    for name in _present_sessions(folder, strict=strict):
        for utterance, file in _read_session(folder / name, left_out):
            if utterance.id in turns:
                raise InputError(
                    f"turn {utterance.id} is labelled twice: in {turns[utterance.id][1]}"
                    f" and in {file}; expected one label line per turn. Remove one."
                )
            turns[utterance.id] = utterance, file
    if left_out:
        text = "IEMOCAP: %d labelled lines left out, first %s (%s)"
        logger = logging.getLogger(__name__)
        logger.warning(text, len(left_out), left_out[0].id, left_out[0].reason)
    if not turns:
        raise InputError(
            f"{folder} holds no usable turn: expected label files in "
            "Session*/dialog/EmoEvaluation and wavs in Session*/sentences/wav, got "
            f"{len(left_out)} labelled lines without one. Unpack the release again."
        )
    utterances = [turns[key][0] for key in sorted(turns)]
    if not is_synthetic(folder):
        check_counts(utterances, strict=strict)
    if excluded is not None:
        excluded.extend(left_out)
    return iter(utterances)


def _present_sessions(folder: Path, *, strict: bool) -> list[str]:
    present = [name for name in _SESSIONS if (folder / name).is_dir()]
    missing = [name for name in _SESSIONS if name not in present]
    if missing and strict and not is_synthetic(folder):
        raise InputError(
            f"{folder} lacks {', '.join(missing)}: expected Session1 ... Session5, got "
            f"{', '.join(present)}. Unpack all of the release, or go on with what is "
            "there by --config.data.strict=False."
        )
    return present


def _read_session(
    folder: Path, left_out: list[Exclusion]
) -> Iterator[tuple[Utterance, Path]]:
    texts = {}
    for file in _text_files(folder / "dialog" / "transcriptions"):
        texts.update(_transcript(file))
    for file in _text_files(folder / "dialog" / "EmoEvaluation"):
        for line, raters in _blocks(file):
            try:
                utterance = _parse(line, raters, folder, texts)
            except ValueError as error:
                name = f"{folder.name}/dialog/EmoEvaluation/{file.name}: {line.strip()}"
                left_out.append(Exclusion(name, "malformed label line", str(error)))
                continue
            if utterance.emotion not in LABELS:
                detail = f"expected one of {LABELS}, got {utterance.emotion!r}"
                left_out.append(Exclusion(utterance.id, "unknown label", detail))
            elif not os.path.isfile(utterance.wav):
                detail = f"expected {utterance.wav}, got no file"
                left_out.append(Exclusion(utterance.id, "missing wav", detail))
            else:
                yield utterance, file


def _text_files(folder: Path) -> list[Path]:
    """Sorted `.txt` files; not sub-folders (raters), not AppleDouble or .DS_Store."""
    if not folder.is_dir():
        return []
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix == ".txt" and not file.name.startswith(".") and file.is_file()
    )


def _transcript(file: Path) -> Iterator[tuple[str, str]]:
    """(Turn, text) of every turn that may have a label."""
    for line in file.read_text("utf-8", "replace").splitlines():
        head, bracket, text = line.partition("]:")  # the text may hold colons, too
        name = head.split(maxsplit=1)[0] if head.strip() else ""
        turn = name.rpartition("_")[2]
        # `M: ...` is a stray line; FXX0 and MXX0 are turns without label and wave.
        if bracket and name.startswith("Ses") and turn[1:3] != "XX":
            yield name, text.strip()


def _blocks(file: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Summary lines, each with the rater lines below it."""
    parsed: list[tuple[str, list[str]]] = []
    for line in file.read_text("utf-8", "replace").splitlines():
        if line.startswith("["):
            parsed.append((line, []))
        elif parsed and re.match(r"[CA]-\w+:", line):
            parsed[-1][1].append(_rater_label(line))
    for summary, raters in parsed:
        yield summary, tuple(raters)


def _rater_label(line: str) -> str:
    """`C-E2:<tab>Anger; Sadness;<tab>()` -> `C-E2: Anger; Sadness`."""
    rater, _, rest = line.partition(":")
    value, _, comment = rest.strip().partition("\t")
    label = "; ".join(" ".join(v.split()) for v in value.split(";") if v.strip())
    comment = comment.strip()
    return f"{rater}: {label}" + (f" {comment}" if comment not in ("", "()") else "")


def _numbers(field: str, separator: str, count: int) -> list[float]:
    if not (field.startswith("[") and field.endswith("]")):
        raise ValueError(f"expected [...], got {field!r}")
    values = [float(value) for value in field[1:-1].split(separator)]
    if len(values) != count or not all(map(math.isfinite, values)):
        raise ValueError(f"expected {count} numbers, got {field!r}")
    return values


def _parse(
    line: str, raters: tuple[str, ...], folder: Path, texts: dict[str, str]
) -> Utterance:
    """Raises ValueError if the summary line is not four fields divided by tabs."""
    fields = [field.strip() for field in line.strip().split("\t")]
    if len(fields) != 4:
        raise ValueError(f"expected 4 fields divided by tabs, got {len(fields)}")
    times, name, emotion, ratings = fields
    match = _UTTERANCE.fullmatch(name)
    if not match:
        raise ValueError(f"expected a turn like Ses01F_impro01_F000, got {name!r}")
    dialog, session, mocap_side, style, letter = match.groups()
    start_s, end_s = _numbers(times, " - ", 2)
    valence, activation, dominance = _numbers(ratings, ",", 3)
    return Utterance(
        id=name,
        wav=str(folder / "sentences" / "wav" / dialog / f"{name}.wav"),
        speaker=f"{session}{letter}",
        session=f"session{session}",
        emotion=emotion,
        text=texts.get(name, ""),
        start_s=start_s,
        end_s=end_s,
        gender=letter,
        language="en",
        dialog=dialog,
        style=_STYLES[style],
        mocap_side=mocap_side,
        valence=valence,
        activation=activation,
        dominance=dominance,
        rater_labels=raters,
    )


def check_counts(utterances: Iterable[Utterance], *, strict: bool) -> None:
    """Raises InputError, or warns if not `strict`, where class counts differ."""
    got = collections.Counter((u.style, u.session, u.emotion) for u in utterances)
    differences = [
        f"  {session} {style} {emotion}: expected {expected}, "
        f"got {got[style, session, emotion]}"
        for style, sessions in COUNTS.items()
        for session, row in sessions.items()
        for emotion, expected in zip(COUNTED, row, strict=True)
        if got[style, session, emotion] != expected
    ]
    if not differences:
        return
    shown, more = differences[:10], len(differences) - 10
    if more > 0:
        shown.append(f"  ... and {more} more")
    message = (
        "this IEMOCAP tree does not hold the published number of usable turns "
        "(labelled line with a wav):\n" + "\n".join(shown) + "\n"
        "An unchanged full release does. Unpack it again, or go on with what is there "
        "by --config.data.strict=False; scores are then not comparable."
    )
    if strict:
        raise InputError(message)
    warnings.warn(message, stacklevel=3)
