"""Long short-term memory over sequences with padding: one way, both ways, in windows.

Hochreiter and Schmidhuber, Long Short-Term Memory, Neural Computation 9(8) 1997, with
the forget gate of Gers et al. 2000. With gates in the order i, f, g, o:

    [i, f, g, o]_t = x_t W + h_(t-1) U + b
    c_t = sigmoid(f_t) c_(t-1) + sigmoid(i_t) tanh(g_t)
    h_t = sigmoid(o_t) tanh(c_t)

A step outside the mask keeps h and c and gives output 0, wherever it is.

Parameters of a direction: `kernel_in` W [D, 4H], `kernel` U [H, 4H], one bias b [4H].
They start as in Keras: W Glorot uniform, U orthogonal, b zeros but 1 at the forget gate.
(PyTorch has a second bias that is added to the first, and so counts 4H more.)
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

# A GPU waits for the loop more than for its steps, so five are written out in each turn
# of a loop over at least so many: of 150 steps, 3.0 ms instead of 5.3 on an H200. Loops
# over ten gain nothing (docs/gpu.md).
UNROLLED, LONG = 5, 32


class LSTM(nnx.Module):
    """One LSTM layer over a padded sequence, forwards in time."""

    directions: tuple[int, ...] = ()  # the parameters' axis of directions, if any

    def __init__(
        self, features_in: int, features: int, *, dtype=jnp.float32, rngs: nnx.Rngs
    ):
        """Makes W, U and b; D = `features_in`, H = `features` of a direction."""
        gates = 4 * features

        def make(init, rows: int, axis: int) -> nnx.Param:
            # A key of its own per direction: equal ones would start as mirror images.
            count = math.prod(self.directions)
            each = [init(rngs.params(), (rows, gates)) for _ in range(count)]
            return nnx.Param(jnp.stack(each, axis) if self.directions else each[0])

        self.kernel_in = make(jax.nn.initializers.glorot_uniform(), features_in, 1)
        self.kernel = make(jax.nn.initializers.orthogonal(), features, 0)
        bias = jnp.zeros((*self.directions, 4, features)).at[..., 1, :].set(1.0)
        self.bias = nnx.Param(bias.reshape(*self.directions, gates))
        self.dtype = dtype

    def project(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> Float[Array, "B T *_ G"]:
        """x W + b of all steps (and directions), G = 4H."""
        # One large matmul ahead of the loop, inside which only h U has to wait.
        x = jnp.where(mask[..., None], x, 0).astype(self.dtype)
        kernel = self.kernel_in[...].astype(self.dtype)
        bias = self.bias[...].astype(self.dtype)
        flat = x @ kernel.reshape(kernel.shape[0], -1)
        return flat.reshape(*x.shape[:2], *bias.shape) + bias

    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> tuple[Float[Array, "B T H"], Float[Array, "B H"]]:
        """Returns the outputs, and h after the last valid step (zeros without any)."""
        states = _states(self.project(x, mask), mask, self.kernel[...])
        return jnp.where(mask[..., None], states, 0), states[:, -1]


class BiLSTM(LSTM):
    """Two LSTMs over a padded sequence, one forwards, one backwards, side by side.

    Schuster and Paliwal, Bidirectional Recurrent Neural Networks, IEEE TSP 45(11)
    1997. Index 0 of the parameters' axis of size 2 is forwards, 1 is backwards:
    `kernel_in` [D, 2, 4H], `kernel` [2, H, 4H], `bias` [2, 4H].
    """

    directions = (2,)

    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> tuple[Float[Array, "B T C"], Float[Array, "B C"]]:
        """Returns the outputs, forwards then backwards, C = 2H; and the forward state
        after the last valid step beside the backward state after the first (zeros where
        no step is valid).
        """
        gates = self.project(x, mask)[:, None]
        outputs, last = self.read_windows(gates, mask[:, None], carry=False)
        return outputs[:, 0], last[:, 0]

    def read_windows(self, gates: Array, mask: Bool[Array, "B M W"], *, carry: bool):
        """Outputs [B, M, W, 2H] and last states [B, M, 2H] of projected windows.

        `carry` runs through the windows of an example as through one sequence.
        """
        batch, count, size, _, features = gates.shape
        # Both directions are one loop: half as many steps, each twice as large.
        turned = jnp.stack([gates[..., 0, :], gates[:, :, ::-1, 1]])
        masks = jnp.stack([mask, mask[:, :, ::-1]])
        rows = (2, batch, count * size) if carry else (2, batch * count, size)
        turned, masks = turned.reshape(*rows, features), masks.reshape(rows)
        states = jax.vmap(_states)(turned, masks, self.kernel[...])
        states = states.reshape(2, batch, count, size, -1)
        last = jnp.concatenate([*states[:, :, :, -1]], axis=-1)
        outputs = jnp.concatenate([states[0], states[1, :, :, ::-1]], axis=-1)
        some = mask.any(axis=-1, keepdims=True)
        return jnp.where(mask[..., None], outputs, 0), jnp.where(some, last, 0)


def cut_windows(
    x: Float[Array, "B T D"], mask: Bool[Array, "B T"], *, size: int, step: int
) -> tuple[Float[Array, "B M W D"], Bool[Array, "B M W"]]:
    """Cuts M = ceil((T - size) / step) + 1 windows (one if T <= size) of W = `size`.

    Window i starts at i * step; the last is filled with zeros, masked, where it runs
    over. Raises a ValueError if size or step is below 1.
    """
    if min(size, step) < 1:
        raise ValueError(f"size, step: expected at least 1, got {size}, {step}")
    count = math.ceil(max(x.shape[1] - size, 0) / step) + 1
    # A window is a row of pieces of `step` steps. Slices of whole pieces need no gather,
    # and so no scatter backwards, which is slow on CPU and GPU alike.
    pieces = math.ceil(size / step)
    missing = (count - 1 + pieces) * step - x.shape[1]

    def cut(x: Array) -> Array:
        x = jnp.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2))
        x = x.reshape(x.shape[0], -1, step, *x.shape[2:])
        rows = [x[:, i : i + count] for i in range(pieces)]
        return jnp.concatenate(rows, axis=2)[:, :, :size]

    return cut(x), cut(mask)


class SlidingBiLSTM(nnx.Module):
    """A BiLSTM over every window of a sequence; the same parameters for all.

    Peng et al., Speech Emotion Recognition Using 3D Convolutions and Attention-Based
    Sliding Recurrent Networks With Auditory Front-Ends (ASRNN), IEEE Access 8, 2020.
    With `carry` (ADSRNN) the windows lie end to end and a window starts in the state
    in which the same direction left the one before it: forwards that is one LSTM over
    the whole sequence; backwards the steps of a window are read from its end, the
    windows still from the first to the last.
    """

    def __init__(
        self,
        features_in: int,
        features: int,
        *,
        size: int,
        step: int,
        carry: bool,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Makes a `BiLSTM` for windows as in `cut_windows`.

        Raises a ValueError if windows that carry the state overlap or leave gaps.
        """
        if carry and step != size:
            raise ValueError(
                f"step: expected size ({size}) to carry the state, got {step}; use "
                "carry=False or windows that lie end to end"
            )
        self.lstm = BiLSTM(features_in, features, dtype=dtype, rngs=rngs)
        self.size, self.step, self.carry = size, step, carry

    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> tuple[Float[Array, "B M W C"], Float[Array, "B M C"], Bool[Array, "B M W"]]:
        """Returns the outputs, C = 2H; each window's last states (forwards beside
        backwards, zeros for a window of padding); and the windows' mask.
        """
        # Steps are projected before they are cut: overlapping windows share the matmul.
        gates = self.lstm.project(x, mask)
        batch, steps, _, features = gates.shape
        gates, mask = cut_windows(
            gates.reshape(batch, steps, -1), mask, size=self.size, step=self.step
        )
        gates = gates.reshape(*mask.shape, 2, features)
        return *self.lstm.read_windows(gates, mask, carry=self.carry), mask


