"""What a report says, before it is Markdown or HTML: titles, texts, tables, figures.

Texts may hold `code` and **strong** as in Markdown, nothing else; what comes from files
goes in through `code` or `plain`. A cell is shown as it is, or all of it is `code`.
"""

import dataclasses
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from importlib import resources

from ser_jax.terminal import printable

# The report's fixed texts, by section.
TEXTS = tomllib.loads(
    resources.files(__package__).joinpath("texts.toml").read_text("utf-8")
)


@dataclasses.dataclass(frozen=True)
class Listing:
    """A command or a file's content, shown as it is."""

    text: str


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell that HTML shows in another way than as plain text."""

    text: str
    share: float | None = None  # in [0, 1], colours the cell; None colours nothing
    uri: str = ""  # `data:audio/...`, to be played instead of the text
    name: str = ""  # of the recording

    def __str__(self) -> str:
        return self.text


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; its first row is the header, its first column names the rows."""

    rows: Sequence[Sequence]  # of `Cell`, or of anything whose `str` is the text
    caption: str
    words: int = 1  # columns of words, from the left; the others hold numbers


@dataclasses.dataclass(frozen=True)
class Figure:
    """Charts side by side in HTML, a linked file in Markdown."""

    caption: str
    draw: Callable[[], Sequence[str]] | None = None  # `<svg>` elements (`figures.svg`)
    png: str = ""  # empty where a table says the same


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    id: str  # the anchor
    title: str
    # A `str` is a paragraph, a `list` a list, of texts or (text, list below it); the
    # others are classes of this file.
    blocks: Sequence


@dataclasses.dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    banners: Sequence[str]  # warnings that stand above everything
    headline: str  # the result in a sentence
    tiles: Sequence[tuple[str, str, str]]  # the result as (name, value, explanation)
    sections: Sequence[Section]


def code(text) -> str:
    """A name as `code`, on one line whatever it holds."""
    # A backtick cannot be escaped inside of code.
    return f"`{_on_one_line(text).replace('`', chr(39))}`"


def plain(text) -> str:
    """A name on one line, in which the marks of Markdown are letters."""
    return re.sub(r"([\\`*\[\]])", r"\\\1", _on_one_line(text))


def _on_one_line(text) -> str:
    return printable(" ".join(str(text).split()))


def plural(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def span(values: Iterable[float], spec: str = "") -> str:
    """`3 to 8`, or `3` where the least and the greatest read the same."""
    ends = sorted(values)
    low, high = f"{ends[0]:{spec}}", f"{ends[-1]:{spec}}"
    return low if low == high else f"{low} to {high}"
