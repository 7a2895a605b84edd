"""Attention-based 3-D CNN: ACRNN without the recurrent layer.

Chen, Meiying: poster, University of Rochester; its convolutions are those of ACRNN
(Chen et al. 2018, see acrnn.py), its attention that of AFCN (Zhang et al. 2018).
"""

import jax.numpy as jnp
from flax import nnx

from ser_jax.layers.dense import scale_width
from ser_jax.layers.dropout import Dropout
from ser_jax.layers.pooling import AttentionPool
from ser_jax.models.acrnn import ConvSteps
from ser_jax.models.model import Batch, Embedding, TimeAttention


class Cnn3dAttn(TimeAttention, nnx.Module):
    """`ConvSteps`, attention over the steps, one dense layer.

    With a_i the vector of step i (768 features) and lambda = `attention_scale`:

        e_i = u . tanh(W a_i + b),   alpha = softmax_i(lambda e_i),   c = sum alpha_i a_i.

    The poster names neither activation nor norm; as in ACRNN's code the convolutions
    have LeakyReLU (0.01). Batch norm would not fit its 8,958,212 parameters, and
    "Linear-768" is read as linear. The width of W, not given either, is 768.

    Differs from the poster: padded frames are not attended to.
    """

    def __init__(self, config, *, input_shapes, num_classes, rngs: nnx.Rngs):
        self.steps = ConvSteps(config, input_shapes["frames"], rngs=rngs)
        self.attention = AttentionPool(
            self.steps.size,
            hidden=scale_width(config.attention_features, config.width),
            activation="tanh",
            scale=config.attention_scale,
            dtype=jnp.dtype(config.dtype),
            rngs=rngs,
        )
        self.dropout = Dropout(config.dropout)
        self.stride = config.pool[1]
        self.dense = nnx.Linear(self.steps.size, num_classes, rngs=rngs)

    def embed(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Embedding:
        """The attended vector c."""
        x = self.attention(*self.steps(batch)).astype(jnp.float32)
        return self.dropout(x, rngs=rngs)
