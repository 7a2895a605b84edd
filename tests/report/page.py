"""Reads a page as a reader without eyes does: tags, texts, tables."""

import html.parser

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(html.parser.HTMLParser):
    """A parsed page; raises where tags do not close in order.

    Attributes:
      tags: (name, attributes) of every start tag.
      tables: Per table its rows, per row its cells' texts, whitespace joined.
      captions: Of the tables.
      text: Everything written outside of style and script.
    """

    def __init__(self, source: str):
        super().__init__()
        self.tags, self.tables, self.captions = [], [], []
        self.scripts, self._open, self._words = [], [], []
        self.feed(source)
        self.close()
        assert not self._open, self._open
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in VOID:
            return
        self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "caption":
            self.captions.append("")
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "script" in self._open:
            self.scripts[-1] += data
        elif "style" not in self._open:
            self._words.append(data)
            if {"td", "th"} & set(self._open):
                row = self.tables[-1][-1]
                row[-1] = " ".join((row[-1] + data).split())
            elif "caption" in self._open:
                self.captions[-1] += data

    def named(self, tag: str) -> list[dict]:
        """Attributes of all tags of a name."""
        return [attributes for name, attributes in self.tags if name == tag]
