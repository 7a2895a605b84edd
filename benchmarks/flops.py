"""Arithmetic: what a program's products take, and what devices can do at most."""

import math

import jax
from jax.extend import core
from jax.interpreters import partial_eval

# Of the datasheets, dense, operations per second. Products of float32 on the tensor
# cores are TF32, JAX's default on these.
HOPPER = {"float32": 495e12, "bfloat16": 989e12}
AMPERE = {"float32": 156e12, "bfloat16": 312e12}
PEAKS = {
    "NVIDIA H100 80GB HBM3": HOPPER,
    "NVIDIA H200": HOPPER,
    "NVIDIA A100-SXM4-40GB": AMPERE,
    "NVIDIA A100-SXM4-80GB": AMPERE,
    "NVIDIA A100-PCIE-40GB": AMPERE,
    "NVIDIA A100 80GB PCIe": AMPERE,
}


def of(jaxpr: core.Jaxpr) -> float:
    """Operations of all products of matrices and convolutions of a traced function.

    XLA's own count takes the body of a loop once, and a kernel of ours for nothing. Here
    a scan's body counts as often as it runs, a Pallas kernel's once per program of its
    grid, and of a `while`, whose turns nobody knows, once. What no result needs (the
    first layer's gradient of its input) does not count, as XLA drops it.
    """
    used, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _all_of(used)


def _all_of(jaxpr: core.Jaxpr) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            total += _dot(equation)
        elif name == "conv_general_dilated":
            total += _convolution(equation)
        else:
            inner = [_all_of(x) for x in core.jaxprs_in_params(params)]
            times = 1
            if name == "scan":
                times = params["length"]
            elif name == "pallas_call":
                times = math.prod(params["grid_mapping"].grid)
            # Of branches only one is taken.
            total += times * (max(inner) if name == "cond" else sum(inner))
    return total


def rate(flops: float, seconds: float, dtype: str) -> dict[str, float]:
    """Columns: 10^12 operations per second, and their share of the device's peak."""
    if not flops:
        return {}
    found = {"TFLOP/s": flops / seconds / 1e12}
    if peaks := PEAKS.get(jax.devices()[0].device_kind):
        found["of peak [%]"] = 100 * flops / seconds / peaks[dtype]
    return found


def _dot(equation) -> float:
    ((contracted, _), _) = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    summed = math.prod(left[axis] for axis in contracted)
    return 2.0 * equation.outvars[0].aval.size * summed


def _convolution(equation) -> float:
    kernel = equation.invars[1].aval.shape
    places = equation.params["dimension_numbers"].rhs_spec
    # Every output sums over the inputs of its group and all taps; those that fall
    # between the cells of a map that is spread out are zeros.
    summed = math.prod(kernel[axis] for axis in places[1:])
    spread = math.prod(equation.params["lhs_dilation"])
    return 2.0 * equation.outvars[0].aval.size * summed / spread
