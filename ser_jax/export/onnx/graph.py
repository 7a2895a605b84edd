"""ONNX files: a traced program whose loops are written out, operation by operation."""

import hashlib
from collections.abc import Sequence

import numpy as np
import onnx
from jax.extend import core
from onnx import helper, numpy_helper

from ser_jax.export.onnx import operators

OPSET = 17
IR_VERSION = 8
_FOLDED = 1024  # values that are worked out here even if that makes them more


class Graph:
    """The nodes of a graph so far."""

    def __init__(self):
        """Empty."""
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._known: dict[tuple, str] = {}
        self._count = 0

    def name(self) -> str:
        """A new one."""
        self._count += 1
        return f"v{self._count}"

    def constant(self, value) -> str:
        """The name of a constant; equal ones are one, as the steps of a loop have."""
        value = np.asarray(value, order="C")
        digest = hashlib.sha256(value.tobytes()).digest()
        key = (value.dtype.str, value.shape, digest)
        if key not in self._known:
            self._known[key] = self.name()
            self.constants.append(numpy_helper.from_array(value, self._known[key]))
        return self._known[key]

    def node(self, operator: str, *inputs: str, **attributes) -> str:
        """Adds a node with one output; gives its name."""
        return self.nodes_of(operator, inputs, 1, **attributes)[0]

    def nodes_of(self, operator: str, inputs, outputs: int, **attributes) -> list[str]:
        """Adds a node with several outputs."""
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names

    def read(self, outputs: Sequence[str]):
        """The nodes and constants that the outputs depend on."""
        needed, nodes = set(outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                nodes.append(node)
        return nodes[::-1], [x for x in self.constants if x.name in needed]


def to_bytes(
    program: core.ClosedJaxpr, inputs: Sequence[str], outputs: Sequence[str]
) -> bytes:
    """The content of a file.

    Args:
      program: Without loops; see `wave_model.unrolled`.
      inputs: Names of what it takes.
      outputs: Names of what it gives.

    Raises:
      ValueError: It has an operation that `onnx_operators` does not know.
    """
    graph = Graph()
    consts = map(np.asarray, program.consts)
    found = _walk(graph, program.jaxpr, consts, inputs)
    for inner, name in zip(found, outputs, strict=True):
        graph.nodes.append(helper.make_node("Identity", [inner], [name]))
    nodes, constants = graph.read(outputs)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "ser_jax",
            _described(inputs, program.in_avals),
            _described(outputs, program.out_avals),
            constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="ser_jax",
    )
    return model.SerializeToString()


def _described(names, avals) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(aval.dtype), aval.shape
        )
        for name, aval in zip(names, avals, strict=True)
    ]


def _walk(graph: Graph, jaxpr, consts, inputs) -> list:
    """Adds a program's equations; a value is an array, or the name of a tensor."""
    values = dict(zip(jaxpr.constvars, consts, strict=True))
    values |= dict(zip(jaxpr.invars, inputs, strict=True))

    def value(atom):
        if isinstance(atom, core.Literal):
            return np.asarray(atom.val, atom.aval.dtype)
        return values[atom]

    for equation in jaxpr.eqns:
        given = [value(atom) for atom in equation.invars]
        inner = _inner(equation)
        if inner is not None:
            out = _walk(graph, inner.jaxpr, map(np.asarray, inner.consts), given)
        elif all(x.aval.size == 0 for x in equation.outvars):
            # A Reshape takes 0 for "as it was": empty arrays never become tensors.
            out = [np.zeros(x.aval.shape, x.aval.dtype) for x in equation.outvars]
        elif _is_folded(equation, given):
            out = equation.primitive.bind(*given, **equation.params)
            out = out if equation.primitive.multiple_results else [out]
            out = [np.asarray(x) for x in out]
        else:
            out = operators.translated(graph, equation, given)
        values.update(zip(equation.outvars, out, strict=True))
    return [
        x if isinstance(x, str) else graph.constant(x)
        for x in map(value, jaxpr.outvars)
    ]


def _inner(equation):
    """The program inside a call, or None."""
    for key in ("call_jaxpr", "fun_jaxpr", "jaxpr"):
        inner = equation.params.get(key)
        if isinstance(inner, core.ClosedJaxpr):
            return inner
    return None


def _is_folded(equation, given) -> bool:
    """Whether an equation is worked out here: known values that stay few, or iota."""
    if any(isinstance(x, str) for x in given):
        return False
    size = sum(x.aval.size for x in equation.outvars)
    return not given or size <= max(_FOLDED, sum(x.size for x in given))
