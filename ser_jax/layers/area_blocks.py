"""Queries in blocks whose logits stay in cache, with the cells that they look at."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# One block of logits; several temporaries of this size should fit in the cache. An
# accelerator hides memory by parallelism instead and wants few, large kernels.
BLOCK_BYTES = {"cpu": 1 << 20}
ACCELERATOR_BLOCK_BYTES = 1 << 28


def product(form: str, a: Array, b: Array) -> Array:
    """An einsum in float32."""
    return jnp.einsum(form, a, b, preferred_element_type=jnp.float32)


class Block(NamedTuple):
    """Some queries of some examples, all their cells on one axis, M = H W.

    Attributes:
        at: the first example, the first query.
        shape: B and N of the whole.
        query: [b, n, D].
        key: [b, M, D].
        value: [b, M, V].
        mask: bool [b, M]; None = all valid.
    """

    at: tuple
    shape: tuple[int, int]
    query: Array
    key: Array
    value: Array
    mask: Array | None

    def logits(self) -> Float[Array, "b M n"]:
        return product("bmd,bnd->bmn", self.key, self.query)


class Blocks:
    """The whole in G groups of b examples, each in Q blocks of n queries."""

    def __init__(self, query, key, value, mask):
        self.shape = batch, queries = query.shape[:2]
        cells = key.shape[1] * key.shape[2]
        self.examples, self.length = _block_shape(batch, cells, queries)
        self.query = self.cut(query)
        self.cells = jax.tree.map(
            lambda x: x.reshape(-1, self.examples, cells, *x.shape[3:]),
            (key, value, mask),
        )

    def cut(self, x: Float[Array, "B N D"]) -> Float[Array, "G Q b n D"]:
        """Blocks of queries, the last one filled up with zeros."""
        short = -self.shape[1] % self.length
        x = jnp.pad(x, ((0, 0), (0, short), (0, 0))) if short else x
        x = x.reshape(
            -1, self.examples, x.shape[1] // self.length, self.length, x.shape[2]
        )
        return jnp.swapaxes(x, 1, 2)

    def joined(self, parts: Float[Array, "G Q b n D"]) -> Float[Array, "B N D"]:
        """Undoes `cut`."""
        x = jnp.swapaxes(parts, 1, 2)
        return x.reshape(self.shape[0], -1, x.shape[-1])[:, : self.shape[1]]

    def over(self, block: Callable, *more, summed: tuple = ()):
        """Runs (Block, *parts of `more`) -> (results, sums) over all blocks.

        Args:
            block: what is done.
            more: arrays [G, Q, ...] that are handed over part by part.
            summed: what the sums are shaped like, [B, ...].

        Returns:
            The results, [G, Q, ...]; the sums of an example's blocks, [G, b, M, ...].
        """
        groups, along = self.query.shape[:2]

        def group(number, cells, query, more):
            def step(sums, row):
                at = number * self.examples, row[0] * self.length
                x = Block(at, self.shape, row[1], *cells)
                results, added = block(x, *row[2])
                return jax.tree.map(jnp.add, sums, added), results

            start = tuple(zeros_like(x) for x in cells[: len(summed)])
            rows = jnp.arange(along), query, more
            return _scan(step, start, rows)

        sums, results = _scan(
            lambda _, row: ((), group(*row)),
            (),
            (jnp.arange(groups), self.cells, self.query, more),
        )[1]
        return results, sums


def _scan(step: Callable, start, rows):
    """`jax.lax.scan`, without a loop where there is only one step."""
    if len(rows[0]) > 1:
        return jax.lax.scan(step, start, rows)
    end, result = step(start, jax.tree.map(lambda x: x[0], rows))
    return end, jax.tree.map(lambda x: x[None], result)


def zeros_like(x: Array) -> Array:
    """float32 zeros that vary over the mesh axes of x: shard_map wants it of a loop."""
    return jnp.where(False, x, 0).astype(jnp.float32)


def _block_shape(batch: int, cells: int, queries: int) -> tuple[int, int]:
    """Examples and queries of one block."""
    if jax.config.jax_disable_jit:  # a loop would be written out, block by block
        return batch, queries
    limit = BLOCK_BYTES.get(jax.default_backend(), ACCELERATOR_BLOCK_BYTES)
    fit = max(1, limit // (4 * cells))
    if fit >= queries:
        most = min(batch, fit // queries)
        return max(n for n in range(1, most + 1) if batch % n == 0), queries
    # As equal as possible, of whole vectors of 16 floats.
    blocks = -(-queries // fit)
    return 1, min(queries, -(-queries // blocks // 16) * 16)
