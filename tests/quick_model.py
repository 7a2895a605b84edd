"""A model that compiles in a second, for tests of training that need no real one."""

import jax.numpy as jnp
from flax import nnx

from ser_jax.models import MODELS
from ser_jax.models.model import FRAMES, DenseOutput


class QuickModel(DenseOutput, nnx.Module):
    """Means over what is valid, batch norm, dropout, one dense layer.

    It has all that a step keeps: parameters, statistics and randomness. Classes that
    differ in their mean spectrum or their words are within its reach.
    """

    INPUTS = (*FRAMES, "words", "word_mask", "speaker_embedding")

    def __init__(self, config, *, input_shapes, num_classes, rngs):
        _, bands, channels = input_shapes["frames"]
        width = bands * channels
        width += input_shapes.get("words", (0, 0))[1]
        width += input_shapes.get("speaker_embedding", (0,))[0]
        self.dtype = jnp.dtype(config.dtype)
        # A short memory: trainings have a dozen steps.
        self.norm = nnx.BatchNorm(width, momentum=0.5, dtype=self.dtype, rngs=rngs)
        self.dropout = nnx.Dropout(0.2)
        self.dense = nnx.Linear(width, num_classes, rngs=rngs)

    def embed(self, batch, *, rngs=None):
        frames = batch["frames"]
        parts = [_mean(frames.reshape(*frames.shape[:2], -1), batch["frame_mask"])]
        if "words" in batch:
            parts.append(_mean(batch["words"], batch["word_mask"]))
        if "speaker_embedding" in batch:
            parts.append(batch["speaker_embedding"])
        x = self.norm(jnp.concatenate(parts, axis=-1).astype(self.dtype))
        return self.dropout(x.astype(jnp.float32), rngs=rngs)


def _mean(x, mask):
    """Of the valid rows of [B, L, D]; 0 if there is none."""
    total = jnp.where(mask[..., None], x, 0).sum(axis=1)
    return total / jnp.maximum(mask.sum(axis=1), 1)[:, None]


def replace(monkeypatch, name: str) -> None:
    """Puts the quick model in the place of a system's."""
    monkeypatch.setitem(MODELS, name, QuickModel)
