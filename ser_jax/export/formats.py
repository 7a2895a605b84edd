"""The formats that carry a whole recognizer: what writes them, what loads them back."""

import dataclasses
import importlib.util
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from ser_jax.errors import InputError
from ser_jax.export import wave_model
from ser_jax.predict.trained_model import TrainedModel

PLATFORMS = ("cpu", "cuda", "tpu")
INPUTS, OUTPUTS = ("samples", "lengths"), ("probabilities",)
OPSET = 17  # of ONNX
_SMALL = 1024  # values; ONNX constants of at most so many stay as they are


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of programs."""

    packages: dict[str, str]  # to write and to check: module -> extra that brings it
    # (trained, samples N of an input; 0 = any) -> content of the file
    write: Callable[[TrainedModel, int], bytes]
    # Python code for a process without ser_jax, after `import sys`, that makes
    # `answer(samples, lengths)` and `version` from `path`
    load: str
    is_fixed: bool  # takes one recording of at most N samples
    limits: tuple[str, ...]  # for the card

    def check_packages(self, name: str) -> None:
        """Raises an InputError if a package is missing."""
        for module, extra in self.packages.items():
            if importlib.util.find_spec(module) is None:
                raise InputError(
                    f"--format={name}: expected the package {module}, to make and "
                    f"check the file; got none. Install the extra `{extra}`."
                )


def _shapes(batch, samples) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    return (
        jax.ShapeDtypeStruct((batch, samples), jnp.float32),
        jax.ShapeDtypeStruct((batch,), jnp.int32),
    )


def stablehlo(trained: TrainedModel, _: int = 0) -> bytes:
    """A serialized `jax.export` program for cpu, cuda and tpu; any B and N."""
    shapes = _shapes(*jax.export.symbolic_shape("B, N"))
    answer = jax.jit(wave_model.make(trained))
    # float32 products on every platform, or an accelerator would answer otherwise.
    with jax.default_matmul_precision("highest"):
        program = jax.export.export(answer, platforms=PLATFORMS)(*shapes)
    return bytes(program.serialize())


def onnx(trained: TrainedModel, num_samples: int) -> bytes:
    """An ONNX model for one recording of at most N samples, by jax2onnx."""
    import jax2onnx  # extra `onnx`; it changes jax.numpy while it traces

    # It traces with functions of its own in the place of jax.numpy's and Flax's, and
    # some of 0.17.1's are wrong (`clip` of unequal shapes, `Dropout` with `rngs`): it
    # gets a program that is traced already, of primitives alone.
    shapes, answer = _shapes(1, num_samples), wave_model.make(trained, plain=True)
    program = core.jaxpr_as_fun(jax.make_jaxpr(answer)(*shapes))
    model = jax2onnx.to_onnx(
        lambda *arrays: program(*arrays)[0],
        shapes,
        opset=OPSET,
        input_names=INPUTS,
        output_names=list(OUTPUTS),
    )
    compress_constants(model.graph)
    return model.SerializeToString()


def compress_constants(graph) -> None:
    """Stores equal constants of an `onnx.GraphProto` once, and repeated rows once.

    jax2onnx writes every broadcast of a constant out: zeros as large as each map.
    """
    from onnx import helper, numpy_helper

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


def tflite(trained: TrainedModel, num_samples: int) -> bytes:
    """A TFLite model for one recording of at most N samples, by `litert-converter`."""
    from litert_converter import converter_api_ext as converter  # extra `tflite`
    from litert_converter.mlir import ir, passmanager

    # Without loops, which the converter cannot write to a file.
    with jax.disable_jit():
        answer = wave_model.make(trained, plain=True)
        program = jax.make_jaxpr(answer)(*_shapes(1, num_samples))
    lowered = jax.jit(core.jaxpr_as_fun(program)).lower(*program.in_avals)
    context = ir.Context()
    converter.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(lowered.as_text())
        functions = {x.attributes["sym_name"].value: x for x in module.body.operations}
        signature = ("serving_default", list(INPUTS), list(OUTPUTS))
        converter.set_signature(functions["main"].operation, *signature)
        converter.run_convert_to_tfl_passes(
            module, passmanager.PassManager(), converter.ConvertToTFLConfig()
        )
        return bytes(converter.export_flatbuffer_to_bytes(module.operation))


_PLAIN = "power spectra are matrix products"
FORMATS = {
    "stablehlo": Format(
        packages={},
        write=stablehlo,
        load="""
import jax
program = jax.export.deserialize(bytearray(open(path, "rb").read()))
answer = jax.jit(program.call)
version = "jax " + jax.__version__
""",
        is_fixed=False,
        limits=(
            "loads with the jax that wrote it and any released within six months after",
            "one program for " + ", ".join(PLATFORMS),
        ),
    ),
    "tflite": Format(
        packages={"litert_converter": "tflite", "ai_edge_litert": "tflite"},
        write=tflite,
        load="""
sys.modules["jax"] = None
import importlib.metadata
from ai_edge_litert.interpreter import Interpreter
runner = Interpreter(path).get_signature_runner("serving_default")
answer = lambda samples, lengths: runner(samples=samples, lengths=lengths)["probabilities"]
version = "ai-edge-litert " + importlib.metadata.version("ai-edge-litert")
""",
        is_fixed=True,
        limits=(f"{_PLAIN}, loops are written out",),
    ),
    "onnx": Format(
        packages={"jax2onnx": "onnx", "onnxruntime": "onnx"},
        write=onnx,
        load="""
sys.modules["jax"] = None
import onnxruntime
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
answer = lambda samples, lengths: session.run(
    None, {"samples": samples, "lengths": lengths}
)[0]
version = "onnxruntime " + onnxruntime.__version__
""",
        is_fixed=True,
        limits=(_PLAIN, f"operator set {OPSET}"),
    ),
}
