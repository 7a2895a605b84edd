"""A model's folder as the Hugging Face hub has it: `config.json`, `*.safetensors`.

Needs no JAX.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser_jax.errors import InputError, first_line

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"

# Names of activations that encoders may have.
ACTIVATIONS = ("gelu", "gelu_new", "relu")
# A model with a head keeps the encoder under one of these names.
PREFIXES = ("model.", "wav2vec2.", "hubert.", "wavlm.")
# PyTorch's two spellings of weight norm; the older one is ours.
SPELLINGS = {
    ".parametrizations.weight.original0": ".weight_g",
    ".parametrizations.weight.original1": ".weight_v",
}
POINTER = b"version https://git-lfs"


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json`.

    Raises:
        InputError: It is missing or no JSON object.
    """
    return _read_json(folder / CONFIG)


def read_preprocessor(folder: Path) -> dict[str, Any] | None:
    """`preprocessor_config.json`, which says how a wave is prepared; None without it.

    Raises:
        InputError: It is no JSON object.
    """
    path = folder / PREPROCESSOR
    return _read_json(path) if path.exists() else None


def config_value(config: Mapping[str, Any], key: str) -> int:
    """A size from `config.json`.

    Raises:
        InputError: It is missing or no positive integer.
    """
    value = config.get(key)
    if type(value) is not int or value < 1:
        raise InputError(
            f"Expected {key} in {CONFIG} to be a positive integer; got {value!r}; "
            "download the file again."
        )
    return value


def config_choice(config: Mapping[str, Any], key: str, allowed: Sequence[Any]) -> Any:
    """An option from `config.json`; the first of those allowed if it is not there.

    Raises:
        InputError: It is another one.
    """
    value = config.get(key, allowed[0])
    if value not in allowed:
        choices = " or ".join(json.dumps(choice) for choice in allowed)
        raise InputError(
            f"Expected {key} in {CONFIG} to be {choices}; got {json.dumps(value)}; take "
            "another model."
        )
    return value


def read_tensors(folder: Path) -> Mapping[str, np.ndarray]:
    """The tensors of `model.safetensors` or of its shards; each is read when asked for.

    Names lose what a model with a head puts before them, and weight norm is spelt
    `weight_g`, `weight_v`.

    Raises:
        InputError: A file is missing, damaged or a git-lfs pointer, or weights are
            there as a pickle only.
    """
    if (folder / INDEX).is_file():
        index = _read_json(folder / INDEX)
        names = index.get("weight_map")
        if not isinstance(names, dict) or not names:
            raise InputError(
                f"Expected a weight_map in {folder / INDEX}; got none; download the "
                "file again."
            )
        return _Tensors([folder / str(name) for name in sorted(set(names.values()))])
    if not (folder / WEIGHTS).is_file() and (folder / "pytorch_model.bin").is_file():
        raise InputError(
            f"Expected {WEIGHTS} in {folder}; got pytorch_model.bin, a pickle, which is "
            "not read; convert it with transformers: "
            "AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)."
        )
    return _Tensors([folder / WEIGHTS])


def require_file(path: Path) -> None:
    """Raises InputError if a file is missing or a git-lfs pointer."""
    if not path.is_file():
        raise InputError(
            f"Expected {path.name} in {path.parent}; got none; download the whole "
            "folder again."
        )
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise InputError(
                f"Expected weights in {path}; got a git-lfs pointer to them; run "
                "`git lfs pull` in that folder."
            )


class _Tensors(Mapping):
    """The tensors of some files, under their plain names."""

    def __init__(self, paths: list[Path]):
        # Models need no more than JAX and Flax unless they load weights.
        from safetensors import SafetensorError, safe_open

        self._found = {}
        for path in paths:
            require_file(path)
            try:
                file = safe_open(path, framework="numpy")
            except SafetensorError as error:
                raise InputError(
                    f"Expected a whole safetensors file at {path}; got one cut off or "
                    f"damaged ({first_line(error)}); download it again."
                ) from error
            names = file.keys()  # the file itself is no mapping
            self._found |= {_plain(name): (file, name) for name in names}

    def __getitem__(self, name: str) -> np.ndarray:
        file, stored = self._found[name]
        return file.get_tensor(stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _plain(name: str) -> str:
    """A tensor's name without prefix, weight norm in the older spelling."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    for new, old in SPELLINGS.items():
        name = name.replace(new, old)
    return name


def _read_json(path: Path) -> dict[str, Any]:
    require_file(path)
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        found = first_line(error)
    if not isinstance(found, dict):
        raise InputError(
            f"Expected a JSON object in {path}; got none ({str(found)[:100]}); "
            "download the file again."
        )
    return found
