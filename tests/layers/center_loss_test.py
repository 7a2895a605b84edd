"""Center loss: distances, gradients, moving centers, examples that do not count."""

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.layers.center_loss import center_loss, update_centers

K, B, D = 4, 6, 3  # classes, examples, features
LABEL = jnp.array([0, 2, 2, 0, 2, 1])
WEIGHT = jnp.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])


def numbers(seed=0):
    rng = np.random.default_rng(seed)
    centers, features = rng.normal(size=(K, D)), rng.normal(size=(B, D))
    return jnp.asarray(centers, jnp.float32), jnp.asarray(features, jnp.float32)


def test_loss_is_half_the_squared_distance():
    centers, features = numbers()
    expected = [
        0.5 * np.sum((np.asarray(f, np.float64) - np.asarray(centers)[y]) ** 2)
        for f, y in zip(features, np.asarray(LABEL), strict=True)
    ]
    loss = center_loss(features, LABEL, centers)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert center_loss(features.astype(jnp.bfloat16), LABEL, centers).dtype == "float32"


def test_gradient_pulls_the_features_and_leaves_the_centers():
    centers, features = numbers()

    def loss(features, centers):
        return center_loss(features, LABEL, centers).sum()

    pull, nothing = jax.grad(loss, argnums=(0, 1))(features, centers)
    np.testing.assert_allclose(pull, features - centers[LABEL], rtol=1e-6)
    np.testing.assert_array_equal(nothing, 0)


def test_centers_move_to_their_members_and_the_others_stay():
    centers, features = numbers()
    moved = jax.jit(update_centers)(centers, features, LABEL, WEIGHT, 0.25)
    for k, members in {0: [0, 3], 2: [1, 2, 4]}.items():
        mean = np.asarray(features)[members].mean(axis=0)
        expected = 0.75 * centers[k] + 0.25 * mean
        np.testing.assert_allclose(moved[k], expected, rtol=1e-5, atol=1e-6)
    # Class 1 has one member, of weight 0; class 3 has none.
    np.testing.assert_array_equal(moved[jnp.array([1, 3])], centers[jnp.array([1, 3])])


def test_rate_one_puts_a_center_at_the_weighted_mean():
    centers, features = numbers()
    weight = jnp.array([3.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    moved = update_centers(centers, features, LABEL, weight, 1.0)
    expected = 0.75 * features[0] + 0.25 * features[3]
    np.testing.assert_allclose(moved[0], expected, rtol=1e-5, atol=1e-6)


def test_runs_stack():
    centers, features = numbers()
    stacked = jax.vmap(update_centers, in_axes=(0, None, None, None, None))(
        jnp.stack([centers, 2 * centers]), features, LABEL, WEIGHT, 0.5
    )
    alone = update_centers(2 * centers, features, LABEL, WEIGHT, 0.5)
    np.testing.assert_allclose(stacked[1], alone, rtol=1e-6)
