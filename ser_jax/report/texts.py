"""The report's fixed texts, by section of texts.toml."""

import tomllib
from importlib import resources

_FILE = resources.files(__package__).joinpath("texts.toml")
TEXTS = tomllib.loads(_FILE.read_text("utf-8"))
