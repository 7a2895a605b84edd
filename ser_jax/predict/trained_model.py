"""A trained workdir as something that answers: its checkpoint alone, no corpus."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from ser_jax import bucket, models
from ser_jax.errors import InputError
from ser_jax.features import recipe, segments
from ser_jax.models import MODELS
from ser_jax.predict import forward
from ser_jax.workdir import checkpoint, ensemble, files, sweep
from ser_jax.workdir import provenance as workdir_provenance
from ser_jax.workdir.config import as_config


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """The best epochs of all runs, and all that is needed to use them."""

    config: ConfigDict  # that it was trained with
    spec: recipe.Recipe  # its feature recipe
    classes: tuple[str, ...]  # K names, in the order of the probabilities
    # Of the model's inputs, without the batch axis; `frames`: T, F, C.
    input_shapes: Mapping[str, tuple[int, ...]]
    runs: tuple[tuple[str, int], ...]  # R times (fold, seed), in the weights' order
    # Per run `name`, `seed` and the utterance ids of `train`, `val` and `test`.
    folds: tuple[dict, ...]
    graphdef: nnx.GraphDef
    weights: Any  # {params, stats}, host arrays [R, ...]
    mean: np.ndarray  # float32 [R, F, C], of each run's training part
    std: np.ndarray  # likewise
    # What a reader of its answers should know: `workdir`, `model`, `corpus`,
    # `corpus_is_synthetic`, `protocol`, `selection`, `versions`, `git_commit`, `stamps`
    # (what every artefact must say), `ua` {mean, std}, `pooled_ua` (None before an
    # evaluation) and `run_ua` {(fold, seed): UA}.
    provenance: dict
    # What all runs share of a pretrained encoder inside of the model, on the device.
    pretrained: Any = dataclasses.field(default_factory=lambda: forward.NOTHING)

    def select_run(self, run: str) -> "TrainedModel":
        """One of the runs alone, by its `fold,seed`; InputError if there is none."""
        names = [f"{fold},{seed}" for fold, seed in self.runs]
        name = ",".join(part.strip() for part in run.rsplit(",", 1))
        if name not in names:
            raise InputError(f"--run: expected one of {' '.join(names)}; got {run!r}.")
        one = slice(names.index(name), names.index(name) + 1)
        return dataclasses.replace(
            self,
            runs=self.runs[one],
            folds=self.folds[one],
            weights=jax.tree.map(lambda x: x[one], self.weights),
            mean=self.mean[one],
            std=self.std[one],
        )

    def description(self) -> str:
        """One line for people: the model, its corpus, the runs that answer."""
        known = self.provenance
        runs = f"mean of {len(self.runs)} runs"
        if len(self.runs) == 1:
            runs = f"run {self.runs[0][0]}, seed {self.runs[0][1]}"
        stamps = "".join(f" [{stamp}]" for stamp in known["stamps"])
        return f"{known['model']} trained on {known['corpus']}, {runs}{stamps}"

    def run_weights(self, r: int) -> tuple[Any, np.ndarray, np.ndarray]:
        """(weights, mean, std) of run number r."""
        stacked = (self.weights, self.mean, self.std)
        weights, mean, std = jax.tree.map(lambda x: x[r], stacked)
        return weights | {"pretrained": self.pretrained}, mean, std

    def merge(self, weights) -> nnx.Module:
        """The model with one run's weights, for evaluation; also inside jit."""
        shared = {"pretrained": self.pretrained}
        return forward.merge(self.graphdef, **shared | weights)


def load(workdir, run: str = "") -> TrainedModel:
    """Reads the newest checkpoint of a workdir; never unpickles.

    Args:
      workdir: Folder, local or in a bucket.
      run: `fold,seed` of the one run to keep; empty: all.

    Raises:
      InputError: It has no checkpoint, none that can be read, one of a newer version
        or of another program, or no such run.
    """
    path = files.resolve(workdir)
    bucket.connect(str(path))
    stored = checkpoint.read_newest(path)
    if stored is None:
        ensemble.refuse(path)
        sweep.refuse(path)
        raise InputError(
            f"Expected a trained folder, with checkpoints, at {path}; there are none. "
            "Check --workdir."
        )
    try:
        trained = assemble(path, stored.arrays, stored.meta)
        if not all(map(_has_validated, stored.meta["records"])):
            raise InputError(
                f"Expected one validation or more of every run in {path}; got none "
                "of some. Repeat the training command: it goes on from there."
            )
    except InputError:  # a ValueError, but with a message of its own
        raise
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"Expected a checkpoint of this version of ser_jax in {path}; got one that "
            f"does not fit: {error}. Use the version that trained it, or train again."
        ) from error
    return trained.select_run(run) if run else trained


