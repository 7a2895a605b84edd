"""The recurrence of an LSTM in one GPU kernel per pass: a contestant, not the product.

A program takes 16 sequences and walks over their steps with h and c in registers; h U
runs on tensor cores, U is read from the cache in every step. By Triton, through Pallas;
interpreted on a CPU. `states` does what `ser_jax.layers.recurrent._states` does. The
kernel becomes part of the product when a GPU says that it wins (`benchmarks.gpu`).
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Bool, Float

ROWS = 16  # of a program: as few as a tensor core takes
WARPS = 8


@jax.custom_vjp
def states(
    gates: Float[Array, "B T G"], mask: Bool[Array, "B T"], kernel: Float[Array, "H G"]
) -> Float[Array, "B T H"]:
    """h after every step, valid or not, from projected steps; G = 4H.

    H is a power of two, from 16 on.
    """
    return _forward(gates, mask, kernel)[0]


def _forward(gates, mask, kernel):
    kernel = kernel.astype(gates.dtype)
    shape = *gates.shape[:2], len(kernel)
    float32 = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    outputs = jax.ShapeDtypeStruct(shape, gates.dtype), float32(shape)
    call = _call(_forward_kernel, (*outputs, float32(gates.shape)), "lstm_forward")
    h, c, sums = call(gates, mask.astype(jnp.int32), kernel)
    return h, (mask, kernel, h, c, sums)


def _backward(residuals, grad):
    mask, kernel, h, c, sums = residuals
    like = jax.ShapeDtypeStruct(sums.shape, grad.dtype)
    call = _call(_backward_kernel, like, "lstm_backward")
    of_gates = call(grad, mask.astype(jnp.int32), kernel.T, c, sums)
    before = jnp.pad(h, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    of_kernel = jnp.einsum(
        "bth,btg->hg", before, of_gates, preferred_element_type=jnp.float32
    )
    return of_gates, None, of_kernel


states.defvjp(_forward, _backward)


def _call(kernel, out_shape, name: str):
    some = jax.tree.leaves(out_shape)[0]
    return pl.pallas_call(
        kernel,
        grid=(-(-some.shape[0] // ROWS),),
        out_shape=out_shape,
        compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=1),
        interpret=jax.default_backend() == "cpu",
        name=name,
    )


class _Program:
    """The rows of a program and their memory."""

    def __init__(self, ref, features: int):
        self.features = features
        first = pl.program_id(0) * ROWS
        self.rows = pl.ds(first, ROWS)
        self.exists = first + jnp.arange(ROWS) < ref.shape[0]

    def part(self, gate: int):
        return pl.ds(gate * self.features, self.features)

    def place(self, ref, step, part: int):
        return ref.at[self.rows, step, self.part(part)]

    def load(self, ref, step, part: int = 0, *, where=True):
        """A part of H columns of a step, float32; 0 where there is none."""
        wanted = jnp.broadcast_to((self.exists & where)[:, None], (ROWS, self.features))
        place = self.place(ref, step, part)
        return triton.load(place, mask=wanted, other=0).astype(jnp.float32)

    def store(self, ref, step, value, part: int = 0) -> None:
        wanted = jnp.broadcast_to(self.exists[:, None], (ROWS, self.features))
        place = self.place(ref, step, part)
        triton.store(place, value.astype(ref.dtype), mask=wanted)

    def valid(self, mask_ref, step):
        place = mask_ref.at[self.rows, step]
        return triton.load(place, mask=self.exists, other=0)[:, None] > 0

    def zeros(self):
        return jnp.zeros((ROWS, self.features), jnp.float32)


def _dot(a, b):
    return jnp.dot(a, b, preferred_element_type=jnp.float32)


def _forward_kernel(gates_ref, mask_ref, kernel_ref, h_ref, c_ref, sums_ref):
    program = _Program(gates_ref, kernel_ref.shape[0])

    def step(t, state):
        h, c = state
        sums = []
        for gate in range(4):
            columns = kernel_ref[:, program.part(gate)]
            part = _dot(h.astype(kernel_ref.dtype), columns)
            sums.append(program.load(gates_ref, t, gate) + part)
            program.store(sums_ref, t, sums[-1], gate)
        i, f, g, o = sums
        new_c = nnx.sigmoid(f) * c + nnx.sigmoid(i) * jnp.tanh(g)
        # As the layer's, rounded to its type.
        new_h = (nnx.sigmoid(o) * jnp.tanh(new_c)).astype(h_ref.dtype)
        valid = program.valid(mask_ref, t)
        h = jnp.where(valid, new_h.astype(jnp.float32), h)
        c = jnp.where(valid, new_c, c)
        program.store(h_ref, t, h)
        program.store(c_ref, t, c)
        return h, c

    start = program.zeros(), program.zeros()
    jax.lax.fori_loop(0, gates_ref.shape[1], step, start)


def _backward_kernel(grad_ref, mask_ref, turned_ref, c_ref, sums_ref, out_ref):
    program = _Program(grad_ref, turned_ref.shape[1])  # U^T
    steps = grad_ref.shape[1]

    def step(number, state):
        of_h, of_c = state
        t = steps - 1 - number
        of_h = of_h + program.load(grad_ref, t)
        i, f, g, o = (program.load(sums_ref, t, gate) for gate in range(4))
        i, f, g, o = nnx.sigmoid(i), nnx.sigmoid(f), jnp.tanh(g), nnx.sigmoid(o)
        valid = program.valid(mask_ref, t)
        end = jnp.tanh(program.load(c_ref, t))
        before = program.load(c_ref, jnp.maximum(t - 1, 0), where=t > 0)
        inner = of_c + of_h * o * (1 - end * end)
        of_gates = (
            inner * g * i * (1 - i),
            inner * before * f * (1 - f),
            inner * i * (1 - g * g),
            of_h * end * o * (1 - o),
        )
        through = program.zeros()
        for gate, value in enumerate(of_gates):
            value = jnp.where(valid, value, 0)
            program.store(out_ref, t, value, gate)
            rows = turned_ref[program.part(gate), :]
            through += _dot(value.astype(turned_ref.dtype), rows)
        of_h = jnp.where(valid, through, of_h)
        return of_h, jnp.where(valid, inner * f, of_c)

    jax.lax.fori_loop(0, steps, step, (program.zeros(), program.zeros()))
