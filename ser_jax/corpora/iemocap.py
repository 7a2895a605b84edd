"""IEMOCAP as released (Busso et al., 2008): one folder per session.

    <root>/Session1 ... Session5/
        dialog/EmoEvaluation/<dialog>.txt       labels; sub-folders hold single raters
        dialog/transcriptions/<dialog>.txt
        sentences/wav/<dialog>/<utterance>.wav  16 kHz

`<dialog>` is `Ses01F_impro05a` or `Ses01F_script01_1b`: the letter after the session
is the actor who wears the motion-capture markers. The speaker of a turn is the letter
after the last underscore (`Ses01F_impro05a_M003` is spoken by 1M).
"""

import collections
import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from ser_jax.corpora import iemocap_lines
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError

# `xxx`: the raters found no majority. Kept, so that dropping it is the user's choice.
LABELS = ("neu", "hap", "exc", "sad", "ang", "fru", "sur", "fea", "dis", "oth", "xxx")
SYNTHETIC_MARKER = "DEMO.json"  # at the root of a tree that is not the real corpus

_SESSIONS = tuple(f"Session{n}" for n in range(1, 6))

# style -> session -> turns of the five emotions that published systems use, as EmoBox
# lists them: 5531 turns, 7.5 h.
_COUNTED = LABELS[:5]
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


def find_root(root: str) -> Path:
    """Finds the folder that holds `Session1` ... `Session5`, or raises InputError.

    It is `root` (or, if empty, `$IEMOCAP_ROOT`) or the `IEMOCAP_full_release` in it.
    """
    root = root or os.environ.get("IEMOCAP_ROOT", "")
    if not root:
        raise InputError(_how_to_get("nowhere: data.root and IEMOCAP_ROOT are empty"))
    folder = Path(root).expanduser().absolute()
    for candidate in (folder, folder / "IEMOCAP_full_release"):
        if any((candidate / name).is_dir() for name in _SESSIONS):
            return candidate
    kind = "" if folder.is_dir() else ", which is not a folder"
    where = f"in {folder} (and its sub-folder IEMOCAP_full_release){kind}"
    raise InputError(_how_to_get(where))


def _how_to_get(looked: str) -> str:
    return (
        "IEMOCAP was not found.\n"
        f"  looked for: the folders Session1 ... Session5; looked {looked}\n"
        "  obtain it: the corpus is licensed, free for research; fill in the release "
        "form on the IEMOCAP page of the USC SAIL lab, https://sail.usc.edu/iemocap/\n"
        "  point to it: --config.data.root=/path/to/IEMOCAP_full_release or the "
        "environment variable IEMOCAP_ROOT\n"
        "  or try everything on synthetic speech first: "
        "python run.py --config=configs/area_attn.py:demo"
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

    Returns:
      Utterances with the raw label, one of `LABELS`.

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
        logging.getLogger(__name__).warning(
            "IEMOCAP: %d labelled lines left out, first %s (%s)",
            *(len(left_out), left_out[0].id, left_out[0].reason),
        )
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
    for file in iemocap_lines.text_files(folder / "dialog" / "transcriptions"):
        texts.update(iemocap_lines.transcript(file))
    for file in iemocap_lines.text_files(folder / "dialog" / "EmoEvaluation"):
        for line, raters in iemocap_lines.blocks(file):
            try:
                utterance = iemocap_lines.parse(line, raters, folder, texts)
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


def check_counts(utterances: Iterable[Utterance], *, strict: bool) -> None:
    """Raises InputError, or warns if not `strict`, where class counts differ."""
    got = collections.Counter((u.style, u.session, u.emotion) for u in utterances)
    differences = [
        f"  {session} {style} {emotion}: expected {expected}, "
        f"got {got[style, session, emotion]}"
        for style, sessions in COUNTS.items()
        for session, row in sessions.items()
        for emotion, expected in zip(_COUNTED, row, strict=True)
        if got[style, session, emotion] != expected
    ]
    if not differences:
        return
    shown = differences[:10]
    if len(differences) > len(shown):
        shown.append(f"  ... and {len(differences) - len(shown)} more")
    message = (
        "this IEMOCAP tree does not hold the published number of usable turns "
        "(labelled line with a wav):\n" + "\n".join(shown) + "\n"
        "An unchanged full release does. Unpack it again, or go on with what is there "
        "by --config.data.strict=False; scores are then not comparable."
    )
    if strict:
        raise InputError(message)
    warnings.warn(message, stacklevel=3)
