"""Descriptions of public corpora: `corpora.toml`, checked and typed. Pure Python."""

import dataclasses
import functools
import re
import tomllib
from collections.abc import Mapping
from importlib import resources


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
    emotion: Mapping[str, str]
    expected: Mapping[str, int]
    hours: float | None = None
    id: str = ""
    speaker: str = "{speaker}"
    female: tuple[str, ...] = ()
    male: tuple[str, ...] = ()
    codes: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    broken: Mapping[str, str] = dataclasses.field(default_factory=dict)
    warning: str = ""

    @property
    def variable(self) -> str:
        """The environment variable that names its folder."""
        return f"{self.name.upper()}_ROOT"

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
    return {name: _describe(name, tables[name]) for name in sorted(tables)}


def _describe(name: str, table: dict) -> Description:
    values = table | {"pattern": re.compile(table["pattern"])}
    for key in ("female", "male"):
        values[key] = tuple(table.get(key, ()))
    try:
        found = Description(name=name, **values)
    except TypeError as error:
        raise ValueError(f"corpora.toml, [{name}]: {error}") from error
    groups = found.pattern.groupindex.keys()
    wrong = {*found.codes} - groups
    if found.expected:  # not known of every corpus
        wrong |= {*found.emotion.values()} ^ {*found.expected}
    if wrong or not {"emotion"} <= groups:
        raise ValueError(
            f"corpora.toml, [{name}]: {sorted(wrong)} fit no group or label"
        )
    return found
