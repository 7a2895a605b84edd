"""Strided convolutions, pooling and response normalization as loops and windows."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def filled(make, seed=0):
    """What `make` makes, with He kernels and random biases from NumPy.

    Flax's own start compiles a program per shape: ten seconds for a SqueezeNet.
    """
    rng = np.random.default_rng(seed)

    def fill(x):
        scale = np.sqrt(2 / np.prod(x.shape[:-1])) if x.ndim > 1 else 0.3
        return jnp.asarray(scale * rng.normal(size=x.shape), x.dtype)

    module = nnx.eval_shape(make)
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)
    return nnx.merge(graphdef, jax.tree.map(fill, params), rest)


def conv(x, kernel, bias, stride=1, padding=0):
    """[H, W, C] with [h, w, C, D] and zeros around it."""
    x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(0, 1))
    kernel = np.transpose(kernel, (2, 0, 1, 3))
    return np.tensordot(windows[::stride, ::stride], kernel, 3) + bias


def relu_conv(x, layer, stride=1, padding=0):
    """The same with an nnx.Conv's weights, and ReLU."""
    kernel, bias = np.asarray(layer.kernel[...]), np.asarray(layer.bias[...])
    return np.maximum(conv(x, kernel, bias, stride, padding), 0)


def pool(x):
    """Maximum of 3x3 cells, every other one."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))
    return windows[::2, ::2].max(axis=(-2, -1))


def response_norm(x):
    """b_i = a_i / (2 + 1e-4 * sum of the five a_j^2 around i)^0.75."""
    result = np.zeros_like(x)
    for i in range(x.shape[-1]):
        near = x[..., max(0, i - 2) : i + 3]
        result[..., i] = x[..., i] / (2 + 1e-4 * (near**2).sum(axis=-1)) ** 0.75
    return result


def alexnet(x, convs, size):
    """The last map of [H, W, C]; `convs`: conv1 ... conv5."""
    original = size == "original"
    norm = response_norm if original else lambda x: x
    x = pool(norm(relu_conv(x, convs["conv1"], 4, 0 if original else 2)))
    x = pool(norm(relu_conv(x, convs["conv2"], 1, 2)))
    for name in ("conv3", "conv4", "conv5"):
        x = relu_conv(x, convs[name], 1, 1)
    return pool(x)


def squeezenet(x, convs):
    """The last map of [H, W, C]; `convs`: conv1, fire2/squeeze1x1 ..."""
    x = relu_conv(x, convs["conv1"], 2)
    for fire in range(2, 10):
        x = pool(x) if fire in (2, 4, 6) else x
        x = relu_conv(x, convs[f"fire{fire}/squeeze1x1"])
        one = relu_conv(x, convs[f"fire{fire}/expand1x1"])
        three = relu_conv(x, convs[f"fire{fire}/expand3x3"], 1, 1)
        x = np.concatenate([one, three], axis=-1)
    return x
