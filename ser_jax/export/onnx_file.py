"""ONNX files, by jax2onnx."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
import onnx
from jax.extend import core
from onnx import helper, numpy_helper

OPSET = 17
_SMALL = 1024  # values; constants of at most so many stay as they are


def to_bytes(
    function: Callable,
    shapes: Sequence[jax.ShapeDtypeStruct],
    inputs: Sequence[str],
    output: str,
) -> bytes:
    """The content of a file: a function of arrays `inputs`, which returns `output`.

    Raises:
      Exception: jax2onnx has no counterpart of an operation.
    """
    import jax2onnx  # changes jax.numpy while it traces: only where it is needed

    # It traces with functions of its own in the place of jax.numpy's and Flax's, and
    # some of 0.17.1's are wrong (`clip` of unequal shapes, `Dropout` with `rngs`): it
    # gets a program that is traced already, of primitives alone.
    program = core.jaxpr_as_fun(jax.make_jaxpr(function)(*shapes))
    model = jax2onnx.to_onnx(
        lambda *arrays: program(*arrays)[0],
        shapes,
        opset=OPSET,
        input_names=inputs,
        output_names=[output],
    )
    compress_constants(model.graph)
    return model.SerializeToString()


def compress_constants(graph: onnx.GraphProto) -> None:
    """Stores equal constants once, and what is repeated along an axis once.

    jax2onnx writes every broadcast of a constant out: zeros as large as each map.
    """
    names: dict[tuple, str] = {}
    kept, nodes = [], []

    def store(value: np.ndarray) -> str:
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in names:
            names[key] = f"constant_{len(names)}"
            kept.append(numpy_helper.from_array(value, names[key]))
        return names[key]

    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.size <= _SMALL:
            kept.append(tensor)
            continue
        shape = store(np.array(value.shape, np.int64))
        for axis in range(value.ndim):
            first = value.take([0], axis)
            value = first if (value == first).all() else value
        source = store(np.ascontiguousarray(value))
        nodes.append(helper.make_node("Expand", [source, shape], [tensor.name]))
    nodes += graph.node
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
