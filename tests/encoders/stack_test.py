"""What the encoders compute in their own way, against JAX and Flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.encoders.attention import attend
from ser_jax.encoders.stack import Linear, gelu
from ser_jax.encoders.wav2vec2_front import unpadded_conv
from tests.models.common import fast_jit


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_attention_is_jaxs():
    query, key, value = drawn(3, 2, 7, 3, 5)
    bias = drawn(2, 3, 7, 7, seed=1)
    steps = jnp.array([7, 4])
    for added in (None, bias, bias[:1]):
        expected = fast_jit(jax.nn.dot_product_attention)(
            query, key, value, added, key_value_seq_lengths=steps
        )
        found = fast_jit(attend)(query, key, value, steps, added)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dtype", "rtol"), [(jnp.float32, 1e-6), (jnp.bfloat16, 8e-3)])
def test_gelu_is_jaxs(dtype, rtol):
    x = jnp.linspace(-8, 8, 1001, dtype=dtype)
    expected = jax.nn.gelu(x.astype(jnp.float32), approximate=False)
    found = fast_jit(gelu)(x)
    assert found.dtype == dtype
    np.testing.assert_allclose(np.float32(found), expected, rtol=rtol, atol=1e-6)


def gradients(function, *arrays):
    """Of a sum in which every output counts by another number."""

    def loss(*arrays):
        out = function(*arrays)
        return (out * drawn(*out.shape, seed=9)).sum()

    return fast_jit(jax.grad(loss, argnums=tuple(range(len(arrays)))))(*arrays)


def test_unpadded_conv_is_laxs_with_its_gradients():
    arrays = drawn(2, 11, 3), drawn(6, 3, 5, seed=1)

    def expected(x, kernel):
        numbers = ("NWC", "WIO", "NWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1,), "VALID", dimension_numbers=numbers
        )

    close = {"rtol": 1e-5, "atol": 1e-5}
    found = fast_jit(unpadded_conv)(*arrays)
    assert found.shape == (2, 6, 5)
    np.testing.assert_allclose(found, expected(*arrays), **close)
    ours, laxs = gradients(unpadded_conv, *arrays), gradients(expected, *arrays)
    for mine, other in zip(ours, laxs, strict=True):
        np.testing.assert_allclose(mine, other, **close)


@pytest.mark.parametrize("shape", [(2, 7, 3), (4, 3), (0, 7, 3)])
def test_linear_is_flaxs_over_any_axes(shape):
    ours, flaxs = (make(3, 5, rngs=nnx.Rngs(0)) for make in (Linear, nnx.Linear))
    x = drawn(*shape)
    found = ours(x)
    assert found.shape == (*shape[:-1], 5)
    np.testing.assert_allclose(found, flaxs(x), rtol=1e-6, atol=1e-6)
