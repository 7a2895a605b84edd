"""The LSTM kernel of the benchmarks equals the layer's loop, forwards and backwards."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import pallas_lstm
from ser_jax.layers import recurrent


def test_the_kernel_is_the_layers_recurrence():
    # Three runs; two programs, the last one cut off.
    runs, batch, steps, features = 3, 19, 5, 16
    rng = np.random.default_rng(0)
    gates = rng.standard_normal((runs, batch, steps, 4 * features), np.float32)
    mask = rng.random((runs, batch, steps)) > 0.3
    kernel = rng.standard_normal((runs, features, 4 * features), np.float32)
    weight = rng.standard_normal((batch, steps, features), np.float32)

    def results(states):
        def loss(gates, kernel, mask):
            h = states(gates, mask, kernel)
            return (h * weight).sum(), h

        gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
        return jax.jit(jax.vmap(gradient))(gates, kernel, mask)

    (ours, h), (expected, expected_h) = map(
        results, (pallas_lstm.states, recurrent._states)
    )
    for x, y in zip((*ours, h), (*expected, expected_h), strict=True):
        # float32 sums of up to 95 products.
        np.testing.assert_allclose(x, jnp.asarray(y), rtol=1e-5, atol=1e-5)
