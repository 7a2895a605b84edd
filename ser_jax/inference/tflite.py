"""TFLite (LiteRT) files from StableHLO, through Google's `litert-converter`."""

import jax
import jax.extend
import jax.numpy as jnp

from ser_jax.inference import wave_model
from ser_jax.inference.trained import Trained

SIGNATURE = "serving_default"


def unrolled(trained: Trained, num_samples: int) -> jax.extend.core.ClosedJaxpr:
    """The plain program for [1, N] samples, its loops written out."""
    with jax.disable_jit():
        return jax.make_jaxpr(wave_model.make(trained, plain=True))(
            jax.ShapeDtypeStruct((1, num_samples), jnp.float32),
            jax.ShapeDtypeStruct((1,), jnp.int32),
        )


def to_bytes(trained: Trained, num_samples: int) -> bytes:
    """The content of a file for one recording of at most N samples.

    Loops are written out: the converter has no exporter for those with a region.
    """
    from litert_converter import converter_api_ext as converter
    from litert_converter.mlir import ir, passmanager

    program = unrolled(trained, num_samples)
    lowered = jax.jit(jax.extend.core.jaxpr_as_fun(program)).lower(*program.in_avals)
    context = ir.Context()
    converter.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(lowered.as_text())
        (main,) = (
            operation
            for operation in module.body.operations
            if operation.attributes["sym_name"].value == "main"
        )
        converter.set_signature(
            main.operation, SIGNATURE, ["samples", "lengths"], ["probabilities"]
        )
        converter.run_convert_to_tfl_passes(
            module, passmanager.PassManager(), converter.ConvertToTFLConfig()
        )
        return bytes(converter.export_flatbuffer_to_bytes(module.operation))
