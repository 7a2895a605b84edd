"""What the tests of models have in common: small models without Flax's slow start."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ser_jax.models import MODELS

# Compiling is most of these tests' time; LLVM need not try hard.
fast_jit = functools.partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)


def abstract_of(config, shapes, classes=3):
    """The model of a `model` group without values: for shapes, counts and refusals."""
    model = MODELS[config.name]
    return nnx.eval_shape(
        lambda: model(
            config, input_shapes=shapes, num_classes=classes, rngs=nnx.Rngs(0)
        )
    )


def abstract(name, shapes, classes=3, preset="", **changes):
    """The same of a system's preset with other values.

    `shapes` is that of the frames (T, F, C), or a dictionary of all inputs'.
    """
    config = importlib.import_module(f"configs.{name}").get_config(preset).model
    config.update(changes)
    shapes = shapes if isinstance(shapes, dict) else {"frames": shapes}
    return abstract_of(config, shapes, classes)


def filled(model, seed=0):
    """An abstract model with He kernels, random biases and fresh batch statistics.

    Flax's own start compiles a program per shape.
    """
    rng = np.random.default_rng(seed)

    def parameter(path, x):
        if "scale" in jax.tree_util.keystr(path):
            return jnp.ones(x.shape, x.dtype)
        scale = np.sqrt(2 / np.prod(x.shape[:-1])) if x.ndim > 1 else 0.3
        return jnp.asarray(scale * rng.normal(size=x.shape), x.dtype)

    def statistic(path, x):
        return jnp.full(x.shape, "var" in jax.tree_util.keystr(path), x.dtype)

    graphdef, statistics, weights = nnx.split(model, nnx.BatchStat, ...)
    statistics = jax.tree_util.tree_map_with_path(statistic, statistics)
    weights = jax.tree_util.tree_map_with_path(parameter, weights)
    return nnx.merge(graphdef, statistics, weights)


def build(name, shapes, classes=3, preset="", seed=0, **changes):
    """A system's model with random values, in evaluation mode."""
    model = filled(abstract(name, shapes, classes, preset, **changes), seed)
    model.eval()
    return model


def random_batch(valid, shape, seed=0):
    """Noise of `shape` (T, F, C), padded with zeros behind `valid` frames each."""
    frames = np.random.default_rng(seed).normal(size=(len(valid), *shape))
    mask = np.arange(shape[0]) < np.array(valid)[:, None]
    frames = np.where(mask[:, :, None, None], frames, 0).astype(np.float32)
    return {"frames": jnp.asarray(frames), "frame_mask": jnp.asarray(mask)}


@functools.partial(fast_jit, static_argnums=(0, 1))
def _run(graphdef, method, state, args):
    return getattr(nnx.merge(graphdef, state), method)(*args)


def run(model, method, *args):
    """A method of the model, compiled as one."""
    graphdef, state = nnx.split(model)
    return _run(graphdef, method, state, args)


def answer(model, inputs):
    """The model's logits, compiled as one."""
    return run(model, "__call__", inputs)


def sown(model, inputs):
    """What the model sows in a call with `sow_maps`."""
    model.set_attributes(sow_maps=True)
    graphdef, state = nnx.split(model)

    @fast_jit
    def call(state):
        model = nnx.merge(graphdef, state)
        capture = nnx.capture(nnx.Intermediate)(lambda model: model(inputs))
        return nnx.to_pure_dict(capture(model)[1])

    return call(state)


def count(model):
    """Trained parameters."""
    return sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))


def check_trains_and_evaluates(model, inputs):
    """Finite float32 logits in training and evaluation."""
    graphdef, state = nnx.split(model)

    @fast_jit
    def both(state):
        noisy, calm = nnx.merge(graphdef, state), nnx.merge(graphdef, state)
        noisy.train()
        calm.eval()
        return noisy(inputs, rngs=nnx.Rngs(dropout=1)), calm(inputs)

    for logits in both(state):
        assert logits.shape[0] == len(inputs["frames"]) and logits.ndim == 2
        assert logits.dtype == jnp.float32 and np.all(np.isfinite(logits))


def check_gradients(model, inputs):
    """Finite gradients of something that every logit is in, and some of every kernel."""
    model.train()
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    @fast_jit
    @jax.grad
    def gradients(params):
        merged = nnx.merge(graphdef, params, rest, copy=True)
        return jnp.square(merged(inputs, rngs=nnx.Rngs(dropout=1))).sum()

    for path, grad in jax.tree_util.tree_leaves_with_path(gradients(params)):
        assert np.all(np.isfinite(grad))
        if "kernel" in jax.tree_util.keystr(path):
            assert np.any(grad != 0), f"{path} gets no gradient"
