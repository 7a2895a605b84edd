"""Attention over the windows of a recording, with logits from each of them.

Source: donghyun1234, Speech emotion recognition using dilated CNN and attention based
sliding LSTM with 3D log mel-spectrogram (ADSRNN; figures of the public code).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers.options import check_mode
from ser_jax.layers.pooling import masked_softmax


def combination_weights(windows: int, rule: str) -> tuple[float, ...]:
    """Shares of the windows in the posterior; they add up to 1.

    `sum`: the same for each. `cascade`: ((p_1 + p_2) / 2 + p_3) / 2 ..., so 1/2 for the
    last window, 1/4 for the one before, ..., and the first two alike.
    """
    check_mode("combination", rule, ("sum", "cascade"))
    if rule == "sum":
        return (1 / windows,) * windows
    return tuple(0.5 ** min(windows - m, windows - 1) for m in range(windows))


def combine_logits(
    logits: Float[Array, "B M K"],
    valid: Bool[Array, "B M"],
    shares: tuple[float, ...],
) -> Float[Array, "B K"]:
    """Log of the windows' posteriors, added up by their shares; float32.

    Shares of the valid windows keep their ratios and add up to 1; if there is none, all
    count. The softmax of the result is the posterior.
    """
    # Posteriors are added, not logits; in the logarithm, so that a window that is
    # certain of a class does not underflow.
    valid = valid | ~valid.any(axis=1, keepdims=True)
    weights = jnp.where(valid, jnp.array(shares, jnp.float32), 0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    logs = jax.nn.log_softmax(logits.astype(jnp.float32))
    return jax.nn.logsumexp(logs, axis=1, b=weights[..., None])


class WindowAttention(nnx.Module):
    """Every window attends over itself and the windows before it.

        S_m = softmax(O_m (O_{1..m} W_m)^T),   Out_m = S_m O_{1..m}

    With `sow_maps` set it sows S as `attention`: [B, M, M].
    """

    def __init__(
        self,
        features: int,
        windows: int,
        *,
        sharing: str = "separate",
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Makes W [D, D] (no bias): one a window if `sharing` is `separate`, or one."""
        self.kernel = _kernels("attention", sharing, windows, (features,) * 2, rngs)
        self.dtype = dtype
        self.sow_maps = False

    def __call__(
        self, x: Float[Array, "B M D"], mask: Bool[Array, "B M"]
    ) -> Float[Array, "B M D"]:
        """Returns Out_1 ... Out_M of O_1 ... O_M; invalid windows are not read."""
        windows, size = x.shape[1:]
        x = jnp.where(mask[..., None], x, 0).astype(self.dtype)
        kernel = jnp.broadcast_to(
            self.kernel[...].astype(self.dtype), (windows, size, size)
        )
        # O_m (O_n W_m)^T = (O_m W_m^T) O_n^T: M products with a matrix, not M * M.
        query = jnp.einsum("bme,mde->bmd", x, kernel)
        scores = jnp.einsum(
            "bmd,bnd->bmn", query, x, preferred_element_type=jnp.float32
        )
        # NumPy: ONNX Runtime cannot run jnp.tril's choice between booleans.
        earlier = np.tril(np.ones((windows, windows), bool))
        weights = masked_softmax(scores, earlier & mask[:, None])
        weights = jnp.where(mask[..., None], weights, 0)
        if self.sow_maps:
            self.sow(nnx.Intermediate, "attention", weights)
        return jnp.einsum("bmn,bnd->bmd", weights.astype(x.dtype), x)


class WindowHeads(nnx.Module):
    """One output layer per window, or one for all: D -> K."""

    def __init__(
        self,
        features: int,
        num_classes: int,
        windows: int,
        *,
        sharing: str = "separate",
        rngs: nnx.Rngs,
    ):
        """Makes matrices and biases, arguments as in `WindowAttention`."""
        self.windows = windows
        shape = features, num_classes
        self.kernel = _kernels("heads", sharing, windows, shape, rngs)
        self.bias = nnx.Param(jnp.zeros((len(self.kernel), num_classes)))

    def __call__(self, x: Float[Array, "B M D"]) -> Float[Array, "B M K"]:
        """Returns every window's logits."""
        shape = (self.windows, *self.kernel.shape[1:])
        kernel = jnp.broadcast_to(self.kernel[...], shape)
        return jnp.einsum("bmd,mdk->bmk", x, kernel) + self.bias[...]


def _kernels(name: str, sharing: str, windows: int, shape, rngs) -> nnx.Param:
    check_mode(name, sharing, ("separate", "shared"))
    count = windows if sharing == "separate" else 1
    init = nnx.initializers.lecun_normal(batch_axis=(0,))  # each as one layer's
    return nnx.Param(init(rngs.params(), (count, *shape), jnp.float32))
