"""What each JAX operation is in ONNX (opset 17); shapes are fixed.

A value is an array, known now, or the name of a tensor.
"""

import math

import numpy as np
from onnx import helper

UNARY = {
    "abs": "Abs",
    "ceil": "Ceil",
    "copy": "Identity",
    "cos": "Cos",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "log": "Log",
    "logistic": "Sigmoid",
    "neg": "Neg",
    "not": "Not",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "stop_gradient": "Identity",
    "tanh": "Tanh",
}
BINARY = {
    "add": "Add",
    "and": "And",
    "div": "Div",
    "eq": "Equal",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "or": "Or",
    "pow": "Pow",
    "sub": "Sub",
}
REDUCTIONS = {
    "reduce_and": "ReduceMin",
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_or": "ReduceMax",
    "reduce_sum": "ReduceSum",
}


def translated(graph, equation, given: list) -> list[str]:
    """Adds the nodes of one equation; gives the names of its outputs.

    Raises:
      ValueError: The operation, or this use of it, is not here.
    """
    name = equation.primitive.name
    names = [x if isinstance(x, str) else graph.constant(x) for x in given]
    if name in UNARY:
        return [graph.node(UNARY[name], *names)]
    if name in BINARY:
        return [graph.node(BINARY[name], *names)]
    if name in REDUCTIONS:
        return [_reduced(graph, equation, names[0])]
    if name in _OTHERS:
        found = _OTHERS[name](graph, equation, names, given)
        return found if isinstance(found, list) else [found]
    raise ValueError(f"no ONNX for the operation {name}")


def _integers(graph, values) -> str:
    return graph.constant(np.array(values, np.int64))


def _shape(equation) -> tuple[int, ...]:
    return equation.outvars[0].aval.shape


