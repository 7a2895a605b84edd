"""Area attention without areas: mean keys with sum or mean values.

With mean keys the logit of an area is the mean of its cells' logits, and with sum
values the output is the cell values weighted by the total weight of all areas that
cover each cell. So only L = K Q^T is pooled, size by size, and the weights are pushed
back to the cells by the adjoint pooling; memory does not depend on the number of sizes.

`Blocks` are some queries each, whose logits stay in cache; `sweep` visits the areas of
one block, in plain JAX or in one GPU kernel (`area_kernel`).
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ser_jax.layers import area_kernel
from ser_jax.layers import area_pooling as pooling
from ser_jax.layers.area_pooling import Areas, Block

# One block of logits; several temporaries of this size should fit in the cache. An
# accelerator hides memory by parallelism instead and wants few, large kernels.
BLOCK_BYTES = {"cpu": 1 << 20}
ACCELERATOR_BLOCK_BYTES = 1 << 28


def _product(form: str, a: Array, b: Array) -> Array:
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
    """Attends with scaled queries and `area_pooling.area_seeds` (None: no dropout)."""
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
        weights, total, _ = _weights(x, areas, jnp.float32)
        return jnp.swapaxes(weights / total[:, None], 1, 2), ()

    weights = blocks.join(blocks.map(block)[0])
    return jnp.swapaxes(weights, 1, 2).reshape(len(key), *areas.grid, -1)


def _forward(query, key, value, mask, seeds, areas):
    blocks = Blocks(query, key, value, mask, seeds)

    def block(x: Block):
        weights, *totals = _weights(x, areas, value.dtype)
        # Not the weights but what they are multiplied with is divided by their total:
        # they are the larger.
        out = jnp.swapaxes(_product("bmv,bmn->bvn", x.value, weights), 1, 2)
        out = (out / totals[0][..., None]).astype(value.dtype)
        return (out, weights, *totals), ()

    out, *stored = blocks.map(block)[0]
    out = blocks.join(out)
    return out, (query, key, value, mask, seeds, out, stored)


def _backward(areas, residuals, grad):
    query, key, value, mask, seeds, out, stored = residuals
    blocks = Blocks(query, key, value, mask, seeds)
    # The softmax's gradient needs sum_A p_A dp_A, which is out . d out: so no area
    # weight is stored, each is computed again from its logit and the normaliser.
    inner = _product("bnv,bnv->bn", out, grad)[..., None]

    def block(x: Block, grad, inner, weights, total, log_total):
        of_weights = _product("bmv,bnv->bmn", x.value, grad)
        of_logits = _logit_gradients(x, of_weights, inner[..., 0], log_total, areas)
        of_query = _product("bmd,bmn->bdn", x.key, of_logits)
        of_key = _product("bmn,bnd->bmd", of_logits, x.query)
        of_sums = (grad / total[..., None]).astype(weights.dtype)
        of_value = _product("bmn,bnv->bmv", weights, of_sums)
        return jnp.swapaxes(of_query, 1, 2), (of_key, of_value)

    parts = blocks.cut(grad), blocks.cut(inner), *stored
    of_query, sums = blocks.map(block, *parts, summed=(key, value))
    of_query = blocks.join(of_query).astype(query.dtype)
    of_key = sums[0].reshape(key.shape).astype(key.dtype)
    of_value = sums[1].reshape(value.shape).astype(value.dtype)
    return of_query, of_key, of_value, None, None


attend.defvjp(_forward, _backward)


def _logits(x: Block) -> Float[Array, "b M n"]:
    # Queries lie on the minor axis: windows of cells are then contiguous slices, and no
    # product has to transpose logits or weights.
    return _product("bmd,bnd->bmn", x.key, x.query)


def _drop(weight, keep):
    return weight if keep is None else jnp.where(keep, weight, 0)


def _weights(x: Block, areas: Areas, dtype):
    """Cell weights [b, M, n], not yet divided by the total; the total [b, n]; the
    logarithm of the sum of exponentials [b, n]."""
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
    maps, per_query = (logits,), (highest,)
    weights, total = sweep(area, maps, per_query, x, areas, dtype, unroll=unroll)
    total = jnp.where(total > 0, total, 1)
    return weights, total, highest + jnp.log(total)


def _logit_gradients(x: Block, of_weights, inner, log_total, areas: Areas):
    def area(share, keep, sums, per_query):
        (logit, gradient), (log_total, inner) = sums, per_query
        weight = jnp.exp(logit * share - log_total)
        survives = _drop(weight, keep)
        result = share * (survives * areas.factor(share) * gradient - weight * inner)
        return result, jnp.zeros_like(inner)

    maps, per_query = (_logits(x), of_weights), (log_total, inner)
    return sweep(area, maps, per_query, x, areas, x.key.dtype)[0]


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

        Returns the results, as `more` [G, Q, ...], and an example's sums, as `summed`.
        """
        groups, along = self.query.shape[:2]

        def group(number, cells, query, more):
            def step(sums, row):
                first = number * self.examples, row[0] * self.length
                x = Block(first, self.shape, row[1], *cells, self.seeds)
                results, added = block(x, *row[2])
                return jax.tree.map(jnp.add, sums, added), results

            start = tuple(_zeros_like(x) for x in cells[: len(summed)])
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


def _zeros_like(x: Array) -> Array:
    # Zeros that vary over the mesh axes of x: shard_map wants it of a loop.
    return jnp.where(False, x, 0).astype(jnp.float32)


