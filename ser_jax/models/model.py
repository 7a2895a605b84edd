"""The contract that every model keeps, and the few lines that models share."""

from collections.abc import Mapping
from typing import Protocol

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers import attention_grid
from ser_jax.layers.attention_grid import AttentionMaps

Batch = Mapping[str, Array]
Shapes = Mapping[str, tuple[int, ...]]
Embedding = Float[Array, "B D"]
Logits = Float[Array, "B K"]
Steps = tuple[Float[Array, "B S D"], Bool[Array, "B S"]]  # vectors, which are valid

FRAMES = ("frames", "frame_mask")


class Model(Protocol):
    """An `nnx.Module` from a batch of utterances (or their segments) to class logits.

    A model knows nothing of folds, losses or optimisers. `train()` and `eval()` switch
    dropout and batch norm. Whatever stands in padded frames and words is ignored, in
    the statistics of batch norm too, and in evaluation the logits of one example do
    not depend on the other examples of its batch.

    """

    # What it reads of a batch, where the batch has it: `frames` float32 [B, T, F, C],
    # `frame_mask` bool [B, T], `words` float32 [B, L, E], `word_mask` bool [B, L],
    # `speaker_embedding` float32 [B, X]. Masks are True where a frame or word is valid;
    # padding comes last.
    INPUTS: tuple[str, ...]

    def __init__(
        self, config, *, input_shapes: Shapes, num_classes: int, rngs: nnx.Rngs
    ):
        """Builds the network; later inputs may have any number of frames and words.

        Args:
            config: the `model` group; its keys are in configs/NAME.py.
            input_shapes: of one example: `frames` (T, F, C), and if the batches have
                them `words` (L, E) and `speaker_embedding` (X,).
            num_classes: K.
            rngs: stream `params`.

        Raises:
            ValueError: for an unknown mode, or an input too small for the network.
        """

    def embed(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Embedding:
        """The last hidden vector, which `classify` reads; float32.

        Args:
            batch: arrays named by `INPUTS`.
            rngs: stream `dropout`, needed in training if the model has dropout.
        """

    def classify(self, embedding: Embedding) -> Logits:
        """Class logits, float32."""

    def __call__(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Logits:
        """Class logits of a batch: `classify(embed(batch, rngs=rngs))`."""

    def attention_maps(self, state: nnx.State, batch: Batch) -> AttentionMaps:
        """Attention in cells of the input, by name; {} if the model has none.

        Args:
            state: what `nnx.capture(nnx.Intermediate)` collected in a call with
                `sow_maps` set (`model.set_attributes(sow_maps=True)`).
            batch: the inputs of that call.
        """


class DenseOutput:
    """Mixin of models that read frames alone and classify by the layer `dense`."""

    INPUTS = FRAMES

    def classify(self, embedding: Embedding) -> Logits:
        """Class logits, float32."""
        return self.dense(embedding)

    def __call__(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Logits:
        """Class logits of a batch."""
        return self.classify(self.embed(batch, rngs=rngs))


class TimeAttention(DenseOutput):
    """Mixin of models with an `AttentionPool` over time, `attention`.

    A step of it stands for `stride` frames.
    """

    def attention_maps(self, state: nnx.State, batch: Batch) -> AttentionMaps:
        """`time`: one weight per pooled time step; none of a mean (scale 0)."""
        if self.attention.scale == 0:  # a mean prefers no step
            return {}
        (weights,) = attention_grid.read_sown(state, "attention", "weights")
        return attention_grid.over_time(weights, batch["frames"], self.stride)


def frame_map(batch: Batch) -> tuple[Float[Array, "B F T C"], Bool[Array, "B T"]]:
    """The frames as a map of bands x frames, 0 in the padding, and their mask."""
    mask = batch["frame_mask"]
    x = jnp.where(mask[:, :, None, None], batch["frames"], 0)
    return jnp.swapaxes(x, 1, 2), mask
