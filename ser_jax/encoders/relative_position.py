"""WavLM's gated relative position bias.

Source: Chen et al., WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack
Speech Processing, 2022 (arXiv 2110.13900), section IV-A.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

GATE_PARTS = 4  # a gate's projection is the sum of four


def buckets(distances: np.ndarray, num_buckets: int, max_distance: int) -> np.ndarray:
    """The bucket of each distance, in steps from query to key.

    The first half of the buckets is for keys at or before the query, the second for
    those behind it. Of a half's n buckets, n / 2 are for one distance each; the others
    widen by the same factor up to `max_distance`, and the last holds all beyond.
    """
    half = num_buckets // 2
    exact = half // 2
    size = np.abs(distances)
    # In float32, as the published weights were trained: a rounding is a bucket.
    ratio = np.log(np.maximum(size, exact).astype(np.float32) / np.float32(exact))
    ratio /= np.float32(np.log(max_distance / exact))
    wide = exact + (ratio * np.float32(half - exact)).astype(np.int32)
    near = np.where(size < exact, size, np.minimum(wide, half - 1))
    return near + half * (distances > 0)


def position_bias(
    embedding: Float[Array, "K H"], length: int, max_distance: int
) -> Float[Array, "H T T"]:
    """The bias of each head for a query (row) and a key (column) before the gates."""
    distances = np.arange(1 - length, length + 1)
    found = embedding[buckets(distances, embedding.shape[0], max_distance)].T
    # Copies of the 2T values one behind the other, read in rows of 2T - 1: each row
    # starts one step earlier. Its gradient is a sum, where a gather's scatters.
    rows = jnp.tile(found, (1, length))[:, : length * (2 * length - 1)]
    rows = rows.reshape(-1, length, 2 * length - 1)
    return rows[:, :, length - 1 :]


class PositionGate(nnx.Module):
    """What the bias is multiplied with, for each head and query.

    g = 2 + a (b w - 1), where a and b are sigmoids of projections and w is learned for
    each head: the paper's 1 + u + (1 - u) r w with the gates u = 1 - a and r = b.

    Differs from the paper: the gates read the layer's input, not the queries, as in the
    code that was released with the weights.
    """

    def __init__(self, num_heads: int, head_width: int, *, dtype, rngs: nnx.Rngs):
        """Makes the projection that all heads share, and w = 1."""
        self.project = nnx.Linear(head_width, 2 * GATE_PARTS, dtype=dtype, rngs=rngs)
        self.head_weight = nnx.Param(jnp.ones((1, num_heads, 1, 1)))

    def __call__(self, x: Float[Array, "B T H D"]) -> Float[Array, "B H T 1"]:
        """Gates in float32, of the layer's input split among the heads."""
        parts = self.project(x).astype(jnp.float32)
        parts = parts.reshape(*x.shape[:-1], 2, GATE_PARTS).sum(axis=-1)
        first, second = jnp.split(jax.nn.sigmoid(parts).swapaxes(1, 2), 2, axis=-1)
        return first * (second * self.head_weight[...] - 1) + 2
