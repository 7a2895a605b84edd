"""ACRNN's layers as their formulas say them: one example, loops, float64 NumPy."""

import numpy as np


def leaky_relu(x):
    return np.where(x > 0, x, 0.01 * x)


def softmax(x):
    terms = np.exp(x - x.max())
    return terms / terms.sum()


def conv_same(x, kernel, bias):
    """[F, T, C] with an odd kernel [f, t, C, D], zeros around the map."""
    f, t = kernel.shape[:2]
    wide = np.pad(x, ((f // 2, f // 2), (t // 2, t // 2), (0, 0)))
    out = np.zeros((*x.shape[:2], kernel.shape[-1]))
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            patch = wide[row : row + f, column : column + t]
            out[row, column] = np.einsum("ftc,ftcd->d", patch, kernel) + bias
    return out


def max_pool(x, size):
    """[F, T, D]; odd ends are dropped."""
    rows, columns = x.shape[0] // size[0], x.shape[1] // size[1]
    out = np.zeros((rows, columns, x.shape[2]))
    for row in range(rows):
        for column in range(columns):
            patch = x[row * size[0] :, column * size[1] :][: size[0], : size[1]]
            out[row, column] = patch.max(axis=(0, 1))
    return out


def conv_steps(frames, params, pool):
    """ConvSteps without batch norm: [T, F, C] -> [S, D]; `params` by nested names."""
    x = np.swapaxes(frames, 0, 1)
    for number, layer in sorted(params["convs"].items()):
        x = leaky_relu(conv_same(x, layer["conv"]["kernel"], layer["conv"]["bias"]))
        if number == 0:
            x = max_pool(x, pool)
    steps = [x[:, t].reshape(-1) for t in range(x.shape[1])]
    linear = params["linear"]["linear"]
    return np.stack(steps) @ linear["kernel"] + linear["bias"]
