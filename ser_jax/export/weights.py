"""Weights alone, as a `.safetensors` file that any framework reads, and back.

Arrays have the names of the model's parts and their runs first: `conv1a/conv/kernel`
is [R, h, w, C, D]. `normalisation/mean` and `normalisation/std` [R, F, C] belong to
them. The file's metadata holds, as JSON, `config`, `classes`, `folds` and the rest of
what a checkpoint says, so that `read` needs nothing else.
"""

import json
import re
from pathlib import Path

import jax
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath

from ser_jax.errors import InputError, first_line
from ser_jax.predict import trained_model
from ser_jax.predict.trained_model import TrainedModel

FORMAT = "1"
_PROVENANCE = ("versions", "git_commit", "stamps")
_META = ("config", "classes", "folds", "input_shapes", *_PROVENANCE)


def named_arrays(trained: TrainedModel) -> dict[str, np.ndarray]:
    """Weights and normalisation, by the names of the file."""
    arrays = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(trained.weights)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        # "params/dense/bias/value" -> "dense/bias"
        arrays[name.split("/", 1)[1].removesuffix("/value")] = np.asarray(leaf)
    return arrays | {
        "normalisation/mean": np.asarray(trained.mean),
        "normalisation/std": np.asarray(trained.std),
    }


def to_bytes(trained: TrainedModel) -> bytes:
    """The content of the file."""
    meta = {
        "config": _shareable(trained.config),
        "classes": trained.classes,
        # A run's name is enough; who spoke in it stays in the workdir.
        "folds": [{"name": name, "seed": seed} for name, seed in trained.runs],
        "input_shapes": dict(trained.input_shapes),
        **{key: trained.provenance[key] for key in _PROVENANCE},
    }
    text = {key: json.dumps(value) for key, value in meta.items()}
    arrays = {k: np.ascontiguousarray(x) for k, x in named_arrays(trained).items()}
    return safetensors.numpy.save(arrays, {"ser_jax_weights": FORMAT, **text})


def _shareable(config) -> dict:
    """The config without folders of the machine that trained it."""
    plain = config.to_dict()
    data = plain["data"]
    data["root"] = data["tfds_dir"] = data["cache_dir"] = ""
    data["manifest"] = "/".join(Path(data["manifest"]).parts[-2:])
    for key in ("word_vectors", "speaker_embeddings"):
        data[key] = Path(data[key]).name
    return plain


def read(path) -> TrainedModel:
    """Reads a file of `to_bytes`, local or `gs://`; nothing in it is executed.

    Raises:
      InputError: The file is not there, is none of these, or an array is missing, too
        many, or of another shape or type than the model of the file's config has.
    """
    path = epath.Path(path).expanduser()
    arrays, meta = _read_file(path)
    checkpoint = dict(arrays)
    for name, array in arrays.items():  # a file does not tell params from stats
        for part in ("params", "stats"):
            checkpoint[f"best/{part}/{name}/value"] = array
    try:
        trained = trained_model.assemble(path, checkpoint, meta)
    except InputError as error:  # speaks of a checkpoint and of its names
        problem = re.sub(r"best/(params|stats)/(\S+)/value", r"\2", str(error))
        raise InputError(f"{path} as a checkpoint: {problem}") from error
    except Exception as error:
        raise InputError(
            f"Expected weights of this version of ser_jax in {path}; got a config or "
            f"classes that do not fit: {first_line(error)}."
        ) from error
    expected = named_arrays(trained)
    problems = [f"also {name}" for name in sorted(set(arrays) - set(expected))]
    for name in sorted(expected):
        if arrays[name].dtype != np.float32:
            problems.append(f"{name} {arrays[name].dtype}")
    if problems:
        raise InputError(
            f"Expected {len(expected)} float32 arrays of {trained.config.model.name} "
            f"in {path}; got {problems[0]}. Take the file as `export` wrote it."
        )
    return trained


def _read_file(path) -> tuple[dict[str, np.ndarray], dict]:
    try:
        content = path.read_bytes()
        arrays = safetensors.numpy.load(content)
        # The library reads metadata from local files alone: a length, then JSON.
        size = int.from_bytes(content[:8], "little")
        text = json.loads(content[8 : 8 + size]).get("__metadata__", {})
        version = text.get("ser_jax_weights")
        meta = {key: json.loads(text[key]) for key in _META if key in text}
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        raise InputError(
            f"Expected a .safetensors file of ser_jax at {path}; got "
            f"{first_line(error)}."
        ) from error
    if version != FORMAT or len(meta) < len(_META):
        raise InputError(
            f"Expected weights of ser_jax, format {FORMAT}, in {path}; got "
            f"{'those of another program' if version is None else f'format {version}'}"
            ". Use the version of ser_jax that wrote it."
        )
    return arrays, meta
