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
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ser_jax.layers import area_kernel, area_sweep
from ser_jax.layers.area_blocks import Block, Blocks, product

IMPLEMENTATIONS = ("xla", "pallas")


class Areas(NamedTuple):
    """What a call does with areas.

    Attributes:
        grid: H and W of the map.
        max_area: largest height and width.
        value_mode: `sum`; or `mean`: an area's weight is shared among its cells.
        dropout_rate: share of area weights set to 0.
        implementation: `xla`; or `pallas`: area_kernel, on a GPU.
    """

    grid: tuple[int, int]
    max_area: tuple[int, int]
    value_mode: str
    dropout_rate: float = 0.0
    implementation: str = "xla"

    def surviving(self, weight, kept):
        """An area's weight after dropout, not yet scaled."""
        return weight if kept is None else jnp.where(kept, weight, 0)

    def factor(self, share):
        """What an area's weight is multiplied by before it reaches its cells."""
        scale = np.float32(1 / (1 - self.dropout_rate))
        return scale * share if self.value_mode == "mean" else scale


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
    blocks = Blocks(query, key, key, mask)

    def block(x: Block):
        weights, _ = _weights(x, None, areas)
        return jnp.swapaxes(weights, 1, 2), ()

    weights = blocks.joined(blocks.over(block)[0])
    return jnp.swapaxes(weights, 1, 2).reshape(len(key), *areas.grid, -1)


def _forward(query, key, value, mask, seeds, areas):
    """The output, and what the backward pass needs."""
    blocks = Blocks(query, key, value, mask)

    def block(x: Block):
        weights, log_total = _weights(x, seeds, areas)
        out = jnp.einsum("bmv,bmn->bvn", x.value, weights.astype(value.dtype))
        return (jnp.swapaxes(out, 1, 2), weights, log_total), ()

    out, *kept = blocks.over(block)[0]
    out = blocks.joined(out)
    return out, (query, key, value, mask, seeds, out, kept)


def _backward(areas, residuals, grad):
    """Gradients; uses sum_A p_A dp_A = out . d out, so no area weight is stored."""
    query, key, value, mask, seeds, out, kept = residuals
    blocks = Blocks(query, key, value, mask)
    inner = product("bnv,bnv->bn", out, grad)[..., None]

    def block(x: Block, grad, inner, weights, log_total):
        of_weights = product("bmv,bnv->bmn", x.value, grad)
        inner = inner[..., 0]
        of_logits = _logit_gradients(x, of_weights, inner, log_total, seeds, areas)
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


def _weights(x: Block, seeds, areas: Areas):
    """Cell weights [b, M, n]; logarithm of the sum of exponentials [b, n]."""
    logits = x.logits()
    valid = jnp.ones((1, 1, 1), bool) if x.mask is None else x.mask[..., None]
    highest = jnp.where(valid, logits, area_sweep.LOWEST).max(axis=1)
    highest = jnp.where(valid.any(axis=1), highest, 0)

    def area(share, kept, sums, numbers):
        term = jnp.exp(sums[0] * share - numbers[0])
        return areas.factor(share) * areas.surviving(term, kept), term

    # With dropout a loop stores the results: their hash is not drawn again per cell.
    unroll = not areas.dropout_rate
    weights, total = _swept(area, (logits,), (highest,), x, seeds, areas, unroll)
    total = jnp.where(total > 0, total, 1)
    return weights / total[:, None], highest + jnp.log(total)


def _logit_gradients(x: Block, of_weights, inner, log_total, seeds, areas: Areas):
    """d logits [b, M, n]."""

    def area(share, kept, sums, numbers):
        (logit, gradient), (log_total, inner) = sums, numbers
        weight = jnp.exp(logit * share - log_total)
        survives = areas.surviving(weight, kept)
        given = share * (survives * areas.factor(share) * gradient - weight * inner)
        return given, jnp.zeros_like(inner)

    maps, numbers = (x.logits(), of_weights), (log_total, inner)
    return _swept(area, maps, numbers, x, seeds, areas, unroll=False)[0]


def _swept(area, maps, numbers, x: Block, seeds, areas: Areas, unroll: bool):
    """The sweep that was asked for."""
    dropout = None
    if seeds is not None:
        dropout = area_sweep.Dropout(seeds, areas.dropout_rate, x.at, x.shape)
    common = {"grid": areas.grid, "max_area": areas.max_area}
    if areas.implementation == "pallas":
        return area_kernel.sweep(area, maps, numbers, x.mask, dropout, **common)
    return area_sweep.sweep(
        area, maps, numbers, x.mask, dropout, unroll=unroll, **common
    )
