"""What a report says, before it is Markdown or HTML: titles, texts, tables, charts.

Texts may hold `code` and **strong** as in Markdown, nothing else; what comes from files
goes in by `code` or `plain`. A table's cell is shown as it is, or all of it is `code`.
"""

import dataclasses
import re
from collections.abc import Sequence

from ser_jax.report.charts import Chart


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
class Clip:
    """A table's cell that can be heard.

    Attributes:
      text: What stands there where nothing can be played.
      uri: `data:audio/...`; empty if the recording is not in the report.
      name: Of what is heard.
    """

    text: str
    uri: str = ""
    name: str = ""

    def __str__(self) -> str:
        return self.text


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; its first row is the header, its first column names the rows.

    Attributes:
      rows: Cells: `Clip`, or anything whose `str` is the text.
      caption: What is in it.
      words: How many columns, from the left, hold words; the others hold numbers.
      shades: For every row below the header, for every column a share in [0, 1] that
        colours the cell, or None; () colours nothing.
    """

    rows: Sequence[Sequence]
    caption: str
    words: int = 1
    shades: Sequence[Sequence[float | None]] = ()


@dataclasses.dataclass(frozen=True)
class Figure:
    """Charts beside each other.

    Attributes:
      charts: Drawn in HTML.
      caption: What they show.
      png: The picture that Markdown links to; empty where a table says the same.
    """

    charts: Sequence[Chart]
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
      tiles: The result as (name, value, what it is).
      sections: In order.
    """

    title: str
    banners: Sequence[str]
    headline: str
    tiles: Sequence[tuple[str, str, str]]
    sections: Sequence[Section]


def code(text) -> str:
    """A name as `code`, on one line whatever it holds."""
    return f"`{' '.join(str(text).replace('`', chr(39)).split())}`"


def plain(text) -> str:
    """A name whose marks are letters, on one line."""
    return re.sub(r"([\\`*\[\]])", r"\\\1", " ".join(str(text).split()))


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
