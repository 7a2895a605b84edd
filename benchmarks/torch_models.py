"""AACNN, ACRNN and ADSRNN as a PyTorch user would write them: peers of train_step.py.

The same layer tables as ser_jax/models, from the same configs, for batches without
padding: `nn.Conv2d`, `nn.BatchNorm2d`, `nn.LSTM` and the PyPI package `area-attention`
take the place of ours. Submodules carry our names, so `counterparts` can say for each
parameter of ours which of PyTorch's it is.

A module takes `frames` [B, T, F, C] and gives logits [B, K]; `channels_last` keeps maps
in memory with their channels last.
"""

import numpy as np
import torch
import torch.nn.functional as F
from area_attention import AreaAttention
from torch import nn

from ser_jax.layers.dense import scale_width


class ConvBlock(nn.Module):
    """Conv -> batch norm -> activation -> max-pool, maps [B, C, bands, frames]."""

    def __init__(self, ins, outs, kernel, *, slope, norm, pool=(1, 1), dilation=1):
        super().__init__()
        self.conv = nn.Conv2d(ins, outs, kernel, padding="same", dilation=dilation)
        self.norm = nn.BatchNorm2d(outs) if norm else None
        # In place: neither convolution nor batch norm reads its output backwards.
        self.activation = nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(True)
        self.pool = pool

    def forward(self, x):
        x = self.conv(x)
        x = self.activation(x if self.norm is None else self.norm(x))
        return pooled(x, self.pool)


def pooled(x, size):
    """Max-pool whose stride is its window."""
    return x if size == (1, 1) else F.max_pool2d(x, size)


def image(frames, channels_last: bool):
    """[B, T, F, C] -> [B, C, F, T]."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return frames.permute(0, 3, 2, 1).contiguous(memory_format=layout)


def columns(x):
    """[B, C, F, T] -> [B, T, F * C], channels innermost."""
    return x.permute(0, 3, 2, 1).flatten(2)


class SelfAreaAttention(nn.Module):
    """Query, key and value of every cell, then the package's attention."""

    def __init__(self, features, grid, config):
        super().__init__()
        self.query, self.key, self.value = (
            nn.Linear(features, features, bias=False) for _ in range(3)
        )
        self.areas = AreaAttention(
            features,
            area_key_mode=config.key,
            area_value_mode=config.value,
            max_area_height=config.max_area[0],
            max_area_width=config.max_area[1],
            memory_height=grid[0],
            memory_width=grid[1],
            dropout_rate=config.attention_dropout,
        )

    def forward(self, x):
        return self.areas(self.query(x), self.key(x), self.value(x))


class AreaAttn(nn.Module):
    """AACNN: two parallel convolutions, four more, area attention, one dense layer."""

    def __init__(self, config, shape, num_classes, *, channels_last):
        super().__init__()
        frames, bands, channels = shape
        widths = [scale_width(c, config.width) for c in (16, 32, 48, 64, 80)]
        common = {"slope": 0.0, "norm": True}
        self.conv1a = ConvBlock(channels, widths[0], (10, 2), **common)
        self.conv1b = ConvBlock(channels, widths[0], (2, 8), **common)
        pools = [(2, 2) if pool else (1, 1) for pool in config.pools]
        self.convs = nn.ModuleList(
            ConvBlock(i, o, (3, 3), pool=pool, **common)
            for i, o, pool in zip(widths[:-1], widths[1:], pools[1:], strict=True)
        )
        rows, steps = 2 * bands, frames
        for pool in pools:
            rows, steps = rows // pool[0], steps // pool[1]
        self.first_pool, self.channels_last = pools[0], channels_last
        self.attention = SelfAreaAttention(widths[-1], (rows, steps), config)
        self.dense = nn.Linear(rows * steps * widths[-1], num_classes)

    def forward(self, frames):
        x = image(frames, self.channels_last)
        x = torch.cat([self.conv1a(x), self.conv1b(x)], dim=2)
        x = pooled(x, self.first_pool)
        for conv in self.convs:
            x = conv(x)
        x = self.attention(x.permute(0, 2, 3, 1).flatten(1, 2))
        return self.dense(x.flatten(1))


