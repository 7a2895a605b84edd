"""An LSTM as its equations say it: one example, one step, one gate after the other."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(gates, kernel, h=None, c=None):
    """Outputs [T, H] and the last h and c from x W + b [T, 4H] and U [H, 4H]."""
    size = kernel.shape[0]
    h = np.zeros(size) if h is None else h
    c = np.zeros(size) if c is None else c
    outputs = np.zeros((len(gates), size))
    for t, x in enumerate(gates):
        z = x + h @ kernel
        i, f, g, o = (z[k * size : (k + 1) * size] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs[t] = h
    return outputs, h, c
