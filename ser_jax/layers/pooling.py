"""Pools a sequence, part of which is padding, into one vector."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers.options import check_mode

SCORE_ACTIVATIONS = {"sigmoid": nnx.sigmoid, "tanh": jnp.tanh, "relu": nnx.relu}


def masked_softmax(
    scores: Float[Array, "*B L"], mask: Bool[Array, "*#B L"]
) -> Float[Array, "*B L"]:
    """Softmax over the last axis, in float32; 0 where the mask is False.

    A row without a valid entry gives zeros, and its gradient is zero.
    """
    lowest = jnp.finfo(jnp.float32).min
    scores = jnp.where(mask, scores.astype(jnp.float32), lowest)
    highest = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    # Masked twice: before `exp`, so that it cannot overflow, and after it. One `where`
    # behind the `exp` would leave inf * 0 = NaN in the gradient.
    terms = jnp.where(mask, jnp.exp(scores - highest), 0)
    total = terms.sum(axis=-1, keepdims=True)
    return terms / jnp.where(total > 0, total, 1)


class AttentionPool(nnx.Module):
    """Weighs the steps of a sequence by a learned score and adds them up.

        e_l = u . act(W x_l + b),   a = softmax(scale * e),   out = sum_l a_l x_l

    and `e_l = u . x_l` for `activation="none"`. Sources: Zhang et al., Attention Based
    Fully Convolutional Network, APSIPA 2018 (arXiv 1806.01506): tanh, scale 0.3;
    Chen et al., 3-D ACRNN, IEEE SPL 25(10) 2018: no hidden layer, its released code a
    sigmoid with one hidden unit. A map is pooled over all its cells by flattening it.
    With `sow_maps` set it sows `weights`: [B, L].
    """

    def __init__(
        self,
        features_in: int,
        *,
        hidden: int,
        activation: str,
        scale: float = 1.0,
        combine: str = "sum",
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Makes W, b and u (u has no bias: it would cancel in the softmax).

        Args:
            hidden: rows of W; 0 for `activation="none"`, which has no hidden layer.
            activation: `none`, `sigmoid`, `tanh` or `relu`.
            scale: factor on the scores; 1 = plain softmax, towards 0 = averaging.
            combine: `sum`, or `mean`: the sum divided by the number of valid steps.

        Raises a ValueError for an unknown mode, or a `hidden` that does not fit it.
        """
        check_mode("activation", activation, ("none", *SCORE_ACTIVATIONS))
        check_mode("combine", combine, ("sum", "mean"))
        plain = activation == "none"
        if plain != (hidden == 0):
            raise ValueError(
                f"hidden: expected {'0' if plain else 'at least 1'} with "
                f"activation={activation!r}, got {hidden}"
            )
        self.hidden = nnx.data(None)
        if not plain:
            self.hidden = nnx.Linear(features_in, hidden, dtype=dtype, rngs=rngs)
        self.score = nnx.Linear(
            features_in if plain else hidden, 1, use_bias=False, dtype=dtype, rngs=rngs
        )
        self.activation, self.scale, self.combine = activation, scale, combine
        self.sow_maps = False

    def __call__(
        self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"]
    ) -> Float[Array, "B D"]:
        """Returns one vector per sequence; zeros where no step is valid."""
        x = jnp.where(mask[..., None], x, 0)
        scores = x
        if self.hidden is not None:
            scores = SCORE_ACTIVATIONS[self.activation](self.hidden(x))
        weights = masked_softmax(self.scale * self.score(scores)[..., 0], mask)
        if self.sow_maps:
            self.sow(nnx.Intermediate, "weights", weights)
        if self.combine == "mean":
            weights = weights / jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
        return jnp.einsum("bl,bld->bd", weights.astype(x.dtype), x)


def statistics(
    x: Float[Array, "B L D"], mask: Bool[Array, "B L"]
) -> dict[str, Float[Array, "B D"]]:
    """`max`, `mean` and `std` (population) over the valid steps; zeros without any.

    The statistics pooling unit of MSCNN-SPU (Peng, Lu, Pan, Liu, ICASSP 2021, arXiv
    2106.04133). Computed in float32, returned in x's dtype.
    """
    cells, some = mask[..., None], mask.any(axis=1)[:, None]
    values = jnp.where(cells, x.astype(jnp.float32), 0)
    count = jnp.maximum(mask.sum(axis=1), 1)[:, None]
    mean = values.sum(axis=1) / count
    spread = jnp.where(cells, values - mean[:, None], 0)
    # 1e-8: the root of a constant sequence would have no gradient.
    std = jnp.sqrt(jnp.square(spread).sum(axis=1) / count + 1e-8)
    highest = jnp.where(cells, values, jnp.finfo(jnp.float32).min).max(axis=1)
    results = {"max": highest, "mean": mean, "std": std}
    return {k: jnp.where(some, v, 0).astype(x.dtype) for k, v in results.items()}


def cross_weights(
    query: Float[Array, "B *Q D"],
    keys: Float[Array, "B L D"],
    mask: Bool[Array, "B L"],
) -> Float[Array, "B Q L"]:
    """softmax_l(q . k_l) in float32, arguments as in `cross_attention`."""
    flat = query.reshape(query.shape[0], -1, query.shape[-1])
    keys = jnp.where(mask[..., None], keys, 0)
    scores = jnp.einsum("bqd,bld->bql", flat, keys, preferred_element_type=jnp.float32)
    return masked_softmax(scores, mask[:, None])


def cross_attention(
    query: Float[Array, "B *Q D"],
    keys: Float[Array, "B L D"],
    mask: Bool[Array, "B L"],
) -> Float[Array, "B *Q D"]:
    """Reads a sequence with queries from elsewhere: softmax_l(q . k_l) k_l.

    The attention of MSCNN-SPU-ATT (Peng et al., ICASSP 2021): keys are the values, no
    weight matrices, no scale. An example without a valid step reads zeros.
    """
    keys = jnp.where(mask[..., None], keys, 0)
    weights = cross_weights(query, keys, mask).astype(keys.dtype)
    return jnp.einsum("bql,bld->bqd", weights, keys).reshape(query.shape)