class HiddenBlock(nn.Module):
    """Linear -> batch norm -> LeakyReLU."""

    def __init__(self, ins, outs):
        super().__init__()
        self.linear, self.norm = nn.Linear(ins, outs), nn.BatchNorm1d(outs)

    def forward(self, x):
        return F.leaky_relu(self.norm(self.linear(x)), 0.01)


class Acrnn(nn.Module):
    """ACRNN: six convolutions, a linear layer, a BLSTM, attention over the steps."""

    def __init__(self, config, shape, num_classes, *, channels_last):
        super().__init__()
        _, bands, channels = shape
        first, rest, size, cells, hidden = (
            scale_width(c, config.width) for c in (128, 256, 768, 128, 64)
        )
        widths = [channels, first, *[rest] * (config.convs - 1)]
        pool = tuple(config.pool)
        self.convs = nn.ModuleList(
            ConvBlock(
                *widths[i : i + 2],
                (3, 5),
                slope=0.01,
                norm=False,
                pool=(1, 1) if i else pool,
            )
            for i in range(config.convs)
        )
        self.linear = nn.Linear(bands // pool[0] * widths[-1], size)
        self.lstm = nn.LSTM(size, cells, batch_first=True, bidirectional=True)
        self.score = nn.Linear(2 * cells, 1, bias=False)
        self.hidden = HiddenBlock(2 * cells, hidden)
        self.dense = nn.Linear(hidden, num_classes)
        self.channels_last = channels_last

    def forward(self, frames):
        x = image(frames, self.channels_last)
        for conv in self.convs:
            x = conv(x)
        x, _ = self.lstm(self.linear(columns(x)))
        x = (self.score(x).softmax(dim=1) * x).sum(dim=1)
        return self.dense(self.hidden(x))


class Adsrnn(nn.Module):
    """ADSRNN: dilated convolutions, a sliding BiLSTM, attention over its windows.

    Windows lie end to end and hand their states on, so each direction is one LSTM
    over the whole sequence; backwards, over windows each of which is turned.
    """

    def __init__(self, config, shape, num_classes, *, channels_last):
        super().__init__()
        frames, bands, channels = shape
        first, cells = (scale_width(c, config.width) for c in (128, 256))
        block = [scale_width(c, config.width) for c in config.block_features]
        self.pools = [tuple(pool) for pool in config.pools]
        rows, steps = bands, frames
        for pool in self.pools:
            rows, steps = rows // pool[0], steps // pool[1]
        plain = {"slope": 0.01, "norm": False}
        dilated = {"slope": 0.01, "norm": True, "dilation": 2}
        self.conv1 = ConvBlock(channels, first, (3, 3), **plain)
        self.conv2 = ConvBlock(first, first, (3, 3), **plain)
        self.convs = nn.ModuleList(
            ConvBlock(i, o, (3, 3), **dilated)
            for i, o in zip([first, *block[:-1]], block, strict=True)
        )
        self.skip = ConvBlock(first, block[-1], (3, 3), **dilated)
        self.ahead, self.back = (
            nn.LSTM(rows * block[-1], cells, batch_first=True) for _ in range(2)
        )
        self.size, windows = config.window_steps, steps // config.window_steps
        self.attention = nn.Parameter(torch.zeros(windows, 2 * cells, 2 * cells))
        self.heads = nn.Parameter(torch.zeros(windows, 2 * cells, num_classes))
        self.heads_bias = nn.Parameter(torch.zeros(windows, num_classes))
        earlier = torch.ones(windows, windows).tril().bool()
        self.register_buffer("later", ~earlier)
        self.channels_last = channels_last

    def turned(self, x):
        """Reads every window from its end."""
        return x.unflatten(1, (-1, self.size)).flip(2).flatten(1, 2)

    def forward(self, frames):
        x = pooled(self.conv1(image(frames, self.channels_last)), self.pools[0])
        x = y = pooled(self.conv2(x), self.pools[1])
        for conv in self.convs:
            y = conv(y)
        x = columns(y + self.skip(x))
        # The mean over a window does not mind the order of its steps.
        x = torch.cat([self.ahead(x)[0], self.back(self.turned(x))[0]], dim=-1)
        x = x.unflatten(1, (-1, self.size)).mean(dim=2)
        query = torch.einsum("bme,mde->bmd", x, self.attention)
        scores = (query @ x.transpose(1, 2)).masked_fill(self.later, -torch.inf)
        x = scores.softmax(dim=-1) @ x
        logits = torch.einsum("bmd,mdk->bmk", x, self.heads) + self.heads_bias
        logs = logits.log_softmax(dim=-1)
        return logs.logsumexp(dim=1) - np.log(logs.shape[1])


MODELS = {"area_attn": AreaAttn, "acrnn": Acrnn, "adsrnn": Adsrnn}

# Names of ours that PyTorch's modules do not share.
RENAMED = {
    "steps.": "",
    "linear.linear.": "linear.",
    "attention.score.": "score.",
    "block.": "",
    "attention.kernel": "attention",
    "heads.kernel": "heads",
    "heads.bias": "heads_bias",
}
LSTMS = {"lstm": ("", "_reverse"), "sliding.lstm": ("ahead", "back")}


def counterparts(ours: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Our parameters (or their gradients) under PyTorch's names, in its layouts.

    Args:
      ours: `a.b.kernel` to array: [rows, columns, in, out] of a convolution, [in, out]
        of a linear layer, [in, 2, 4H], [2, H, 4H] and [2, 4H] of a BiLSTM.
    """
    theirs = {}
    for path, array in ours.items():
        stem, kind = path.rsplit(".", 1)
        if stem in LSTMS:
            theirs |= _lstm(stem, kind, array)
            continue
        for old, new in RENAMED.items():
            path = new + path[len(old) :] if path.startswith(old) else path
        if path.endswith((".kernel", ".scale")):
            path = path.rsplit(".", 1)[0] + ".weight"
            array = np.moveaxis(array, (-1, -2), (0, 1)) if array.ndim > 1 else array
        theirs[path] = np.ascontiguousarray(array)
    return theirs


def _lstm(stem: str, kind: str, array: np.ndarray) -> dict[str, np.ndarray]:
    """Both directions of one parameter; gates are in PyTorch's order already."""
    name = {"kernel_in": "weight_ih_l0", "kernel": "weight_hh_l0", "bias": "bias_ih_l0"}
    halves = np.moveaxis(array, 1, 0) if kind == "kernel_in" else array
    ends = LSTMS[stem]
    names = [
        f"{end}.{name[kind]}" if stem == "sliding.lstm" else f"lstm.{name[kind]}{end}"
        for end in ends
    ]
    return {
        n: np.ascontiguousarray(half.T) for n, half in zip(names, halves, strict=True)
    }


def load(module: nn.Module, ours: dict[str, np.ndarray]) -> None:
    """Gives the module our parameters; PyTorch's second LSTM bias becomes 0.

    Raises:
      KeyError: A parameter on either side has no counterpart.
    """
    theirs = counterparts(ours)
    parameters = dict(module.named_parameters())
    seconds = {name for name in parameters if "bias_hh" in name}
    if set(theirs) != set(parameters) - seconds:
        raise KeyError(f"without a counterpart: {set(theirs) ^ set(parameters)}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            if name in seconds:
                parameter.zero_()
            else:
                parameter.copy_(torch.tensor(theirs[name]))
