"""A document as Markdown."""

import functools
import re

from ser_jax.report.document import Document, Figure, Items, Listing, Table, Text, plain


def render(document: Document) -> str:
    """The whole text; pictures are linked relative to the file."""
    parts = [f"# {_inline(plain(document.title))}"]
    parts += [f"> {_inline(banner)}" for banner in document.banners]
    parts.append(_inline(document.headline))
    for section in document.sections:
        parts.append(f"## {section.title}")
        parts += filter(None, map(_block, section.blocks))
    return "\n\n".join(parts) + "\n"


@functools.singledispatch
def _block(block) -> str:
    raise TypeError(f"expected a block of ser_jax.report.document, got {block!r}")


@_block.register
def _(block: Text) -> str:
    return _inline(block.text)


@_block.register
def _(block: Listing) -> str:
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
    return f"{ticks}\n{block.text}\n{ticks}"


@_block.register
def _(block: Figure) -> str:
    return f"![{_inline(block.caption)}]({block.png})" if block.png else ""


@_block.register
def _(block: Items) -> str:
    return "\n".join(_items(block.items, ""))


@_block.register
def _(block: Table) -> str:
    clean = [[_cell(cell) for cell in row] for row in block.rows]
    lines = ["| " + " | ".join(row) + " |" for row in clean]
    numbers = len(clean[0]) - block.words
    rule = ["---"] * block.words + ["---:"] * numbers
    return "\n".join([lines[0], "|" + "|".join(rule) + "|", *lines[1:]])


def _items(items, indent):
    for item in items:
        text, below = item if isinstance(item, tuple) else (item, ())
        yield f"{indent}- {_inline(text)}"
        yield from _items(below, indent + "    ")


def _cell(cell) -> str:
    text = str(cell)
    text = text if re.fullmatch("`[^`]*`", text) else plain(text)
    return _inline(text).replace("|", "\\|")


def _inline(text: str) -> str:
    """Names from files must not become HTML where Markdown allows it."""
    parts = re.split(r"((?<!\\)`[^`]*`)", text)
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "".join(parts)
