"""Layers against their formulas in PyTorch, in float64: numbers and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.layers.conv_blocks import DilatedResidualBlock
from ser_jax.layers.pooling import AttentionPool, cross_attention, statistics
from ser_jax.layers.recurrent import LSTM, BiLSTM, SlidingBiLSTM
from tests.layers import common

torch = pytest.importorskip("torch")

T, D, H = 7, 5, 3  # steps, features, state
LENGTHS = (4, 7, 1)
# Ours are float32 numbers after some dozens of operations, gradients of size 1.
TOLERANCE = {"rtol": 3e-5, "atol": 3e-6}


def sequences():
    return common.sequences(LENGTHS, T, D)


def shake(layer, seed=3):
    """Random parameters, so that no zero and no one hides a mistake."""
    rng = np.random.default_rng(seed)
    state = nnx.state(layer, nnx.Param)
    nnx.update(
        layer,
        jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), state),
    )
    return layer


def probes(outputs, seed=7):
    """One random number per output; a loss is the sum of their products."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=y.shape).astype(np.float32) for y in outputs]


def ours(layer, x, read):
    """Outputs [list], gradients of the parameters {path: array} and of x."""

    def loss(layer, x):
        outputs = read(layer, x)
        pairs = zip(outputs, probes(outputs), strict=True)
        return sum((p * y).sum() for y, p in pairs), outputs

    run = nnx.jit(nnx.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, outputs), (grads, x_grad) = run(layer, x)
    flat = jax.tree.leaves_with_path(nnx.to_pure_dict(grads))
    return outputs, {jax.tree_util.keystr(k): np.asarray(v) for k, v in flat}, x_grad


def leaf(array):
    return torch.tensor(np.asarray(array, np.float64), requires_grad=True)


def leaves(layer):
    """The layer's parameters as float64 tensors, by the same paths as `ours`."""
    state = nnx.to_pure_dict(nnx.state(layer, nnx.Param))
    flat = jax.tree.leaves_with_path(state)
    return {jax.tree_util.keystr(k): leaf(v) for k, v in flat}


def agree(layer, x, read, formula):
    """Compares `read(layer, x)` to `formula(parameters, x)`, gradients included."""
    outputs, grads, x_grad = ours(layer, x, read)
    parameters, steps = leaves(layer), leaf(x)
    expected = formula(parameters, steps)
    loss = 0
    for y, e, p in zip(outputs, expected, probes(outputs), strict=True):
        np.testing.assert_allclose(y, e.detach().numpy(), **TOLERANCE)
        loss = loss + (torch.tensor(p, dtype=torch.float64) * e).sum()
    loss.backward()
    np.testing.assert_allclose(x_grad, steps.grad.numpy(), **TOLERANCE)
    assert parameters.keys() == grads.keys()
    for name, parameter in parameters.items():
        np.testing.assert_allclose(
            grads[name], parameter.grad.numpy(), err_msg=name, **TOLERANCE
        )


def lstm(kernel_in, kernel, bias, x, state=None):
    """PyTorch's own LSTM cell over x [T, D]; returns [T, H] and the state."""
    if state is None:
        zeros = torch.zeros(1, kernel.shape[0], dtype=torch.float64)
        state = zeros, zeros
    outputs = []
    for step in x:
        state = torch.lstm_cell(
            step[None], state, kernel_in.T, kernel.T, bias, torch.zeros_like(bias)
        )
        outputs.append(state[0][0])
    return torch.stack(outputs), state


def padded(rows, steps):
    """Stacks tensors of different length, zeros behind."""
    return torch.stack(
        [torch.nn.functional.pad(r, (0, 0, 0, steps - len(r))) for r in rows]
    )


def test_bilstm_is_torch_lstm_over_packed_sequences():
    x, mask = sequences()
    layer = shake(BiLSTM(D, H, rngs=nnx.Rngs(0)))

    def formula(p, x):
        theirs = torch.nn.LSTM(D, H, bidirectional=True, batch_first=True).double()
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        weights = {}
        for d, suffix in enumerate(("", "_reverse")):
            bias = p["['bias']"][d]
            values = (
                p["['kernel_in']"][:, d].T,
                p["['kernel']"][d].T,
                bias,
                torch.zeros_like(bias),
            )
            weights |= {n + suffix: v for n, v in zip(names, values, strict=True)}
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False
        )
        packed, (h, _) = torch.func.functional_call(theirs, weights, (packed,))
        outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
        return outputs, torch.cat([h[0], h[1]], dim=-1)

    agree(layer, x, lambda layer, x: layer(x, mask), formula)


def test_lstm_is_torch_cell_by_cell():
    x, mask = sequences()
    layer = shake(LSTM(D, H, rngs=nnx.Rngs(0)))

    def formula(p, x):
        weights = [p[f"['{n}']"] for n in ("kernel_in", "kernel", "bias")]
        runs = [lstm(*weights, x[b, :length]) for b, length in enumerate(LENGTHS)]
        return padded([out for out, _ in runs], T), torch.cat([s[0] for _, s in runs])

    agree(layer, x, lambda layer, x: layer(x, mask), formula)


