"""The systems' training steps, each on one random batch: what the benchmarks time.

The step is the real one, `ser_jax.training.step.make_train_step`; instead of tables it
is given a batch that lies on the device.
"""

import dataclasses
import importlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ser_jax.data.batches import Index
from ser_jax.features.segments import window_frames
from ser_jax.features.spec import RECIPES
from ser_jax.models import MODELS
from ser_jax.training import losses, optim, state
from ser_jax.training.state import Constants, TrainState
from ser_jax.training.step import make_train_step

# The most wanted first.
SYSTEMS = ("area_attn", "asrnn", "adrnn", "adsrnn", "acrnn", "cnn3d_attn")
SYSTEMS += ("head_fusion", "mscnn_spu", "afcn")
CLASSES = 4
TURN_S = 4.5  # IEMOCAP's mean, for systems that read whole turns
WORD_VALUES = 300  # of the vectors of `mscnn_spu`
# Frames and bands of a quick batch; AlexNet and four pools need more than a few.
QUICK = {"area_attn": (25, 32), "afcn": (64, 64), "head_fusion": (32, 26)}


@dataclasses.dataclass(frozen=True)
class Case:
    """One system at one size.

    Attributes:
      config: Of the system.
      inputs: What the model reads, float32: `frames` [B, T, F, C] and, if the config
        has text, `words` [B, L, E]. Nothing of it is padding.
      label: int32 [B].
    """

    config: object
    inputs: dict[str, np.ndarray]
    label: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """T, F, C of a window."""
        return self.inputs["frames"].shape[1:]

    def cut(self, examples: int, *, dropout: bool) -> "Case":
        """The same system with fewer examples, with or without dropout."""
        config = self.config.copy_and_resolve_references()
        if not dropout:
            for key in config.model:
                if key.endswith("dropout"):
                    config.model[key] = 0.0
        inputs = {name: array[:examples] for name, array in self.inputs.items()}
        return Case(config, inputs, self.label[:examples])


def case_of(system: str, *, quick: bool, dtype: str = "float32") -> Case:
    """A random batch for a system's config, of its own size.

    Args:
      system: Its name, or with a preset of its config: `area_attn:emodb`.
      quick: Narrow, short, few.
      dtype: Of the model's activations.
    """
    name, _, preset = system.partition(":")
    config = importlib.import_module(f"configs.{name}").get_config(preset)
    config = config.copy_and_resolve_references()
    config.model.dtype = dtype
    spec, batch = RECIPES[config.data.recipe], config.train.batch_size
    seconds, bands = config.segment.window_s, spec.num_bands
    if config.segment.rule == "whole":
        seconds = min(seconds, TURN_S)
    frames = window_frames(spec, seconds)
    if quick:
        config.model.width, batch = 0.125, 4
        frames, bands = QUICK.get(name, (60, 8))
    rng = np.random.default_rng(0)
    shapes = {"frames": (frames, bands, config.data.channels)}
    if config.data.text != "none":
        shapes["words"] = (config.data.max_words, WORD_VALUES)
    inputs = {
        name: rng.standard_normal((batch, *shape), np.float32)
        for name, shape in shapes.items()
    }
    return Case(config, inputs, rng.integers(0, CLASSES, batch, np.int32))


def our_model(case: Case) -> nnx.Module:
    """Our network with its first parameters."""
    return MODELS[case.config.model.name](
        case.config.model,
        input_shapes={name: array.shape[1:] for name, array in case.inputs.items()},
        num_classes=CLASSES,
        rngs=nnx.Rngs(0),
    )


def our_state(case: Case) -> tuple[nnx.GraphDef, TrainState]:
    """Our network at step 0, with all that its training carries."""
    train, centers = case.config.train, None
    model = our_model(case)
    if train.center_weight:
        model.eval()  # needs no dropout keys
        width = jax.eval_shape(model.embed, our_inputs(case)[0]).shape[-1]
        centers = jnp.zeros((CLASSES, width))
    optimizer = optim.make_optimizer(train)
    return state.create(model, optimizer, centers, averaged=train.ema_decay > 0)


def our_train_step(case: Case, graphdef: nnx.GraphDef, **options) -> Callable:
    """The real step; instead of tables it is given the batch."""
    return make_train_step(graphdef, case.config, lambda batch, *_: batch, **options)


def our_inputs(case: Case) -> tuple[dict, Index, Constants]:
    """The batch, its labels and what the run keeps fixed, on the device."""
    count = len(case.label)
    numbers = np.zeros(count, np.int32)
    ones = np.ones(case.shape[1:], np.float32)
    index = Index(
        numbers,
        numbers,
        numbers + case.shape[0],
        case.label,
        np.ones(count, np.float32),
    )
    constants = Constants(
        0 * ones,
        ones,
        np.ones(CLASSES, np.float32),
        np.int32(100),
        np.uint32(0),
    )
    masks = {
        name.removesuffix("s") + "_mask": np.ones(array.shape[:2], bool)
        for name, array in case.inputs.items()
    }
    smoothing = case.config.train.label_smoothing
    targets = losses.soft_targets(case.label, CLASSES, smoothing)
    batch = {**case.inputs, **masks, "targets": targets}
    return jax.device_put((batch, index, constants))
