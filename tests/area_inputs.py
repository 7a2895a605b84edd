"""Queries, keys, values and a mask that tests of area attention share."""

import numpy as np

# float32 against float64 over a few hundred terms of order one.
TOLERANCE = {"atol": 3e-5, "rtol": 3e-5}


def inputs(batch=2, queries=7, rows=5, columns=4, depth=3, values=6, seed=0):
    draw = np.random.default_rng(seed).normal
    return (
        draw(size=(batch, queries, depth)).astype(np.float32),
        draw(size=(batch, rows, columns, depth)).astype(np.float32),
        draw(size=(batch, rows, columns, values)).astype(np.float32),
    )


def some_mask(shape=(2, 5, 4), seed=1):
    mask = np.random.default_rng(seed).random(shape) < 0.6
    mask[:, :2, :2] = False  # an area without any valid cell
    mask[:, 2:, 1:] = True  # and one of the largest size without a masked one
    return mask
