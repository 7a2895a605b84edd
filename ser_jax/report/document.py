"""What a report says, before it is Markdown or HTML: titles, texts, tables, figures.

Texts may hold `code` and **strong** as in Markdown, nothing else; what comes from files
goes in through `code` or `plain`. A cell is shown as it is, or all of it is `code`.
"""

import dataclasses
import re
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclasses.dataclass(frozen=True)
class Items:
    """A list; an item is a text, or a text with a list of its own."""

    items: Sequence


@dataclasses.dataclass(frozen=True)
class Listing:
    """A command or a file's content, shown as it is."""

    text: str


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell that HTML shows in another way than as plain text.

    Attributes:
      text: What it says.
      share: In [0, 1], colours the cell; None colours nothing.
      uri: `data:audio/...`, to be played instead of the text; or empty.
      name: Of the recording.
    """

    text: str
    share: float | None = None
    uri: str = ""
    name: str = ""

    def __str__(self) -> str:
        return self.text


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; its first row is the header, its first column names the rows.

    Attributes:
      rows: Cells: `Cell`, or anything whose `str` is the text.
      caption: What is in it.
      words: How many columns, from the left, hold words; the others hold numbers.
    """

    rows: Sequence[Sequence]
    caption: str
    words: int = 1


@dataclasses.dataclass(frozen=True)
class Figure:
    """Charts side by side.

    Attributes:
      svgs: `<svg>` elements (`figures.svg`), in HTML only.
      caption: What they show.
      png: The file that Markdown links to; empty where a table says the same.
    """

    svgs: Sequence[str]
    caption: str
    png: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and what stands under it; `id` is its anchor."""

    id: str
    title: str
    blocks: Sequence


@dataclasses.dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
      title: Of the page.
      banners: Warnings that stand above everything.
      headline: The result in a sentence.
      tiles: The result as (name, value, explanation).
      sections: In order.
    """

    title: str
    banners: Sequence[str]
    headline: str
    tiles: Sequence[tuple[str, str, str]]
    sections: Sequence[Section]


def code(text) -> str:
    """A name as `code`, on one line whatever it holds."""
    # A backtick cannot be escaped inside of code.
    return f"`{' '.join(str(text).replace('`', chr(39)).split())}`"


def plain(text) -> str:
    """A name on one line, in which the marks of Markdown are letters."""
    return re.sub(r"([\\`*\[\]])", r"\\\1", " ".join(str(text).split()))


def plural(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
