"""The formats that carry a whole recognizer: what writes them, what loads them back."""

import dataclasses
import importlib.util
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend import core

from ser_jax.errors import InputError
from ser_jax.export import wave_model
from ser_jax.predict.trained_model import TrainedModel

PLATFORMS = ("cpu", "cuda", "tpu")
INPUTS, OUTPUTS = ("samples", "lengths"), ("probabilities",)


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of programs."""

    suffix: str
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


def stablehlo(trained: TrainedModel, num_samples: int = 0) -> bytes:
    """A serialized `jax.export` program for cpu, cuda and tpu; any B and N."""
    del num_samples  # any
    shapes = _shapes(*jax.export.symbolic_shape("B, N"))
    answer = jax.jit(wave_model.make(trained))
    # float32 products on every platform, or an accelerator would answer otherwise.
    with jax.default_matmul_precision("highest"):
        program = jax.export.export(answer, platforms=PLATFORMS)(*shapes)
    return bytes(program.serialize())


def onnx(trained: TrainedModel, num_samples: int) -> bytes:
    """An ONNX model for one recording of at most N samples."""
    from ser_jax.export import onnx_file  # needs the extra `onnx`

    answer = wave_model.make(trained, plain=True)
    return onnx_file.to_bytes(answer, _shapes(1, num_samples), INPUTS, *OUTPUTS)


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
        main = functions["main"]
        converter.set_signature(
            main.operation, "serving_default", list(INPUTS), list(OUTPUTS)
        )
        converter.run_convert_to_tfl_passes(
            module, passmanager.PassManager(), converter.ConvertToTFLConfig()
        )
        return bytes(converter.export_flatbuffer_to_bytes(module.operation))


_PLAIN = "power spectra are matrix products"
FORMATS = {
    "stablehlo": Format(
        suffix=".stablehlo",
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
        suffix=".tflite",
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
        suffix=".onnx",
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
        limits=(_PLAIN, "operator set 17"),
    ),
}