def _cast(graph, name: str, dtype) -> str:
    return graph.node("Cast", name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _reshaped(graph, name: str, shape) -> str:
    return graph.node("Reshape", name, _integers(graph, shape))


def _transposed(graph, name: str, order) -> str:
    if list(order) == sorted(order):
        return name
    return graph.node("Transpose", name, perm=list(order))


def _reduced(graph, equation, name: str) -> str:
    axes = list(equation.params["axes"])
    dtype, operator = equation.invars[0].aval.dtype, REDUCTIONS[equation.primitive.name]
    if dtype == bool:
        name = _cast(graph, name, np.int32)
    if operator == "ReduceSum":  # the only one whose axes are an input
        name = graph.node(operator, name, _integers(graph, axes), keepdims=0)
    else:
        name = graph.node(operator, name, axes=axes, keepdims=0)
    return _cast(graph, name, bool) if dtype == bool else name


def _reshape(graph, equation, names, _):
    return _reshaped(graph, names[0], _shape(equation))


def _broadcast(graph, equation, names, _):
    shape = _shape(equation)
    kept = [1] * len(shape)
    for axis, at in enumerate(equation.params["broadcast_dimensions"]):
        kept[at] = equation.invars[0].aval.shape[axis]
    name = _reshaped(graph, names[0], kept)
    if tuple(kept) == shape:
        return name
    return graph.node("Expand", name, _integers(graph, shape))


def _select(graph, equation, names, _):
    which, no, yes = names
    if equation.outvars[0].aval.dtype != bool:
        return graph.node("Where", which, yes, no)
    # Where takes no booleans in ONNX Runtime.
    other = graph.node("And", graph.node("Not", which), no)
    return graph.node("Or", graph.node("And", which, yes), other)


def _stack(graph, equation, names, _):
    axis, shape = equation.params["axis"], list(_shape(equation))
    shape[axis] = 1
    parts = [_reshaped(graph, name, shape) for name in names]
    return graph.node("Concat", *parts, axis=axis)


def _concatenated(graph, equation, names, _):
    sizes = [x.aval.size for x in equation.invars]
    parts = [name for name, size in zip(names, sizes, strict=True) if size]
    return graph.node("Concat", *parts, axis=equation.params["dimension"])


def _sliced(graph, name: str, starts, ends, steps, axes) -> str:
    parts = (_integers(graph, x) for x in (starts, ends, axes, steps))
    return graph.node("Slice", name, *parts)


def _slice(graph, equation, names, _):
    params = equation.params
    starts, ends = params["start_indices"], params["limit_indices"]
    steps = params["strides"] or (1,) * len(starts)
    return _sliced(graph, names[0], starts, ends, steps, range(len(starts)))


def _reverse(graph, equation, names, _):
    axes, count = equation.params["dimensions"], len(equation.params["dimensions"])
    beyond = [np.iinfo(np.int64).min] * count
    return _sliced(graph, names[0], [-1] * count, beyond, [-1] * count, axes)


def _pad(graph, equation, names, _):
    low, high, inside = zip(*equation.params["padding_config"], strict=True)
    if any(inside) or min(*low, *high) < 0:
        raise ValueError("no ONNX for padding between values or below 0")
    return graph.node("Pad", names[0], _integers(graph, low + high), names[1])


def _split(graph, equation, names, _):
    sizes, axis = equation.params["sizes"], equation.params["axis"]
    inputs = [names[0], _integers(graph, sizes)]
    return graph.nodes_of("Split", inputs, len(sizes), axis=axis)


def _product(graph, equation, names, _):
    """A dot_general: batch axes, then what is kept of each side."""
    contracted, batched = equation.params["dimension_numbers"]
    shapes = [x.aval.shape for x in equation.invars]
    sides = []
    for side, name in enumerate(names):
        batch, inner = list(batched[side]), list(contracted[side])
        kept = [i for i in range(len(shapes[side])) if i not in batch + inner]
        order = batch + (kept + inner if side == 0 else inner + kept)
        sizes = [
            math.prod(shapes[side][i] for i in group)
            for group in ((kept, inner) if side == 0 else (inner, kept))
        ]
        lead = [shapes[side][i] for i in batch]
        name = _transposed(graph, name, order)
        sides.append(_reshaped(graph, name, [*lead, *sizes]))
    return _reshaped(graph, graph.node("MatMul", *sides), _shape(equation))


def _convolution(graph, equation, names, _):
    params = equation.params
    if set(params["lhs_dilation"]) != {1} or params["batch_group_count"] != 1:
        raise ValueError("no ONNX for a convolution with a dilated input")
    numbers = params["dimension_numbers"]
    name = graph.node(
        "Conv",
        _transposed(graph, names[0], numbers.lhs_spec),
        _transposed(graph, names[1], numbers.rhs_spec),
        strides=list(params["window_strides"]),
        dilations=list(params["rhs_dilation"]),
        pads=[int(side[at]) for at in (0, 1) for side in params["padding"]],
        group=params["feature_group_count"],
    )
    return _transposed(graph, name, np.argsort(numbers.out_spec).tolist())


def _gather(graph, equation, names, _):
    """Rows of one axis, by a list of places."""
    numbers, sizes = equation.params["dimension_numbers"], list(_sizes(equation))
    indices = equation.invars[1].aval.shape
    axis = numbers.start_index_map[0]
    shape = list(equation.invars[0].aval.shape)
    expected = [*range(axis), *range(axis + len(indices) - 1, len(_shape(equation)))]
    shape[axis] = 1
    if (
        indices[-1] != 1
        or numbers.operand_batching_dims
        or numbers.collapsed_slice_dims != (axis,)
        or sizes != shape
        or list(numbers.offset_dims) != expected
    ):
        raise ValueError("no ONNX for a gather that is no choice of rows")
    places = _reshaped(graph, names[1], indices[:-1])
    return graph.node("Gather", names[0], places, axis=axis)


def _sizes(equation):
    return equation.params["slice_sizes"]


def _scatter(graph, equation, names, given):
    """One place of one axis is replaced: what `x.at[:, 0].set(...)` is."""
    numbers = equation.params["dimension_numbers"]
    shape = list(_shape(equation))
    at = given[1]
    if isinstance(at, str) or at.size != 1 or len(numbers.inserted_window_dims) != 1:
        raise ValueError("no ONNX for a scatter to several or unknown places")
    (axis,), at = numbers.inserted_window_dims, int(at.ravel()[0])
    parts = []
    for start, end in ((0, at), (at + 1, shape[axis])):
        if start < end:
            parts.append(_sliced(graph, names[0], [start], [end], [1], [axis]))
    shape[axis] = 1
    parts.insert(int(at > 0), _reshaped(graph, names[2], shape))
    return graph.node("Concat", *parts, axis=axis)


def _dynamic_slice(graph, equation, names, given):
    """Starts are moved inside, as JAX does."""
    sizes, whole = _sizes(equation), equation.invars[0].aval.shape
    room = [n - size for n, size in zip(whole, sizes, strict=True)]
    starts = []
    for start, name, most in zip(given[1:], names[1:], room, strict=True):
        if not isinstance(start, str):
            starts.append(_integers(graph, [np.clip(int(start), 0, most)]))
            continue
        inside = graph.node("Max", _cast(graph, name, np.int64), _integers(graph, 0))
        inside = graph.node("Min", inside, _integers(graph, most))
        starts.append(_reshaped(graph, inside, [1]))
    start = graph.node("Concat", *starts, axis=0)
    end = graph.node("Add", start, _integers(graph, sizes))
    axes = _integers(graph, range(len(sizes)))
    return graph.node("Slice", names[0], start, end, axes)


def _dynamic_update(graph, equation, names, given):
    """A block at a known place is replaced."""
    whole, part = (x.aval.shape for x in equation.invars[:2])
    if any(isinstance(start, str) for start in given[2:]):
        raise ValueError("no ONNX for an update at a place that is not known")
    low = [
        int(np.clip(int(start), 0, n - size))
        for start, n, size in zip(given[2:], whole, part, strict=True)
    ]
    if whole == part:
        return names[1]
    inside = np.zeros(whole, bool)
    inside[tuple(slice(a, a + n) for a, n in zip(low, part, strict=True))] = True
    high = [n - a - size for n, a, size in zip(whole, low, part, strict=True)]
    padded = graph.node("Pad", names[1], _integers(graph, low + high))
    return graph.node("Where", graph.constant(inside), padded, names[0])


def _power(graph, equation, names, _):
    exponent = np.array(equation.params["y"], equation.invars[0].aval.dtype)
    return graph.node("Pow", names[0], graph.constant(exponent))


def _finite(graph, equation, names, _):
    bad = graph.node("Or", graph.node("IsNaN", *names), graph.node("IsInf", *names))
    return graph.node("Not", bad)


_OTHERS = {
    "broadcast_in_dim": _broadcast,
    "clamp": lambda graph, _, names, __: graph.node(
        "Min", graph.node("Max", names[1], names[0]), names[2]
    ),
    "concatenate": _concatenated,
    "conv_general_dilated": _convolution,
    "convert_element_type": lambda graph, equation, names, _: _cast(
        graph, names[0], equation.params["new_dtype"]
    ),
    "dot_general": _product,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update,
    "expand_dims": _reshape,
    "gather": _gather,
    "integer_pow": _power,
    "is_finite": _finite,
    "ne": lambda graph, _, names, __: graph.node("Not", graph.node("Equal", *names)),
    "pad": _pad,
    "rem": lambda graph, _, names, __: graph.node("Mod", *names, fmod=1),
    "reshape": _reshape,
    "rev": _reverse,
    "rsqrt": lambda graph, _, names, __: graph.node(
        "Reciprocal", graph.node("Sqrt", *names)
    ),
    "scatter": _scatter,
    "select_n": _select,
    "slice": _slice,
    "split": _split,
    "square": lambda graph, _, names, __: graph.node("Mul", names[0], names[0]),
    "squeeze": _reshape,
    "stack": _stack,
    "transpose": lambda graph, equation, names, _: _transposed(
        graph, names[0], equation.params["permutation"]
    ),
}
