"""area_mass: what every area size alone attends to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.layers.area_attention import area_mass, attention_map
from ser_jax.layers.area_module import AreaFeatures
from tests.area_inputs import TOLERANCE, inputs, some_mask


@pytest.mark.parametrize(
    ("key_mode", "top_k"), [("mean", 0), ("max", 0), ("features", 7)]
)
def test_mass_per_size_adds_up_to_the_mean_map(key_mode, top_k):
    query, key, _ = map(jnp.asarray, inputs())
    modes = {"max_area": (2, 3), "mask": jnp.asarray(some_mask())}
    modes |= {"key_mode": key_mode, "top_k_areas": top_k}
    if key_mode == "features":
        modes["area_key_fn"] = AreaFeatures(3, (2, 3), rngs=nnx.Rngs(0))
    counts = np.ones((2, 7), bool)
    counts[1, 4:] = False
    masses = jax.jit(functools.partial(area_mass, block_queries=3, **modes))
    mass = masses(query, key, jnp.asarray(counts))
    assert mass.shape == (2, 6, 5, 4) and np.all(mass >= 0)
    maps = np.asarray(jax.jit(functools.partial(attention_map, **modes))(query, key))
    want = [maps[i][..., counts[i]].mean(axis=-1) for i in range(2)]
    np.testing.assert_allclose(mass.sum(axis=1), want, **TOLERANCE)
    cells = np.array([1, 2, 3, 2, 4, 6])[:, None, None]
    shared = np.asarray(mass / cells).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(shared, 1, rtol=1e-5)


def test_mass_of_one_size_lies_on_its_areas():
    query, key, _ = map(jnp.asarray, inputs())
    counts = jnp.ones((2, 7), bool)
    mass = jax.jit(functools.partial(area_mass, max_area=(2, 2)))
    sharp = mass(query, 1e3 * key, counts)
    plain = jax.jit(functools.partial(area_mass, max_area=(1, 1)))(query, key, counts)
    np.testing.assert_allclose(plain.sum(axis=(1, 2, 3)), 1, rtol=1e-5)
    # The largest mean is that of a single cell: larger areas get nothing.
    np.testing.assert_allclose(sharp[:, 1:], 0, atol=1e-5)
    assert not mass(query, key, ~counts).any()
