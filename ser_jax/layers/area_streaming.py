"""Area attention without areas: mean keys with sum or mean values.

With mean keys the logit of an area is the mean of its cells' logits, and with sum
values the output is the cell values weighted by the total weight of all areas that
cover each cell. So only L = K Q^T is pooled, size by size, and the weights are pushed
back to the cells by the adjoint pooling; no area key or value exists.

Every 1x1 area is in the softmax and a mean never exceeds its largest member, so the
largest cell logit is the largest area logit: one pass gives numerator and normaliser.
Queries lie on the minor axis, so windows are contiguous slices and no product has to
transpose logits or weights. All is done by blocks of queries whose logits stay in
cache; memory does not depend on the number of sizes.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ser_jax.layers.area_blocks import Block, Blocks, product
from ser_jax.layers.area_sweep import Areas, Sweep

LOWEST = np.finfo(np.float32).min


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

    Args:
        query: already scaled.
        key: the grid that is matched.
        value: the grid that is read.
        mask: valid cells; None = all.
        seeds: uint32 per area size (area_pooling.area_seeds) for dropout; None = off.
        areas: their sizes, and what becomes of their weights.
    """
    return _forward(query, key, value, mask, seeds, areas)[0]


def cell_weights(
    query: Float[Array, "B N D"],
    key: Float[Array, "B H W D"],
    mask: Bool[Array, "B H W"] | None,
    areas: Areas,
) -> Float[Array, "B H W N"]:
    """Total weight of the areas covering each cell, per query; float32, no gradient."""
    grid = key.shape[1:3]
    blocks = Blocks(query, key, key, mask)

    def block(x: Block):
        weights, _ = _weights(Sweep(grid, areas), x, None)
        return jnp.swapaxes(weights, 1, 2), ()

    weights = blocks.joined(blocks.over(block)[0])
    return jnp.swapaxes(weights, 1, 2).reshape(len(key), *grid, -1)


def _forward(query, key, value, mask, seeds, areas):
    """The output, and what the backward pass needs."""
    framed = Sweep(key.shape[1:3], areas)
    blocks = Blocks(query, key, value, mask)

    def block(x: Block):
        weights, log_total = _weights(framed, x, seeds)
        out = jnp.einsum("bmv,bmn->bvn", x.value, weights.astype(value.dtype))
        return (jnp.swapaxes(out, 1, 2), weights, log_total), ()

    out, *kept = blocks.over(block)[0]
    out = blocks.joined(out)
    return out, (query, key, value, mask, seeds, out, kept)


def _backward(areas, residuals, grad):
    """Gradients; uses sum_A p_A dp_A = out . d out, so no area weight is stored."""
    query, key, value, mask, seeds, out, kept = residuals
    framed = Sweep(key.shape[1:3], areas)
    blocks = Blocks(query, key, value, mask)
    inner = product("bnv,bnv->bn", out, grad)[..., None]

    def block(x: Block, grad, inner, weights, log_total):
        of_weights = product("bmv,bnv->bmn", x.value, grad)
        inner = jnp.swapaxes(inner, 1, 2)
        of_logits = _logit_gradients(framed, x, of_weights, inner, log_total, seeds)
        of_query = product("bmd,bmn->bdn", x.key, of_logits)
        of_key = product("bmn,bnd->bmd", of_logits, x.query)
        of_value = product("bmn,bnv->bmv", weights, grad)
        return jnp.swapaxes(of_query, 1, 2), (of_key, of_value)

    parts = blocks.cut(grad), blocks.cut(inner), *kept
    found, sums = blocks.over(block, *parts, summed=(key, value))
    of_query = blocks.joined(found).astype(query.dtype)
    of_cells = (
        part.reshape(x.shape).astype(x.dtype)
        for part, x in zip(sums, (key, value), strict=True)
    )
    return of_query, *of_cells, None, None


attend.defvjp(_forward, _backward)


def _weights(framed, x: Block, seeds):
    """Cell weights [b, M, n]; logarithm of the sum of exponentials [b, n]."""
    cells, valid = framed.grids(x.logits(), x.mask)
    highest = jnp.where(valid, cells, LOWEST).max(axis=(1, 2), keepdims=True)
    highest = jnp.where(valid.any(axis=(1, 2), keepdims=True), highest, 0)

    def area(size, sums, total):
        logit, count = sums
        share = _share(count, size)
        term = jnp.exp(jnp.where(share > 0, logit * share - highest, LOWEST))
        total = total + term.sum(axis=(1, 2), keepdims=True)
        kept = framed.dropped_out(term, seeds, size, x)
        return total, kept * framed.value_share(share)

    sums = jnp.where(valid, cells, 0), valid.astype(jnp.float32)
    # With dropout a loop stores the results: their hash is not drawn again per cell.
    start = jnp.zeros_like(highest)
    unroll = not framed.areas.dropout_rate
    total, weights = framed.sweep(area, sums, start, unroll=unroll)
    total = jnp.where(total > 0, total, 1)
    weights = jnp.where(valid, weights / total, 0)
    return framed.flat(weights), (highest + jnp.log(total))[:, 0, 0]


def _logit_gradients(framed, x: Block, of_weights, inner, log_total, seeds):
    """d logits [b, M, n]."""
    inner, log_total = inner[:, None], log_total[:, None, None]
    logits, valid = framed.grids(x.logits(), x.mask)
    of_weights, _ = framed.grids(of_weights, x.mask)

    def area(size, sums, carry):
        logit, gradient, count = sums
        share = _share(count, size)
        weight = jnp.exp(jnp.where(share > 0, logit * share - log_total, LOWEST))
        kept = framed.dropped_out(weight, seeds, size, x)
        factor = framed.value_share(share)
        return carry, share * (kept * factor * gradient - weight * inner)

    cells = [jnp.where(valid, grid, 0) for grid in (logits, of_weights)]
    sums = *cells, valid.astype(jnp.float32)
    return framed.flat(jnp.where(valid, framed.sweep(area, sums, ())[1], 0))


def _share(count, size):
    """1 / cells of every area on the framed grid; 0 where a cell is not valid."""
    cells = jnp.asarray(size[0] * size[1], jnp.float32)
    return jnp.where(count == cells, 1 / cells, 0)
