"""AlexNet and SqueezeNet: counts, map sizes, a slow reference, padding, the head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.layers.alexnet import AlexNet, response_norm
from ser_jax.layers.squeezenet import SqueezeNet
from tests.layers.common import call, check_padded_trunk, maps
from tests.reference import trunks

NAMES = ("original", "torchvision", "squeezenet")


def build(name, channels=2, width=0.05, **options):
    options = {"width": width, "rngs": nnx.Rngs(0), **options}
    if name == "squeezenet":
        return SqueezeNet(channels, **options)
    return AlexNet(channels, size=name, **options)


@pytest.fixture(scope="module")
def thin():
    """Thin trunks with biases that matter; SqueezeNet's has a head of 3 classes."""
    options = {"squeezenet": {"width": 0.06, "classes": 3}}
    return {
        name: trunks.filled(lambda name=name: build(name, **options.get(name, {})))
        for name in NAMES
    }


@pytest.mark.parametrize(
    ("name", "options", "count", "features", "shortest"),
    [
        ("original", {}, 3_747_200, 256, 67),
        ("torchvision", {}, 2_469_696, 256, 63),
        ("squeezenet", {}, 722_496, 512, 31),
        ("squeezenet", {"classes": 1000}, 1_235_496, 512, 31),
    ],
)
def test_published_counts_and_the_shortest_axis(
    name, options, count, features, shortest
):
    # Counts of the published convolutions, for a picture in color.
    trunk = nnx.eval_shape(lambda: build(name, 3, 1.0, **options))
    assert sum(x.size for x in jax.tree.leaves(nnx.state(trunk, nnx.Param))) == count
    assert trunk.features == features and trunk.shortest == shortest
    layers = 25 + bool(options) if name == "squeezenet" else 5
    assert len(trunk.named_convs()) == layers


# The papers' 40 and 88 cells of AlexNet. Its next column takes 32 frames more than 67
# or 63: 98 is the last length with one column without padding, not with.
ALEX = [((200, 300), (5, 8)), ((400, 300), (11, 8)), ((67, 99), (1, 2))]
SIZES = {
    "original": [*ALEX, ((67, 98), (1, 1))],
    "torchvision": [*ALEX, ((67, 98), (1, 2))],
    "squeezenet": [
        ((227, 227), (13, 13)),
        ((200, 300), (11, 17)),
        ((31, 46), (1, 1)),
        ((31, 47), (1, 2)),
    ],
}


@pytest.mark.parametrize("name", NAMES)
def test_map_sizes(name):
    for (bands, frames), cells in SIZES[name]:
        x, mask = jnp.zeros((1, bands, frames, 2)), jnp.ones((1, frames), bool)
        out, columns = jax.eval_shape(lambda x, mask: build(name)(x, mask), x, mask)
        assert out.shape[1:3] == cells and columns.shape == (1, cells[1])


@pytest.mark.parametrize("name", NAMES)
def test_the_last_map_is_the_slow_one(name, thin):
    bands, frames = (33, 53) if name == "squeezenet" else (69, 103)
    x, mask = maps([frames], bands, frames, 2)
    out, columns = call(thin[name], x, mask)
    convs, x = thin[name].named_convs(), np.asarray(x[0])
    if name == "squeezenet":
        expected = trunks.squeezenet(x, convs)
    else:
        expected = trunks.alexnet(x, convs, name)
    assert out.shape[1:3] == (1, 2) and np.all(columns) and expected.max() > 0.1
    # Sums of some hundred float32 products, 5 or 17 layers of them.
    np.testing.assert_allclose(out[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_padding_neither_leaks_nor_counts(name, thin):
    small = name == "squeezenet"
    lengths = [101, 80, 20, 0] if small else [167, 130, 40, 0]
    bands, frames = (33, 103) if small else (67, 170)
    check_padded_trunk(thin[name], lengths, *maps(lengths, bands, frames, 2))


def test_response_norm_is_the_papers():
    x = 50 * np.random.default_rng(0).normal(size=(2, 3, 4, 7)).astype(np.float32)
    out = response_norm(jnp.asarray(x))
    np.testing.assert_allclose(out, trunks.response_norm(x), rtol=1e-5)
    one = np.full((1, 1, 1, 1), 100.0, np.float32)  # 100 / (2 + 1)^0.75
    np.testing.assert_allclose(response_norm(jnp.asarray(one)), 43.8691, rtol=1e-5)


def test_bfloat16_stays_bfloat16_and_unknown_sizes_are_refused():
    trunk = trunks.filled(lambda: build("torchvision", 1, dtype=jnp.bfloat16))
    out, _ = call(trunk, *maps([63], 63, 63, 1))
    assert out.dtype == jnp.bfloat16 and out.shape == (1, 1, 1, 13)
    with pytest.raises(ValueError, match="size: expected one of"):
        build("large")


def test_the_head_averages_valid_cells(thin):
    trunk = thin["squeezenet"]
    x, mask = call(trunk, *maps([80, 47], 47, 80, 2))
    assert mask.sum(axis=1).tolist() == [4, 2] and x.shape[1:3] == (2, 4)
    logits = trunk.logits(x, mask)
    for row, count in enumerate((4, 2)):
        cells = np.asarray(x[row, :, :count])
        scores = trunks.relu_conv(cells, trunk.head)
        np.testing.assert_allclose(logits[row], scores.mean(axis=(0, 1)), rtol=1e-5)
    headless = nnx.eval_shape(lambda: build("squeezenet"))
    with pytest.raises(ValueError, match="classes: expected at least 1"):
        headless.logits(x, mask)