@pytest.mark.parametrize(("size", "step", "carry"), [(3, 3, True), (4, 2, False)])
def test_sliding_bilstm_is_a_loop_over_windows(size, step, carry):
    x, mask = sequences()
    options = {"size": size, "step": step, "carry": carry}
    layer = shake(SlidingBiLSTM(D, H, **options, rngs=nnx.Rngs(0)))
    starts = [0, 3, 6] if step == 3 else [0, 2, 4]

    def formula(p, x):
        names = ("kernel_in", "kernel", "bias")
        w, u, bias = (p[f"['lstm']['{n}']"] for n in names)
        outputs, lasts = [], []
        for b, length in enumerate(LENGTHS):
            ahead = back = None
            for start in starts:
                steps = x[b, start : min(start + size, length)]
                if not len(steps):
                    outputs.append(torch.zeros(size, 2 * H, dtype=torch.float64))
                    lasts.append(torch.zeros(2 * H, dtype=torch.float64))
                    continue
                if not carry:
                    ahead = back = None
                there, ahead = lstm(w[:, 0], u[0], bias[0], steps, ahead)
                and_back, back = lstm(w[:, 1], u[1], bias[1], steps.flip(0), back)
                both = torch.cat([there, and_back.flip(0)], dim=-1)
                outputs.append(padded([both], size)[0])
                lasts.append(torch.cat([ahead[0][0], back[0][0]]))
        shape = len(LENGTHS), len(starts)
        outputs, lasts = torch.stack(outputs), torch.stack(lasts)
        return outputs.reshape(*shape, size, -1), lasts.reshape(*shape, -1)

    agree(layer, x, lambda layer, x: layer(x, mask)[:2], formula)


@pytest.mark.parametrize(
    ("activation", "scale", "combine"),
    [
        ("none", 0.3, "mean"),
        ("sigmoid", 1.0, "sum"),
        ("tanh", 0.3, "sum"),
        ("relu", 1.0, "mean"),
    ],
)
def test_attention_pooling(activation, scale, combine):
    x, mask = sequences()
    layer = shake(
        AttentionPool(
            D,
            hidden=0 if activation == "none" else 4,
            activation=activation,
            scale=scale,
            combine=combine,
            rngs=nnx.Rngs(0),
        )
    )

    def formula(p, x):
        hidden = x
        if activation != "none":
            hidden = x @ p["['hidden']['kernel']"] + p["['hidden']['bias']"]
            hidden = getattr(torch, activation)(hidden)
        scores = scale * (hidden @ p["['score']['kernel']"])[..., 0]
        scores = scores.masked_fill(~torch.tensor(np.asarray(mask)), -torch.inf)
        weighted = scores.softmax(dim=1)[..., None] * x
        pooled = weighted.sum(dim=1)
        if combine == "mean":
            pooled = pooled / torch.tensor(LENGTHS)[:, None]
        return (pooled,)

    agree(layer, x, lambda layer, x: (layer(x, mask),), formula)


def test_statistics_and_cross_attention():
    x, mask = sequences()
    # One step has no deviation; its gradient there is a matter of epsilon.
    x, mask = x[:2], mask[:2]

    def read(_, x):
        return [*statistics(x, mask).values(), cross_attention(x[:, 0], x, mask)]

    def formula(_, x):
        rows = [x[b, :length] for b, length in enumerate(LENGTHS[:2])]
        return [
            torch.stack([row.amax(dim=0) for row in rows]),
            torch.stack([row.mean(dim=0) for row in rows]),
            torch.stack([row.std(dim=0, unbiased=False) for row in rows]),
            torch.stack([(row @ row[0]).softmax(dim=0) @ row for row in rows]),
        ]

    agree(nnx.Module(), x, read, formula)


@pytest.mark.parametrize("skip", ["leaky_relu", "none"])
def test_dilated_residual_block_in_training(skip):
    functional = torch.nn.functional
    bands, frames, ins, valid = 6, 8, 2, 5
    mask = jnp.arange(frames)[None].repeat(2, axis=0) < valid
    x, _ = common.maps((frames, frames), bands, frames, ins)
    layer = shake(
        DilatedResidualBlock(ins, (3, 4), skip_activation=skip, rngs=nnx.Rngs(0))
    )
    layer.train()

    def conv(p, path, x):
        kernel = p[f"{path}['conv']['kernel']"].permute(3, 2, 0, 1)
        y = functional.conv2d(
            x, kernel, p[f"{path}['conv']['bias']"], padding=2, dilation=2
        )
        scale, bias = p[f"{path}['norm']['scale']"], p[f"{path}['norm']['bias']"]
        return functional.batch_norm(y, None, None, scale, bias, training=True)

    def formula(p, x):
        cut = x[:, :, :valid].permute(0, 3, 1, 2)
        y = cut
        for i in range(2):
            y = functional.leaky_relu(conv(p, f"['convs'][{i}]", y), 0.01)
        beside = conv(p, "['skip']", cut)
        if skip == "leaky_relu":
            beside = functional.leaky_relu(beside, 0.01)
        out = (y + beside).permute(0, 2, 3, 1)
        return (functional.pad(out, (0, 0, 0, frames - valid)),)

    def read(layer, x):
        # A map comes with zeros in its padding, as from the block before.
        return (layer(jnp.where(mask[:, None, :, None], x, 0), mask)[0],)

    agree(layer, x, read, formula)
