"""Markdown shows names as they are and lets none of them become HTML."""

from ser_jax.report import html, markdown
from ser_jax.report.document import (
    Cell,
    Document,
    Figure,
    Listing,
    Section,
    Table,
    code,
    plain,
)


def _render(*blocks):
    section = Section("s", "Title", blocks)
    return markdown.render(Document("T", [], "H", [], [section]))


def test_blocks_by_hand():
    text = _render(
        "**a** `b`",
        ["one", ("two", ["three"])],
        Table([("x", "y|z"), ("`q`", 3), (Cell("r", uri="data:,"), "4*")], "c"),
        Listing("run"),
        Figure("seen", png="figures/a.png"),
        Figure("only drawn", lambda: ["<svg>"]),
    )
    assert text == (
        "# T\n\nH\n\n## Title\n\n**a** `b`\n\n- one\n- two\n    - three\n\n"
        "| x | y\\|z |\n|---|---:|\n| `q` | 3 |\n| r | 4\\* |\n\n"
        "```\nrun\n```\n\n![seen](figures/a.png)\n"
    )


def test_a_name_s_marks_cannot_hide_what_follows():
    text = f"{plain('x`y')} <script> {code('z`<i>')}"
    assert _render(text).endswith("x\\`y &lt;script> `z'<i>`\n")
    assert html.inline(text) == "x`y &lt;script&gt; <code>z&#39;&lt;i&gt;</code>"
    assert plain("[a](b) **c**\n\\d") == "\\[a\\](b) \\*\\*c\\*\\* \\\\d"
