"""What the tests of single models have in common."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def random_batch(valid, shape, seed=0):
    """Noise of `shape` (T, F, C), padded with zeros behind `valid` frames each."""
    frames = np.random.default_rng(seed).normal(size=(len(valid), *shape))
    mask = np.arange(shape[0]) < np.array(valid)[:, None]
    frames = np.where(mask[:, :, None, None], frames, 0).astype(np.float32)
    return {"frames": jnp.asarray(frames), "frame_mask": jnp.asarray(mask)}


@nnx.jit
def answer(model, inputs, rngs=None):
    """The model's logits, compiled as one."""
    return model(inputs, rngs=rngs)


def count(model):
    """Trained parameters."""
    return sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))


def check_trains_and_evaluates(model, inputs, classes):
    """Finite float32 logits in training and evaluation, the latter repeatable."""
    model.train()
    noisy = answer(model, inputs, nnx.Rngs(dropout=1))
    model.eval()
    logits = answer(model, inputs)
    assert logits.shape == (len(inputs["frames"]), classes)
    assert logits.dtype == jnp.float32
    assert np.all(np.isfinite(noisy)) and np.all(np.isfinite(logits))
    np.testing.assert_array_equal(logits, answer(model, inputs))
