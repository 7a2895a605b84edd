"""A document as text for a terminal: short, without pictures."""

import re

from tabulate import SEPARATING_LINE, tabulate

from ser_jax.report.document import Document, Figure, Listing, Table, plural

MOST_ROWS = 40
MOST_ITEMS = 5


def render(document: Document) -> str:
    """The whole text; long tables and lists end with how much there is beyond."""
    parts = [_bare(document.title)]
    parts += [f"warning: {_bare(banner)}" for banner in document.banners]
    parts.append(_bare(document.headline))
    for section in document.sections:
        parts.append(section.title.upper())
        parts += filter(None, map(block, section.blocks))
    return "\n\n".join(parts)


def table(rows, words: int = 1) -> str:
    """A table whose first `words` columns are left-aligned; its first row is a header."""
    head, *body = [[_cell(cell) for cell in row] for row in rows]
    # tabulate pads what it is told are headers.
    text = tabulate(
        [head, SEPARATING_LINE, *body],
        tablefmt="simple",
        colalign=["left"] * words + ["right"] * (len(head) - words),
        disable_numparse=True,  # speaker 03 is not 3
    )
    _, *lines, _ = text.splitlines()  # without rules around it
    return "\n".join(line.rstrip() for line in lines)


def block(value) -> str:
    """A block of a section; empty for a figure."""
    match value:
        case str():
            return _bare(value)
        case list():
            return "\n".join(_items(value, ""))
        case Table(rows=rows):
            # One row more takes no more room than saying so.
            cut = rows[: MOST_ROWS + 1] if len(rows) > MOST_ROWS + 2 else rows
            more = len(rows) - len(cut)
            note = f"\n... and {plural(more, 'row')} more" if more else ""
            return f"{_bare(value.caption)}:\n{table(cut, value.words)}{note}"
        case Listing(text):
            return text
        case Figure():
            return ""
    raise TypeError(f"expected a block of ser_jax.report.document, got {value!r}")


def _items(items, indent):
    for item in items[: MOST_ITEMS if indent else None]:
        text, below = item if isinstance(item, tuple) else (item, ())
        yield f"{indent}{_bare(text)}"
        yield from _items(below, indent + "  ")
    if indent and len(items) > MOST_ITEMS:
        yield f"{indent}..."


def _cell(cell) -> str:
    text = str(cell)
    return text[1:-1] if re.fullmatch("`[^`]*`", text) else text


def _bare(text: str) -> str:
    """Without the marks of `code` and **strong**."""
    text = re.sub(r"(?<!\\)`([^`]*)`|\*\*(.+?)\*\*", lambda m: m[1] or m[2] or "", text)
    return re.sub(r"\\([\\`*\[\]])", r"\1", text)
