"""Area attention without areas: mean keys with sum or mean values.

With mean keys the logit of an area is the mean of its cells' logits, and with sum
values the output is the cell values weighted by the total weight of all areas that
cover each cell. So only L = K Q^T is pooled, size by size, and the weights are pushed
back to the cells by the adjoint pooling; no area key or value exists, and memory does
not depend on the number of sizes.

`Blocks` splits the batch into blocks of queries whose logits stay in cache; a sweep
(`area_sweep` in plain JAX, `area_kernel` in one GPU kernel) visits the areas of one.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ser_jax.layers import area_kernel, area_sweep
from ser_jax.layers import area_pooling as pooling
from ser_jax.layers.area_sweep import Areas, Block, zeros_like

IMPLEMENTATIONS = ("xla", "pallas")
# One block of logits; several temporaries of this size should fit in the cache. An
# accelerator hides memory by parallelism instead and wants few, large kernels.
BLOCK_BYTES = {"cpu": 1 << 20}
ACCELERATOR_BLOCK_BYTES = 1 << 28


def product(form: str, a: Array, b: Array) -> Array:
    """An einsum in float32."""
    return jnp.einsum(form, a, b, preferred_element_type=jnp.float32)


# Autodiff would store the weights of every area of every size.
@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def attend(
    query: Float[Array, "B N D"],
    key: Float[Array, "B H W D"],
    value: Float[Array, "B H W V"],
    mask: Bool[Array, "B H W"] | None,
    seeds: Array | None,
    areas: Areas,
) -> Float[Array, "B N V"]:
    """Area attention with mean keys and sum or mean values.

    Queries are already scaled; `mask=None`: all cells are valid; `seeds` are those of
    `area_sweep.area_seeds`, None without dropout.
    """
    return _forward(query, key, value, mask, seeds, areas)[0]


def cell_weights(
    query: Float[Array, "B N D"],
    key: Float[Array, "B H W D"],
    mask: Bool[Array, "B H W"] | None,
    areas: Areas,
) -> Float[Array, "B H W N"]:
    """Total weight of the areas covering each cell, per query; float32, no gradient."""
    blocks = Blocks(query, key, key, mask, None)

    def block(x: Block):
        weights, _ = _weights(x, areas)
        return jnp.swapaxes(weights, 1, 2), ()

    weights = blocks.join(blocks.map(block)[0])
    return jnp.swapaxes(weights, 1, 2).reshape(len(key), *areas.grid, -1)


def _forward(query, key, value, mask, seeds, areas):
    blocks = Blocks(query, key, value, mask, seeds)

    def block(x: Block):
        weights, log_total = _weights(x, areas)
        out = jnp.einsum("bmv,bmn->bvn", x.value, weights.astype(value.dtype))
        return (jnp.swapaxes(out, 1, 2), weights, log_total), ()

    out, *stored = blocks.map(block)[0]
    out = blocks.join(out)
    return out, (query, key, value, mask, seeds, out, stored)


def _backward(areas, residuals, grad):
    query, key, value, mask, seeds, out, stored = residuals
    blocks = Blocks(query, key, value, mask, seeds)
    # The softmax's gradient needs sum_A p_A dp_A, which is out . d out: so no area
    # weight is stored, each is computed again from its logit and the normaliser.
    inner = product("bnv,bnv->bn", out, grad)[..., None]

    def block(x: Block, grad, inner, weights, log_total):
        of_weights = product("bmv,bnv->bmn", x.value, grad)
        inner = inner[..., 0]
        of_logits = _logit_gradients(x, of_weights, inner, log_total, areas)
        of_query = product("bmd,bmn->bdn", x.key, of_logits)
        of_key = product("bmn,bnd->bmd", of_logits, x.query)
        of_value = product("bmn,bnv->bmv", weights, grad)
        return jnp.swapaxes(of_query, 1, 2), (of_key, of_value)

    parts = blocks.cut(grad), blocks.cut(inner), *stored
    of_query, sums = blocks.map(block, *parts, summed=(key, value))
    of_cells = (
        part.reshape(x.shape).astype(x.dtype)
        for part, x in zip(sums, (key, value), strict=True)
    )
    return blocks.join(of_query).astype(query.dtype), *of_cells, None, None


attend.defvjp(_forward, _backward)


def _logits(x: Block) -> Float[Array, "b M n"]:
    # Queries lie on the minor axis: windows of cells are then contiguous slices, and no
    # product has to transpose logits or weights.
    return product("bmd,bnd->bmn", x.key, x.query)


def _sweep(area, maps, per_query, x: Block, areas: Areas, unroll: bool):
    """By the implementation that the areas name."""
    if areas.implementation == "pallas":
        return area_kernel.sweep(area, maps, per_query, x, areas)
    return area_sweep.sweep(area, maps, per_query, x, areas, unroll=unroll)


def _drop(weight, keep):
    return weight if keep is None else jnp.where(keep, weight, 0)


def _weights(x: Block, areas: Areas):
    """Cell weights [b, M, n]; logarithm of the sum of exponentials [b, n]."""
    logits = _logits(x)
    # Every 1x1 area is in the softmax and a mean never exceeds its largest member: the
    # largest cell logit is the largest area logit, so one pass is enough.
    valid = jnp.ones((1, 1, 1), bool) if x.mask is None else x.mask[..., None]
    highest = jnp.where(valid, logits, pooling.LOWEST).max(axis=1)
    highest = jnp.where(valid.any(axis=1), highest, 0)

    def area(share, keep, sums, per_query):
        term = jnp.exp(sums[0] * share - per_query[0])
        return areas.factor(share) * _drop(term, keep), term

    # With dropout a loop stores the results: their hash is not drawn again per cell.
    unroll = not areas.dropout_rate
    weights, total = _sweep(area, (logits,), (highest,), x, areas, unroll)
    total = jnp.where(total > 0, total, 1)
    return weights / total[:, None], highest + jnp.log(total)


def _logit_gradients(x: Block, of_weights, inner, log_total, areas: Areas):
    """d logits [b, M, n]."""

    def area(share, keep, sums, per_query):
        (logit, gradient), (log_total, inner) = sums, per_query
        weight = jnp.exp(logit * share - log_total)
        survives = _drop(weight, keep)
        result = share * (survives * areas.factor(share) * gradient - weight * inner)
        return result, jnp.zeros_like(inner)

    maps, per_query = (_logits(x), of_weights), (log_total, inner)
    return _sweep(area, maps, per_query, x, areas, unroll=False)[0]


class Blocks:
    """The batch in G groups of b examples, each in Q blocks of n queries."""

    def __init__(self, query, key, value, mask, seeds):
        self.seeds = seeds
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
        x = pooling.pad_axis(x, 1, 0, -self.shape[1] % self.length)
        count = x.shape[1] // self.length
        x = x.reshape(-1, self.examples, count, self.length, x.shape[2])
        return jnp.swapaxes(x, 1, 2)

    def join(self, parts: Float[Array, "G Q b n D"]) -> Float[Array, "B N D"]:
        """Undoes `cut`."""
        x = jnp.swapaxes(parts, 1, 2)
        return x.reshape(self.shape[0], -1, x.shape[-1])[:, : self.shape[1]]

    def map(self, block: Callable, *more, summed: tuple = ()):
        """Runs (Block, *parts of `more`) -> (results, sums) over all blocks.

        Args:
            block: the function.
            more: arrays [G, Q, ...] that are handed over part by part.
            summed: what the sums are shaped like, [B, ...].

        Returns:
            The results, [G, Q, ...]; the sums of an example's blocks, [G, b, M, ...].
        """
        groups, along = self.query.shape[:2]

        def group(number, cells, query, more):
            def step(sums, row):
                first = number * self.examples, row[0] * self.length
                x = Block(first, self.shape, row[1], *cells, self.seeds)
                results, added = block(x, *row[2])
                return jax.tree.map(jnp.add, sums, added), results

            start = tuple(zeros_like(x) for x in cells[: len(summed)])
            return _scan(step, start, (jnp.arange(along), query, more))

        rows = jnp.arange(groups), self.cells, self.query, more
        sums, results = _scan(lambda _, row: ((), group(*row)), (), rows)[1]
        return results, sums


def _scan(step: Callable, start, rows):
    """`jax.lax.scan`, without a loop where there is only one step."""
    if len(rows[0]) > 1:
        return jax.lax.scan(step, start, rows)
    end, result = step(start, jax.tree.map(lambda x: x[0], rows))
    return end, jax.tree.map(lambda x: x[None], result)


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
