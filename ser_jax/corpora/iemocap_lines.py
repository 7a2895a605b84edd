"""The text files inside an IEMOCAP session: label files and transcripts.

A label file has a header beginning with `%`, then blocks: a summary line
`[start - end]<tab>turn<tab>label<tab>[valence, activation, dominance]` and one line per
rater (`C-E2:` a category, `A-E3:` attributes; `E` is an evaluator, `F` and `M` are the
actors themselves). A transcript has `turn [start-end]: text` lines.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path

from ser_jax.corpora.utterance import Utterance

_UTTERANCE = re.compile(r"(Ses0([1-5])([FM])_(impro|script)\w*)_([FM])\d+")
_STYLES = {"impro": "improvised", "script": "scripted"}


def text_files(folder: Path) -> list[Path]:
    """Sorted `.txt` files; not sub-folders (raters), not AppleDouble or .DS_Store."""
    if not folder.is_dir():
        return []
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix == ".txt" and not file.name.startswith(".") and file.is_file()
    )


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").splitlines()


def transcript(file: Path) -> Iterator[tuple[str, str]]:
    """(Turn, text) of every turn that may have a label."""
    for line in _lines(file):
        head, bracket, text = line.partition("]:")  # the text may hold colons, too
        name = head.split(maxsplit=1)[0] if head.strip() else ""
        turn = name.rpartition("_")[2]
        # `M: ...` is a stray line; FXX0 and MXX0 are turns without label and wave.
        if bracket and name.startswith("Ses") and turn[1:3] != "XX":
            yield name, text.strip()


def blocks(file: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Summary lines, each with the rater lines below it."""
    parsed: list[tuple[str, list[str]]] = []
    for line in _lines(file):
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


def parse(
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
