"""Gives a module made without memory the tensors of a file, one by one and strictly."""

import dataclasses
import re
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx

from ser_jax.errors import InputError

# Faults an error names before it counts the rest.
NAMED = 5


@dataclasses.dataclass(frozen=True)
class Source:
    """Which tensor of a file a parameter is.

    Attributes:
        name: The tensor's name in the file.
        axes: Its axes in the parameter's order; None keeps them as they are.
    """

    name: str
    axes: tuple[int, ...] | None = None


# Axes of PyTorch's kernels in Flax's order.
LINEAR = (1, 0)  # [out, in] -> [in, out]
CONV = (2, 1, 0)  # [out, in, time] -> [time, in, out]

# Where a variable lies in its module, as `nnx` has it: ("layers", 0, "norm", "scale").
ParamPath = tuple[str | int, ...]


def fill(
    model: nnx.Module,
    tensors: Mapping[str, np.ndarray],
    source_of: Callable[[ParamPath], Source],
    ignored: str,
    *,
    origin: str = "the file",
) -> None:
    """Gives every variable of `model` its tensor, in the variable's own dtype.

    Args:
        model: Made by `nnx.eval_shape`, so its variables have shapes and no values.
        tensors: Name to array; an array is asked for only if a variable is made of it.
        source_of: Which tensor a variable is; called once for each variable.
        ignored: A regular expression; names whose beginning it matches may be left
            over (a decoder, the head of another task).
        origin: What the tensors were read from, for the error.

    Raises:
        InputError: A tensor is missing, has another shape, is not of floating point,
            or is neither used nor ignored; the first few such faults are named.
    """
    flat = nnx.to_flat_state(nnx.state(model))
    sources = {path: source_of(path) for path, _ in flat}
    faults = [
        f"{name} is missing"
        for name in sorted({s.name for s in sources.values()} - set(tensors))
    ]
    left = set(tensors) - {s.name for s in sources.values()}
    faults += [f"{n} is not known" for n in sorted(left) if not re.match(ignored, n)]
    filled = []
    for path, variable in flat:
        source, shape = sources[path], variable.shape
        if source.name not in tensors:
            continue
        array = np.asarray(tensors[source.name])
        axes = source.axes or tuple(range(len(shape)))
        fault = _fault(array, source.name, axes, shape)
        if fault:
            faults.append(fault)
        elif not faults:
            array = np.ascontiguousarray(np.transpose(array, axes))
            filled.append((path, variable.replace(jnp.asarray(array, variable.dtype))))
    if faults:
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise InputError(
            f"Expected the tensors of a {type(model).__name__} in {origin}; got others "
            f"({'; '.join(faults[:NAMED])}{more}); check that config.json and the "
            "weights belong together."
        )
    nnx.update(model, nnx.from_flat_state(filled))


def _fault(
    array: np.ndarray, name: str, axes: tuple[int, ...], shape: tuple[int, ...]
) -> str:
    """What is wrong with a tensor that should have `shape` once transposed."""
    expected = tuple(shape[axes.index(i)] for i in range(len(axes)))
    if array.shape != expected:
        return f"{name} has shape {array.shape}, expected {expected}"
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return f"{name} is {array.dtype}, expected floating point"
    return ""
