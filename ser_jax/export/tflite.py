"""TFLite (LiteRT) files from StableHLO, by Google's `litert-converter`."""

from collections.abc import Sequence

import jax
from jax.extend import core
from litert_converter import converter_api_ext as converter
from litert_converter.mlir import ir, passmanager

SIGNATURE = "serving_default"


def to_bytes(
    program: core.ClosedJaxpr, inputs: Sequence[str], outputs: Sequence[str]
) -> bytes:
    """The content of a file.

    Args:
      program: Without loops, which the converter cannot write to a file; see
        `wave_model.unrolled`.
      inputs: Names of what it takes, in the signature `serving_default`.
      outputs: Names of what it gives.

    Raises:
      Exception: The converter has no counterpart of an operation.
    """
    lowered = jax.jit(core.jaxpr_as_fun(program)).lower(*program.in_avals)
    context = ir.Context()
    converter.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(lowered.as_text())
        (main,) = (
            operation
            for operation in module.body.operations
            if operation.attributes["sym_name"].value == "main"
        )
        converter.set_signature(main.operation, SIGNATURE, list(inputs), list(outputs))
        converter.run_convert_to_tfl_passes(
            module, passmanager.PassManager(), converter.ConvertToTFLConfig()
        )
        return bytes(converter.export_flatbuffer_to_bytes(module.operation))
