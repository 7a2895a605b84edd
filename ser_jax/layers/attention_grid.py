"""Attention in cells of the input: which bands and frames a weight stands for.

So maps of different systems, shrunk by pooling and strides, are drawn, compared and
masked alike. What lies under a cell is its own tile (as long as the stride), not all
that its value depends on, which is more.
"""

import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx, struct
from jaxtyping import Array, Bool, Float


@struct.dataclass
class AttentionMap:
    """Attention mass per cell of a grid that lies over the input."""

    # The maps of one output add up to 1 together, 0 for an example without valid input.
    mass: Float[Array, "B H W"] | Float[np.ndarray, "B H W"]
    # Edges of the rows, low to high, 0 to F. One row is attention over time alone.
    bands: tuple[int, ...] = struct.field(pytree_node=False)
    # Likewise, in frames of the batch (or words); a stride may drop some at its end.
    columns: tuple[int, ...] = struct.field(pytree_node=False)
    over: str = struct.field(pytree_node=False, default="frames")  # or "words"


AttentionMaps = dict[str, AttentionMap]


def read_sown(state: Mapping, *path: str) -> tuple[Array, ...]:
    """What was sown under the modules of a path, its last part the name, in order."""
    for name in path:
        state = state[name]
    return state.get_value() if isinstance(state, nnx.Variable) else state


def edges(count: int, size: int, limit: int, first: int = 0) -> tuple[int, ...]:
    """Edges of `count` tiles of `size` cells from `first` on, kept within 0 to `limit`."""
    return tuple(min(max(first + i * size, 0), limit) for i in range(count + 1))


def tiles(
    mass: Float[Array, "B H W *_"],
    frames: Float[Array, "B T F C"],
    strides: tuple[int, int],
    first: int = 0,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Edges of a map's rows and columns on the input, in bands and frames.

    A tile is `strides` bands and frames; the first one starts at `first` on both axes.
    """
    # Frames behind the last tile stay uncovered: a stride drops what fills no cell.
    bands = edges(mass.shape[1], strides[0], frames.shape[2], first)
    columns = edges(mass.shape[2], strides[1], frames.shape[1], first)
    return (0, *bands[1:-1], frames.shape[2]), (0, *columns[1:])


def strides(pools: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Rows and columns of the input under one cell after all poolings."""
    rows, columns = zip(*pools, strict=True)
    return math.prod(rows), math.prod(columns)


def pooled_shape(
    shape: tuple[int, int], pools: Sequence[Sequence[int]], key: str = "pools"
) -> tuple[int, int]:
    """Rows (bands) and columns (frames) of a map after poolings, which drop odd ends.

    Raises:
        ValueError: if no cell is left; it names the config's `key`.
    """
    rows, columns = shape
    for height, width in pools:
        rows, columns = rows // height, columns // width
    if min(rows, columns) < 1:
        raise ValueError(
            f"{key}: expected at least one cell after pooling a map of {shape[0]} x "
            f"{shape[1]} (bands x frames), got {rows} x {columns}; pool less or use "
            "longer windows"
        )
    return rows, columns


def over_time(
    mass: Float[Array, "B W"], frames: Float[Array, "B T F C"], stride: int
) -> AttentionMaps:
    """The one map `time`, of the weights of time steps (`stride` frames each)."""
    mass = mass[:, None]
    return {"time": AttentionMap(mass, *tiles(mass, frames, (1, stride)))}


def spread(
    mass: Float[Array, "B M"], mask: Bool[Array, "B L"], size: int, step: int
) -> Float[Array, "B L"]:
    """Shares the weight of every window evenly among its valid steps.

    Window i covers `size` steps from i * `step` on; one with mass has a valid step.
    """
    starts = step * np.arange(mass.shape[1])[:, None]
    at = np.arange(mask.shape[1])
    covers = mask[:, None] & jnp.asarray((at >= starts) & (at < starts + size))
    shares = mass / jnp.maximum(covers.sum(axis=2), 1)
    return jnp.einsum("bm,bml->bl", shares, covers.astype(mass.dtype))


def sum_groups(mass: Float[Array, "B L"], size: int) -> Float[Array, "B G"]:
    """Adds up every `size` neighbors; the last group may have fewer."""
    missing = -mass.shape[1] % size
    mass = jnp.pad(mass, ((0, 0), (0, missing)))
    return mass.reshape(mass.shape[0], -1, size).sum(axis=2)


def fold_rows(
    mass: Float[Array, "B *S H W"], bands: int, stride: int
) -> tuple[Float[Array, "B *S h W"], tuple[int, ...]]:
    """Adds up copies of F = `bands` rows stacked on the frequency axis.

    A row of `mass` stands for `stride` rows of the stack, perhaps over the seam of two
    copies. Returns the masses over one copy, and the edges of its rows in bands.
    """
    # A matrix of shares instead of slices: `stride` need not divide `bands`.
    rows = mass.shape[-2]
    stacked = np.arange(rows * stride)
    share = np.zeros((-(-bands // stride), rows), np.float32)
    np.add.at(share, (stacked % bands // stride, stacked // stride), 1 / stride)
    share = share[: stacked[-1] // stride + 1]
    folded = jnp.einsum("hr,b...rw->b...hw", jnp.asarray(share), mass)
    inner = edges(len(share), stride, bands)[1:-1]
    return folded, (0, *inner, bands)


def normalize_mass(mass: Float[Array, "B M *S"]) -> Float[Array, "B M *S"]:
    """Divides every example's masses by their sum; zeros stay zeros."""
    total = mass.sum(axis=tuple(range(1, mass.ndim)), keepdims=True)
    return mass / jnp.where(total > 0, total, 1)
