"""The formats that carry a whole recognizer: what writes them, what loads them back."""

import dataclasses
import importlib.util
from collections.abc import Callable

import jax
import jax.extend
import jax.numpy as jnp

from ser_jax.errors import InputError
from ser_jax.export import wave_model
from ser_jax.predict.trained_model import TrainedModel

PLATFORMS = ("cpu", "cuda", "tpu")
INPUTS, OUTPUTS = ("samples", "lengths"), ("probabilities",)
OPSET = 17  # of ONNX; the oldest that has all we need


@dataclasses.dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
      suffix: Of its files.
      packages: Module -> extra of ser_jax that brings it; to write and to check.
      write: (trained, samples N of an input; 0 = any) -> content of the file.
      load: Python code, run by a process without ser_jax after `import sys`, that
        makes `answer(samples, lengths)` and `version` from `path`.
      is_fixed: Whether a program takes one recording of at most N samples.
      limits: What a reader must know, for the card.
    """

    suffix: str
    packages: dict[str, str]
    write: Callable[[TrainedModel, int], bytes]
    load: str
    is_fixed: bool
    limits: tuple[str, ...]

    def check_packages(self, name: str) -> None:
        """Checks that the file can be written and loaded back here.

        Raises:
          InputError: A package is missing.
        """
        for module, extra in self.packages.items():
            if importlib.util.find_spec(module) is None:
                raise InputError(
                    f"--format={name}: expected the package {module}, without which "
                    f"the file cannot be made and checked; got none. Install "
                    f"the extra `{extra}`."
                )


def stablehlo(trained: TrainedModel, num_samples: int = 0) -> bytes:
    """A serialized `jax.export` program for cpu, cuda and tpu; any B and N.

    Products are float32 on all of them, or an accelerator would answer otherwise.
    """
    del num_samples  # any
    batch, samples = jax.export.symbolic_shape("B, N")
    shapes = (
        jax.ShapeDtypeStruct((batch, samples), jnp.float32),
        jax.ShapeDtypeStruct((batch,), jnp.int32),
    )
    answer = jax.jit(wave_model.make(trained))
    with jax.default_matmul_precision("highest"):
        program = jax.export.export(answer, platforms=PLATFORMS)(*shapes)
    return bytes(program.serialize())


def onnx(trained: TrainedModel, num_samples: int) -> bytes:
    """An ONNX model for one recording of at most N samples."""
    import jax2onnx  # extra `onnx`

    # jax2onnx traces with functions of its own in the place of jax.numpy's and Flax's,
    # and some of 0.17.1's are wrong (`clip` of unequal shapes, `Dropout` with `rngs`):
    # it gets a program that is traced already, of primitives alone.
    shapes = [
        jax.ShapeDtypeStruct((1, num_samples), jnp.float32),
        jax.ShapeDtypeStruct((1,), jnp.int32),
    ]
    program = jax.make_jaxpr(wave_model.make(trained, plain=True))(*shapes)
    answer = jax.extend.core.jaxpr_as_fun(program)
    model = jax2onnx.to_onnx(
        lambda samples, lengths: answer(samples, lengths)[0],
        shapes,
        opset=OPSET,
        input_names=INPUTS,
        output_names=OUTPUTS,
    )
    return model.SerializeToString()


def tflite(trained: TrainedModel, num_samples: int) -> bytes:
    """A TFLite model for one recording of at most N samples."""
    from ser_jax.export import tflite  # needs the extra `tflite`

    program = wave_model.unrolled(trained, num_samples)
    return tflite.to_bytes(program, INPUTS, OUTPUTS)


_PLAIN = "power spectra are matrix products, loops are written out"
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
        limits=(_PLAIN,),
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
        limits=(_PLAIN, f"operator set {OPSET}"),
    ),
}
