"""Area attention by enumeration: one loop over every area, nothing clever. float64."""

import numpy as np


def areas(grid, max_area):
    """(top, left, h, w) of every area; sizes outer, corners inner, as in Li et al."""
    rows, columns = grid
    return [
        (i, j, h, w)
        for h in range(1, max_area[0] + 1)
        for w in range(1, max_area[1] + 1)
        for i in range(rows - h + 1)
        for j in range(columns - w + 1)
    ]


def one_example(
    query, key, value, *, max_area, key_mode, value_mode, scale, mask, top_k, keep
):
    """query [N, D], key [H, W, D], value [H, W, V], mask [H, W], keep [A, N] -> [N, V]."""
    logits, values, kept = [], [], []
    for a, (i, j, h, w) in enumerate(areas(key.shape[:2], max_area)):
        here = mask[i : i + h, j : j + w]
        if not here.all():
            continue
        cells = key[i : i + h, j : j + w]
        reads = value[i : i + h, j : j + w]
        matched = getattr(cells, key_mode)(axis=(0, 1))
        values.append(getattr(reads, value_mode)(axis=(0, 1)))
        temperature = np.sqrt(query.shape[-1]) if scale == "sqrt_d" else 1.0
        logits.append(query @ matched / temperature)
        kept.append(keep[a])
    if not logits:
        return np.zeros((len(query), value.shape[-1]))
    logits, values = np.array(logits), np.array(values)
    weights = np.exp(logits - logits.max(axis=0))
    if top_k:
        smallest = np.sort(logits, axis=0)[-min(top_k, len(logits))]
        weights = np.where(logits >= smallest, weights, 0)
    weights = weights / weights.sum(axis=0)
    return (weights * np.array(kept)).T @ values


def area_attention(
    query,
    key,
    value,
    *,
    max_area,
    key_mode="mean",
    value_mode="sum",
    scale="sqrt_d",
    mask=None,
    top_k=0,
    keep=None,
):
    """Batched `one_example`; keep [B, A, N] multiplies the weights (dropout)."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    mask = np.ones(key.shape[:3], bool) if mask is None else np.asarray(mask)
    if keep is None:
        count = len(areas(key.shape[1:3], max_area))
        keep = np.ones((len(key), count, query.shape[1]))
    return np.stack(
        [
            one_example(
                query[b],
                key[b],
                value[b],
                max_area=max_area,
                key_mode=key_mode,
                value_mode=value_mode,
                scale=scale,
                mask=mask[b],
                top_k=top_k,
                keep=keep[b],
            )
            for b in range(len(query))
        ]
    )
