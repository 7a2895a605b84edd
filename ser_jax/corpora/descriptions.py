"""Descriptions of public corpora: `corpora.toml`, checked and typed. Pure Python."""

import dataclasses
import functools
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources


@dataclasses.dataclass(frozen=True)
class Table:
    """A table to join the recordings with; the fields are explained in `corpora.toml`."""

    file: re.Pattern
    key: str
    match: str
    fields: Mapping[str, str]
    example: str = ""
    format: str = "csv"


@dataclasses.dataclass(frozen=True)
class Description:
    """What is known of a corpus; the fields are explained in `corpora.toml`."""

    name: str
    title: str
    language: str
    licence: str
    source: str
    cite: str
    pattern: re.Pattern
    example: str
    speakers: int
    emotion: Mapping[str, str]
    expected: Mapping[str, int]
    hours: float = 0.0
    id: str = ""
    speaker: str = "{speaker}"
    female: tuple[str, ...] = ()
    male: tuple[str, ...] = ()
    codes: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    broken: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    warning: str = ""

    @property
    def variable(self) -> str:
        """The environment variable that names its folder."""
        return f"{self.name.upper()}_ROOT"

    @property
    def label_table(self) -> Table | None:
        """The table that has the labels, if the file names do not."""
        if "emotion" in self.pattern.groupindex:
            return None
        return next(table for table in self.tables if "emotion" in table.fields)

    @property
    def utterances(self) -> int:
        """How many were published, without the broken ones; 0 if that is unknown."""
        return sum(self.expected.values())


@functools.cache
def load() -> dict[str, Description]:
    """All descriptions by name, sorted.

    Raises:
      ValueError: A table lacks a field, has one that nobody knows, or contradicts itself:
        an error of the package, not of a user.
    """
    text = resources.files(__package__).joinpath("corpora.toml").read_text("utf-8")
    tables = tomllib.loads(text)
    return {name: _describe(name, tables) for name in sorted(tables)}


def warnings(names: Iterable[str]) -> list[str]:
    """What scores on these corpora mean, of those that have a warning."""
    found = [about for name, about in load().items() if name in names]
    return [f"{about.title}: {about.warning}." for about in found if about.warning]


def _describe(name: str, tables: dict[str, dict]) -> Description:
    table = tables[name]
    table = tables.get(table.pop("like", ""), {}) | table
    values = table | {"pattern": re.compile(table["pattern"])}
    for key in ("female", "male"):
        values[key] = tuple(table.get(key, ()))
    values.setdefault("speakers", len(values["female"] + values["male"]))
    try:
        values["tables"] = tuple(
            Table(**x | {"file": re.compile(x["file"])})
            for x in table.get("tables", ())
        )
        found = Description(name=name, **values)
    except TypeError as error:
        raise ValueError(f"corpora.toml, [{name}]: {error}") from error
    groups = {*found.pattern.groupindex}.union(*(x.fields for x in found.tables))
    wrong = {*found.codes} - groups
    if found.expected:  # not known of every corpus
        wrong |= {*found.emotion.values()} ^ {*found.expected}
    if wrong or not {"emotion"} <= groups:
        raise ValueError(
            f"corpora.toml, [{name}]: {sorted(wrong)} fit no group or label"
        )
    return found
