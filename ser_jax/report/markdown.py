"""A document as Markdown."""

import re

from ser_jax.report.document import Document, Figure, Listing, Table, plain


def render(document: Document) -> str:
    """The whole text; pictures are linked relative to the file."""
    parts = [f"# {_inline(plain(document.title))}"]
    parts += [f"> {_inline(banner)}" for banner in document.banners]
    parts.append(_inline(document.headline))
    for section in document.sections:
        parts.append(f"## {section.title}")
        parts += filter(None, map(_block, section.blocks))
    return "\n\n".join(parts) + "\n"


def _block(block) -> str:
    match block:
        case str():
            return _inline(block)
        case list():
            return "\n".join(_items(block, ""))
        case Table():
            return _table(block)
        case Figure(png=png):
            return f"![{_inline(block.caption)}]({png})" if png else ""
        case Listing(text):
            # A fence must be longer than any run of backticks inside it.
            longest = max(map(len, re.findall("`+", text)), default=0)
            fence = "`" * max(3, longest + 1)
            return f"{fence}\n{text}\n{fence}"
    raise TypeError(f"expected a block of ser_jax.report.document, got {block!r}")


def _items(items, indent):
    for item in items:
        text, below = item if isinstance(item, tuple) else (item, ())
        yield f"{indent}- {_inline(text)}"
        yield from _items(below, indent + "    ")


def _table(table: Table) -> str:
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    rule = ["---"] * table.words + ["---:"] * (len(rows[0]) - table.words)
    return "\n".join([lines[0], "|" + "|".join(rule) + "|", *lines[1:]])


def _cell(cell) -> str:
    text = str(cell)
    text = text if re.fullmatch("`[^`]*`", text) else plain(text)
    return _inline(text).replace("|", "\\|")


def _inline(text: str) -> str:
    """Markdown passes HTML on, so names from files must not hold any."""
    parts = re.split(r"((?<!\\)`[^`]*`)", text)
    # Code is shown as it is; only what stands outside of it could be a tag.
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "".join(parts)