def _states(gates, mask, kernel):
    """h after every step [B, T, H], valid or not, from projected steps [B, T, 4H]."""
    dtype = gates.dtype
    kernel = kernel.astype(dtype)

    def step(state, inputs):
        h, c = state
        x, valid = inputs
        x = x + jnp.dot(h, kernel, preferred_element_type=jnp.float32)
        i, f, g, o = jnp.split(x, 4, axis=-1)
        new_c = nnx.sigmoid(f) * c + nnx.sigmoid(i) * jnp.tanh(g)
        new_h = (nnx.sigmoid(o) * jnp.tanh(new_c)).astype(dtype)
        valid = valid[:, None]
        h, c = jnp.where(valid, new_h, h), jnp.where(valid, new_c, c)
        return (h, c), h

    # c is float32 in every dtype: it adds up small terms over the whole sequence.
    zeros = jnp.zeros((gates.shape[0], kernel.shape[0]), jnp.float32)
    steps = jnp.swapaxes(gates, 0, 1), mask.T
    is_long = gates.shape[1] >= LONG
    unroll = UNROLLED if is_long and jax.default_backend() != "cpu" else 1
    _, states = jax.lax.scan(step, (zeros.astype(dtype), zeros), steps, unroll=unroll)
    return jnp.swapaxes(states, 0, 1)