def _has_validated(record: dict) -> bool:
    """Whether a run, as its checkpoint tells of it, has a state that is kept."""
    return record.get("best_update", record.get("best_epoch")) > 0


def assemble(path, arrays: dict, meta: dict) -> TrainedModel:
    """Makes a trained model of the arrays and the meta of a checkpoint.

    Args:
      path: Where they come from, for messages; its results.json is read if there.
      arrays: By name.
      meta: Plain values: `config`, `classes`, `folds`, `versions`, `git_commit`,
        perhaps `input_shapes`.

    Raises:
      InputError: An array is missing or has another shape.
      KeyError, AttributeError, TypeError, ValueError: The meta is of another version.
    """
    config = as_config(meta["config"])
    if config.sweep is not None:
        raise InputError(
            f"Expected a trained workdir; {path} holds all points of a sweep. Name "
            f"{path.parent.parent}, which has those that were chosen."
        )
    config.encoder.weights = _place_of_encoder(path, config)
    _check_known(config, path)
    classes = tuple(meta["classes"])
    spec = recipe.recipe_of(config)
    frames = segments.window_frames(spec, config.segment.window_s)
    channels = config.data.channels or spec.num_channels
    shapes = {"frames": (frames, spec.num_bands, channels)}
    shapes |= {k: tuple(v) for k, v in meta.get("input_shapes", {}).items()}
    folds = tuple(meta["folds"])
    graphdef, weights, held = _weights(config, shapes, len(classes), len(folds), arrays)
    shape = (len(folds), *shapes["frames"][1:])
    return TrainedModel(
        config=config,
        spec=spec,
        classes=classes,
        input_shapes=shapes,
        runs=tuple((fold["name"], fold["seed"]) for fold in folds),
        folds=folds,
        graphdef=graphdef,
        weights=weights,
        mean=_array(arrays, "normalisation/mean", shape),
        std=_array(arrays, "normalisation/std", shape),
        provenance=workdir_provenance.describe(path, config, meta),
        pretrained=jax.device_put(models.held_weights(config, held)),
    )


def _place_of_encoder(path, config) -> str:
    """Where a workdir's encoder lies now: config.json knows if it has moved."""
    if not config.encoder.weights or not (path / files.CONFIG).exists():
        return config.encoder.weights
    stored = files.read_json(path / files.CONFIG)["config"]
    return stored["encoder"]["weights"]


def _check_known(config, path) -> None:
    for key, value, table in (
        ("model", config.model.name, MODELS),
        ("feature recipe", config.data.recipe, recipe.NAMES),
    ):
        if value not in table:
            raise InputError(
                f"Expected a {key} of {', '.join(table)}; {path} has {value!r}. It may "
                "be of a newer version: update ser_jax."
            )


def _weights(config, input_shapes, num_classes: int, num_runs: int, arrays: dict):
    """The model's definition, its stacked best {params, stats}, and what is held."""

    # Shapes alone: the model's own random weights would be thrown away.
    model = nnx.eval_shape(
        lambda: models.make(
            config,
            input_shapes=input_shapes,
            num_classes=num_classes,
            rngs=nnx.Rngs(0),
        )
    )
    graphdef, params, held, stats = nnx.split(model, nnx.Param, models.Pretrained, ...)
    like = {"best": {"params": params, "stats": stats}}

    # Names and shapes are the model's own, so another model's arrays are told apart.
    def stored(path, leaf) -> np.ndarray:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return _array(arrays, name, (num_runs, *leaf.shape))

    best = jax.tree_util.tree_map_with_path(stored, like)["best"]
    return graphdef, best, held


def _array(arrays: dict, name: str, shape: tuple[int, ...]) -> np.ndarray:
    got = arrays[name].shape if name in arrays else "no such array"
    if got != shape:
        raise InputError(
            f"Expected the array {name} of shape {shape} in the checkpoint; got {got}. "
            "It is of another model, other classes or another version: take the whole "
            "workdir."
        )
    return np.asarray(arrays[name])
