"""A document as one HTML page that needs nothing but itself.

The page forbids its own network: its policy lets it load `data:` sounds and run the one
script whose hash it names. Everything that comes from files is escaped by the template.
"""

import base64
import functools
import hashlib
import re
from importlib import resources

import jinja2
from markupsafe import Markup, escape

from ser_jax.report.charts import WIDTH
from ser_jax.report.document import Clip, Document

# A letter behind a backslash, `code`, **strong**.
_MARKS = re.compile(r"\\([\\`*\[\]])|`([^`]*)`|\*\*(.+?)\*\*")


def render(document: Document) -> str:
    """The whole page."""
    style, script = _file("report.css"), _file("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; media-src data:; img-src data:; "
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return _template().render(
        document=document,
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        width=WIDTH,
    )


def inline(text: str) -> Markup:
    """`code` and **strong** of a text as HTML, all else escaped."""
    parts, end = [], 0
    for found in _MARKS.finditer(text):
        parts += [escape(text[end : found.start()]), _mark(found)]
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])


def cell(value) -> Markup:
    """A cell of a table: all of it `code`, or as it is."""
    found = re.fullmatch("`([^`]*)`", str(value))
    return Markup("<code>{}</code>").format(found[1]) if found else escape(value)


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["inline"] = inline
    environment.filters["cell"] = cell
    environment.filters["points"] = _points
    environment.tests["clip"] = lambda cell: isinstance(cell, Clip)
    environment.tests["pair"] = lambda item: isinstance(item, tuple)
    environment.filters["kind"] = lambda block: type(block).__name__
    return environment.get_template("report.html.jinja")


def _mark(found: re.Match) -> Markup:
    letter, code, strong = found.groups()
    if letter is not None:
        return escape(letter)
    if code is not None:
        return Markup("<code>{}</code>").format(code)
    return Markup("<strong>{}</strong>").format(inline(strong))


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _points(points) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
