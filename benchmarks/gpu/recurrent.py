"""The quickest way through a recurrence: a scan, steps written out, or one kernel.

A BiLSTM with 128 features a direction, forward and backward pass, for one run and ten
(under `vmap`): `lax.scan` with one, two or five steps in a turn, a Pallas kernel that
walks over the steps (benchmarks/pallas_lstm.py), and cuDNN's (`jax.experimental.rnn`),
which cannot be batched and takes the runs in turn.
ACRNN's sequences, and ASRNN's windows side by side.

    python -m benchmarks.gpu.recurrent [--quick] [--only=cudnn] [--out=recurrent.json]
"""

import functools
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks import flops, measure, pallas_lstm
from benchmarks.gpu.programs import Program, timed
from ser_jax.layers import recurrent

FEATURES = 128
SHAPES = ((40, 150, 768), (1160, 10, 256))  # B, T, D
RUNS = 10
_states = recurrent._states


def unrolled(steps: int) -> Callable:
    """`_states` with so many steps in a turn of its loop; on a CPU always with one."""

    def states(gates, mask, kernel):
        with mock.patch.multiple(recurrent, UNROLLED=steps, LONG=0):
            return _states(gates, mask, kernel)

    return states


# What `ser_jax.layers.recurrent._states` may be: gates [B, T, 4H], mask [B, T] and kernel
# [H, 4H] to h after every step [B, T, H].
STATES = {
    "five steps": unrolled(5),
    "two steps": unrolled(2),
    "one step": unrolled(1),
    "one kernel": pallas_lstm.states,
}


def row_of(shape: tuple[int, int, int], runs: int, way: str, *, quick: bool) -> dict:
    """Milliseconds of forward and backward."""
    row = {"B x T x D": "x".join(map(str, shape)), "runs": runs, "way": way}
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((runs, *shape), np.float32))
    weights, forward = cudnn(shape, runs) if way == "cudnn" else ours(shape, runs)

    def loss(weights, x):
        return jnp.sum(jnp.sin(forward(weights, x)))

    gradient = jax.grad(loss, argnums=(0, 1))
    each = jax.vmap(gradient)
    if way == "cudnn":

        def each(*all_runs):
            return jax.lax.map(lambda one: gradient(*one), all_runs)

    with mock.patch.object(recurrent, "_states", STATES.get(way, _states)):
        program = Program.of(each, weights, x)
    call = lambda: jax.block_until_ready(program.call(weights, x))
    took = timed(call, rounds=2 if quick else 15, count=1)
    row |= {"ms": took.scaled(1e3), "compile [s]": program.compile_s}
    return row | flops.rate(program.flops, took.median, "float32")


def ours(shape: tuple[int, int, int], runs: int) -> tuple:
    """Weights of all runs, and the layer as a function of them and its input."""
    batch, steps, depth = shape
    graphdef, one = nnx.split(recurrent.BiLSTM(depth, FEATURES, rngs=nnx.Rngs(0)))
    mask = jnp.ones((batch, steps), bool)

    def forward(weights, x):
        return nnx.merge(graphdef, weights)(x, mask)[0]

    return jax.tree.map(lambda w: jnp.stack([w] * runs), one), forward


def cudnn(shape: tuple[int, int, int], runs: int) -> tuple:
    """The same of cuDNN."""
    from jax.experimental import rnn

    batch, steps, depth = shape
    size = rnn.get_num_params_in_lstm(depth, FEATURES, 1, True)
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.standard_normal((runs, size), np.float32)) * 0.05
    h, lengths = jnp.zeros((2, batch, FEATURES)), jnp.full(batch, steps, jnp.int32)

    def forward(weights, x):
        options = (depth, FEATURES, 1, 0.0, True)
        return rnn.lstm(x, h, h, weights, lengths, *options)[0]

    return weights, forward


def cases(quick: bool, _: Path) -> list[measure.Case]:
    """A case per number of runs, shape and way."""
    ways = [*STATES]
    if jax.default_backend() == "gpu":
        ways.append("cudnn")
    return [
        measure.Case(
            f"{'x'.join(map(str, shape))} {runs} runs {way}",
            functools.partial(row_of, shape, runs, way, quick=quick),
        )
        for runs in (1, RUNS)
        for shape in (((2, 5, 8),) if quick else SHAPES)
        for way in ways
    ]


if __name__ == "__main__":
    measure.main(
        cases, doc=__doc__, name="gpu_recurrent", packages=("jax", "jaxlib", "flax")
    )
