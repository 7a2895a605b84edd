"""What `area_attention` promises of the tensor cores of a GPU, emulated on a CPU."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax.layers import area_kernel, area_streaming
from ser_jax.layers.area_attention import area_attention
from tests.area_inputs import inputs

# Largest difference over the largest entry, as the docstring states it.
PROMISED = {"tf32": 1e-3, "bfloat16": 1e-2}


def to_tf32(x):
    """float32 rounded to the ten bits that a tensor core reads."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    bits = (bits + 0xFFF + ((bits >> 13) & 1)) & jnp.uint32(0xFFFFE000)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def forward_and_backward(arrays, gradient, **options):
    @jax.jit
    def both(*arrays):
        function = functools.partial(area_attention, **options)
        out, pull = jax.vjp(function, *arrays)
        return out, *pull(gradient.astype(out.dtype))

    return both(*arrays)


@pytest.mark.parametrize(
    ("precision", "implementation", "max_area"),
    [
        ("tf32", "xla", (3, 2)),
        ("bfloat16", "xla", (3, 2)),
        ("bfloat16", "pallas", (1, 2)),
    ],
)
def test_products_of_short_factors_stay_within_the_promise(
    precision, implementation, max_area, monkeypatch
):
    monkeypatch.setattr(area_kernel, "COLUMNS", 2)
    product = area_streaming._product

    def short(form, a, b):
        if precision == "tf32":
            return product(form, to_tf32(a), to_tf32(b))
        # One float32 factor would widen the other.
        assert a.dtype == b.dtype == jnp.bfloat16
        result = product(form, a, b)
        assert result.dtype == jnp.float32
        return result

    dtype = "float32" if precision == "tf32" else precision
    arrays = [jnp.asarray(x, dtype) for x in inputs(queries=9, depth=8)]
    gradient = np.random.default_rng(1).standard_normal((2, 9, 6), np.float32)
    gradient = jnp.asarray(gradient, dtype)
    exact = [x.astype(jnp.float32) for x in arrays]
    everything = 10**6  # so many areas are formed, and all factors are float32
    expected = forward_and_backward(
        exact, gradient, max_area=max_area, top_k_areas=everything
    )
    monkeypatch.setattr(area_streaming, "_product", short)
    results = forward_and_backward(
        arrays, gradient, max_area=max_area, implementation=implementation
    )
    for ours, theirs in zip(results, expected, strict=True):
        assert ours.dtype == dtype
        difference = np.abs(np.asarray(ours, np.float32) - theirs).max()
        scaled = difference / np.abs(theirs).max()
        assert 1e-2 * PROMISED[precision] < scaled < PROMISED[precision]
