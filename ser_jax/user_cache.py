"""Where what can be made again is kept for one user."""

import os
from pathlib import Path


def folder(name: str) -> Path:
    """`~/.cache/ser_jax/<name>`; XDG_CACHE_HOME moves it. It may not exist yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ser_jax" / name