def use_loops() -> bool:
    """Whether loops walk over the sizes."""
    # On CPU what a loop carries is stored once, where XLA computes an unrolled chain of
    # shifted slices again for every shift. On accelerators a loop moves six to nine
    # times as many bytes as the sizes written out (docs/gpu.md).
    return jax.default_backend() == "cpu"


def sweep(
    area: Callable,
    maps: tuple[Float[Array, "b M n"], ...],
    per_query: tuple[Float[Array, "b n"], ...],
    block: Block,
    areas: Areas,
    dtype=jnp.float32,
    *,
    unroll: bool = False,
) -> tuple[Float[Array, "b M n"], Float[Array, "b n"]]:
    """Gives every cell the sum of what its areas give, and the total of all areas.

    Args:
        area: (1 / its cells, keep, sums of the maps over it, `per_query`) -> (what it
            gives each of its cells, what it adds to the total). `keep` tells what
            survives dropout, None without. The first sum of an area with a masked
            cell is LOWEST or -inf: there both results must be 0, as its exponential is.
        maps, per_query: what is summed over areas, and numbers that `area` also needs.
        block, areas: the mask, place and seeds to read; the sizes to visit, and how.
        dtype: of what cells get; its sums, and the totals, are float32.
        unroll: on CPU, whether the sizes of one width are one stretch of code. Faster
            if a result is stored before it is spread, as an exponential that a sum
            reads as well is; slower if XLA computes it again at every cell.
    """
    if areas.implementation == "pallas":
        return area_kernel.sweep(area, maps, per_query, block, areas, dtype)
    grid, sizes = areas.grid, areas.sizes
    per_query = [x[:, None, None] for x in per_query]
    maps = [x.reshape(len(x), *grid, -1) for x in maps]
    valid = jnp.ones((1, *grid, 1), bool)
    if block.mask is not None:
        valid = block.mask.reshape(-1, *grid, 1)
        maps = [jnp.where(valid, x, 0) for x in maps]

    def visit(size, sums, total):
        *sums, count = sums
        number = jnp.asarray(size[0] * size[1], jnp.float32)
        keep = _keep(block, areas, size, sums[0].shape)
        sums[0] = jnp.where(count == number, sums[0], pooling.LOWEST)
        result, term = area(1 / number, keep, sums, per_query)
        return total + term.sum(axis=(1, 2)), result

    summed = *maps, valid.astype(jnp.float32)
    start = _zeros_like(maps[0][:, 0, 0])
    if use_loops():
        total, results = _sweep_in_loops(visit, summed, start, sizes[-1], unroll)
    else:
        total, results = _sweep_unrolled(visit, summed, start, sizes)
    results = results.astype(dtype).reshape(len(results), -1, results.shape[-1])
    return results, total


def _keep(block: Block, areas: Areas, size, shape):
    if block.seeds is None:
        return None
    examples, rows, columns, queries = map(jnp.arange, shape)
    axes = block.first[0] + examples, rows, columns, block.first[1] + queries
    batch, count = block.shape
    ids = pooling.area_ids(*axes, (batch, *areas.grid, count))
    return pooling.keep_mask(block.seeds[areas.index(size)], ids, areas.dropout_rate)


def _sweep_unrolled(visit, summed, total, sizes):
    sums = [pooling.area_sums(x, sizes) for x in summed]
    results = []
    for size, *of_size in zip(sizes, *sums, strict=True):
        total, result = visit(size, of_size, total)
        results.append(result)
    return total, pooling.spread_to_cells(results, sizes, summed[0].shape[1:3])


def _sweep_in_loops(visit, summed, total, largest, unroll):
    # Every size has a whole grid [H, W]: its entry at (i, j) is the area with that
    # first cell, and those that stick out of the map hold too few valid cells. So all
    # sizes have one shape, as a loop needs it.
    rows, columns = summed[0].shape[1:3]
    up, left = largest[0] - 1, largest[1] - 1
    store = jax.lax.dynamic_update_slice
    margins = (0, 0), (0, up), (0, left), (0, 0)
    framed = tuple(jnp.pad(x, margins) for x in summed)

    def width(w, state):
        total, wide, tall_parts, wide_parts = state
        wide = _lengthen(wide, framed, w, 2)

        def height(h, state):
            total, sums, parts = state
            sums = _lengthen(sums, wide, h, 1)
            total, result = visit((h + 1, w + 1), sums, total)
            return total, sums, store(parts, result[None], (h, 0, up, 0, 0))

        state = total, jax.tree.map(_zeros_like, summed), tall_parts
        total, _, tall_parts = jax.lax.fori_loop(
            0, largest[0], height, state, unroll=unroll
        )
        strip = pooling.spread_windows(tall_parts, 1, rows)
        wide_parts = store(wide_parts, strip[None], (w, 0, 0, left, 0))
        return total, wide, tall_parts, wide_parts

    def parts(count: int, axis: int) -> Array:
        zeros = pooling.pad_axis(_zeros_like(summed[0]), axis, count - 1, 0)
        return jnp.broadcast_to(zeros, (count, *zeros.shape))

    wide = jax.tree.map(lambda x: _zeros_like(x[:, :, :columns]), framed)
    state = total, wide, parts(largest[0], 1), parts(largest[1], 2)
    total, *_, wide_parts = jax.lax.fori_loop(0, largest[1], width, state)
    return total, pooling.spread_windows(wide_parts, 2, columns)


def _lengthen(sums, source, step, axis: int):
    """Windows one cell longer along an axis: adds the cell `step` after their start."""

    def add(x, y):
        return x + jax.lax.dynamic_slice_in_dim(y, step, x.shape[axis], axis)

    return jax.tree.map(add, sums, source)
