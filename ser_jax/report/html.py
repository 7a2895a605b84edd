"""A document as one HTML page that needs nothing but itself.

The page forbids its own network: its policy lets it load `data:` sounds and run the one
script whose hash it names. The template escapes everything that comes from files;
figures arrive as elements, escaped by `figures.svg`.
"""

import base64
import hashlib
import re
from importlib import resources

import jinja2
from markupsafe import Markup, escape

from ser_jax.report.document import Document

# A letter behind a backslash, `code`, **strong**.
_MARKS = re.compile(r"\\([\\`*\[\]])|`([^`]*)`|\*\*(.+?)\*\*")


def render(document: Document) -> str:
    """The whole page."""
    style, script = _file("report.css"), _file("report.js")
    # A name from a file that got past the escaping could still not run or load.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; media-src data:; img-src data:; "
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,  # a wrong field fails, not an empty page
    )
    environment.filters |= {"inline": inline, "cell": cell}
    return environment.get_template("report.html.jinja").render(
        document=document, policy=policy, style=Markup(style), script=Markup(script)
    )


def inline(text: str) -> Markup:
    """`code` and **strong** of a text as HTML, all else escaped."""
    # Escaping neither makes nor hides a mark.
    return Markup(_MARKS.sub(_tag, str(escape(text))))


def _tag(mark: re.Match) -> str:
    letter, code, strong = mark.groups()
    if strong is not None:
        return f"<strong>{_MARKS.sub(_tag, strong)}</strong>"
    return letter if code is None else f"<code>{code}</code>"


def cell(value) -> Markup:
    """A cell of a table: all of it `code`, or as it is."""
    match = re.fullmatch("`([^`]*)`", str(value))
    return Markup("<code>{}</code>").format(match[1]) if match else escape(value)


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
