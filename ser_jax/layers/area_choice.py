"""Which implementation of area attention `auto` is: the kernel where it is faster.

That is on NVIDIA GPUs that Triton compiles for (on an H100 it takes half of XLA's time;
docs/gpu.md), if the kernel compiles there. Elsewhere it is XLA.
"""

import functools
import logging
import threading

import jax
import jax.numpy as jnp

from ser_jax.layers import area_kernel
from ser_jax.layers.area_pooling import Areas, Block

# The kernel's code is written out for every size, so it takes longer to compile with
# each: 5 s at 3x3 on an H100.
LARGEST_SIDE = 5
OLDEST = (8, 0)  # compute capability; Pallas compiles Triton's kernels from Ampere on

_log = logging.getLogger(__name__)


def choose(largest: tuple[int, int]) -> str:
    """`pallas` or `xla` for areas up to a height and width; logs why, once."""
    if max(largest) > LARGEST_SIDE:
        _say(f"xla: areas of {largest[0]}x{largest[1]} take the kernel long to compile")
        return "xla"
    if max(largest) == 1:
        _say("xla: the kernel gains nothing from areas of one cell")
        return "xla"
    return _on_this_machine()


@functools.cache
def _on_this_machine() -> str:
    reason = obstacle(jax.devices()[0])
    if reason:
        _say(f"xla: {reason}")
        return "xla"
    try:
        _in_new_thread(_compile)
    except Exception as error:  # noqa: BLE001 - whatever it is, XLA still works
        line = str(error).strip().splitlines()[:1]
        _log.warning(
            "Area attention: xla, since its kernel does not compile here (%s: %s). It "
            "is slower, and right.",
            type(error).__name__,
            *line or [""],
        )
        return "xla"
    _say(f"pallas: one kernel on {jax.devices()[0].device_kind}")
    return "pallas"


def obstacle(device) -> str:
    """Why the kernel is not for a device; '' if it is."""
    if jax.default_backend() == "cpu":
        return "on CPU the kernel would be interpreted"
    kind = device.device_kind
    if "NVIDIA" not in kind:
        return f"the kernel is for NVIDIA GPUs, not for {kind}"
    capability = getattr(device, "compute_capability", "0")
    if tuple(int(x) for x in str(capability).split(".")) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return f"Triton needs compute capability {oldest}; {kind} has {capability}"
    return ""


def _compile() -> None:
    """Compiles the smallest kernel there is."""
    areas = Areas((2, 2), (1, 1))

    def area(share, keep, sums, per_query):
        term = jnp.exp(sums[0] * share - per_query[0])
        return term, term

    def sweep(maps, number):
        block = Block((0, 0), (1, 2), None, None, None, None, None)
        return area_kernel.sweep(area, (maps,), (number,), block, areas, jnp.float32)

    shapes = (1, 4, 2), (1, 2)
    jax.jit(sweep).lower(
        *[jax.ShapeDtypeStruct(x, jnp.float32) for x in shapes]
    ).compile()


def _in_new_thread(function) -> None:
    # Free of the mesh and the trace in which the attention is called.
    errors = []

    def run():
        try:
            function()
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


@functools.cache
def _say(text: str) -> None:
    _log.info("Area attention: %s.", text)
