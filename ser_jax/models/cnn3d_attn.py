"""Attention-based 3-D CNN: ACRNN without the recurrent layer.

Chen, Meiying: poster, University of Rochester; its convolutions are those of ACRNN
(Chen et al. 2018, see acrnn.py), its attention that of AFCN (Zhang et al. 2018).
"""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from ser_jax.layers import attention_grid
from ser_jax.layers.dense import scale_width
from ser_jax.layers.pooling import AttentionPool
from ser_jax.models.acrnn import ConvSteps


class Cnn3dAttn(nnx.Module):
    """`ConvSteps`, attention over the steps, one dense layer.

    With a_i the vector of step i (768 features) and lambda = `attention_scale`:

        e_i = u . tanh(W a_i + b),   alpha = softmax_i(lambda e_i),   c = sum alpha_i a_i.

    lambda = 1 is the plain softmax; lambda = 0 the mean over the steps.

    The poster names neither activation nor norm; as in ACRNN's code the convolutions
    have LeakyReLU (0.01). Batch norm would not fit its 8,958,212 parameters, and
    "Linear-768" is read as linear. The width of W, not given either, is 768.

    Differs from the poster: padded frames are not attended to.
    """

    INPUTS = ("frames", "frame_mask")

    def __init__(
        self,
        config,
        *,
        input_shapes: Mapping[str, tuple[int, ...]],
        num_classes: int,
        rngs: nnx.Rngs,
    ):
        """Builds the network for one number of bands; any number of frames will do.

        Args:
            config: the `model` group; keys in configs/cnn3d_attn.py.
            input_shapes: `frames`: T, F, C.
            num_classes: K.
            rngs: stream `params`.

        Raises:
            ValueError: for an unknown mode or an input that pooling shrinks to nothing.
        """
        common = {"dtype": jnp.dtype(config.dtype), "rngs": rngs}
        self.steps = ConvSteps(config, input_shapes["frames"], **common)
        self.attention = AttentionPool(
            self.steps.size,
            hidden=scale_width(config.attention_features, config.width),
            activation="tanh",
            scale=config.attention_scale,
            **common,
        )
        self.dropout = nnx.Dropout(config.dropout)
        self.dense = nnx.Linear(self.steps.size, num_classes, rngs=rngs)

    def embed(
        self, batch: Mapping[str, Array], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "B D"]:
        """The attended vector c, which the dense layer reads; float32.

        Args:
            batch: `frames` float32 [B, T, F, C], `frame_mask` bool [B, T].
            rngs: stream `dropout`, needed in training with dropout.
        """
        steps, mask = self.steps(batch["frames"], batch["frame_mask"])
        x = self.attention(steps, mask).astype(jnp.float32)
        return self.dropout(x, rngs=rngs)

    def classify(self, embedding: Float[Array, "B D"]) -> Float[Array, "B K"]:
        """Class logits, float32."""
        return self.dense(embedding)

    def attention_maps(
        self, state: Mapping, batch: Mapping[str, Array]
    ) -> attention_grid.AttentionMaps:
        """What was attended to, as `time`: one weight per pooled time step.

        None with `attention_scale=0`, which is a mean.

        Args:
            state: what `nnx.capture(nnx.Intermediate)` received with `sow_maps` set.
            batch: the inputs it was received from.
        """
        if self.attention.scale == 0:
            return {}
        (weights,) = attention_grid.read_sown(state, "attention", "weights")
        shape = batch["frames"].shape
        return {"time": attention_grid.over_time(weights, shape, self.steps.stride)}

    def __call__(
        self, batch: Mapping[str, Array], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "B K"]:
        """Class logits of a batch (see `embed`)."""
        return self.classify(self.embed(batch, rngs=rngs))
