"""A training step of AACNN is >= 2x faster than PyTorch's.

Those of ACRNN and ADSRNN are no slower.

Forward pass, backward pass and Adam, float32, at the width, window and batch size of
the systems' own configs, dropout on, batch on the device. Ours is the real step,
`ser_jax.training.step.make_train_step`, compiled, its state donated. The peer is the
same layer table in plain PyTorch (benchmarks/torch_models.py; AACNN with the PyPI
package `area-attention` 0.1.0), `torch.optim.Adam` in its fused version, with maps in
PyTorch's usual layout and with channels last: the faster of the two counts. On a GPU
also `torch.compile` of it. Each contestant has a process of its own, all with the
memory setting of run.py (`ser_jax.huge_pages`); a turn is two steps, of which the
second is timed, since steps of a training follow each other.

Checked in every mode: with our parameters and without dropout, PyTorch gives our
loss and our gradients for all parameters, so it is the same network.

Bars on 2 CPU cores: AACNN >= 2x, ACRNN and ADSRNN >= 1x.

    python -m benchmarks.train_step [--quick] [--out=train_step.json]
"""

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks import measure
from benchmarks.cases import (
    CLASSES,
    Case,
    case_of,
    our_inputs,
    our_model,
    our_state,
    our_train_step,
)
from ser_jax.training import state

SYSTEMS = ("area_attn", "acrnn", "adsrnn")  # those that have a peer
# Logits: float32 sums of up to 10^6 products, in another order, through up to a dozen
# layers. Gradients: among 10^6 activations a few lie so close to the kink of a ReLU or
# to the second largest of a pool that rounding decides, on either side: both differ
# from PyTorch in float64 by up to 1e-2, where no activation is that close by 1e-5.
# What is wrong (a kernel turned, a gate or an axis swapped) differs by about 1.
LOGITS, GRADIENTS = 1e-4, 5e-2
PEERS = {
    "torch": {"channels_last": False},
    "torch, channels last": {"channels_last": True},
    "torch.compile": {"channels_last": True, "compiled": True},
}
INSTALL = "pip install -e '.[bench]'"


def our_call(case: Case) -> Callable[[], None]:
    """Makes a training step of ours."""
    graphdef, run = our_state(case)
    step = our_train_step(case, graphdef)
    step = jax.jit(step, donate_argnums=(1, 2))
    batch, index, constants = our_inputs(case)
    # Copies: no two of the donated arrays may share memory.
    carried = jax.tree.map(jnp.array, (run, state.Totals.zero()))

    def call():
        nonlocal carried
        carried = jax.block_until_ready(step(batch, *carried, index, constants))

    return call


def device():
    """Where PyTorch computes: where JAX does."""
    import torch

    on_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


def torch_model(case: Case, *, channels_last: bool):
    """The peer with our first parameters, in training mode."""
    import torch

    from benchmarks import torch_models

    module = torch_models.MODELS[case.config.model.name](
        case.config.model, case.shape, CLASSES, channels_last=channels_last
    )
    torch_models.load(module, flat(nnx.state(our_model(case), nnx.Param)))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return module.to(device(), memory_format=layout).train()


def torch_inputs(case: Case):
    """The batch and its labels on PyTorch's device."""
    import torch

    label = torch.from_numpy(case.label).long()
    return torch.from_numpy(case.inputs["frames"]).to(device()), label.to(device())


def torch_call(
    case: Case, *, channels_last: bool, compiled: bool = False, calls: int = 1
) -> Callable[[], None]:
    """Makes a training step of PyTorch, or `calls` of them, waited for once."""
    import torch

    train = case.config.train
    module = torch_model(case, channels_last=channels_last)
    forward = torch.compile(module) if compiled else module
    frames, label = torch_inputs(case)
    adam = torch.optim.Adam(
        module.parameters(),
        lr=train.learning_rate,
        betas=(train.beta1, train.beta2),
        fused=True,
    )

    low = case.config.model.dtype == "bfloat16"

    def call():
        for _ in range(calls):
            adam.zero_grad()
            with torch.autocast(device().type, torch.bfloat16, enabled=low):
                loss = torch.nn.functional.cross_entropy(forward(frames), label)
            loss.backward()
            adam.step()
        if device().type == "cuda":
            torch.cuda.synchronize()

    return call


def flat(tree) -> dict[str, np.ndarray]:
    """`a.b.kernel` to array."""
    leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(tree))
    name = functools.partial(jax.tree_util.keystr, simple=True, separator=".")
    return {name(path): np.asarray(leaf) for path, leaf in leaves}


def our_gradients(case: Case) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits, and the gradients that the real step hands its optimizer."""
    kept = optax.GradientTransformation(  # an optimizer whose state is the gradient
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda grads, _, params=None: (grads, grads),
    )
    model = our_model(case)
    graphdef, run = state.create(model, kept)
    batch, index, constants = our_inputs(case)
    step = jax.jit(our_train_step(case, graphdef, make_optimizer=lambda *_: kept))
    model.train()
    logits = nnx.jit(lambda model, batch: model(batch))(model, batch)
    new, _ = step(batch, run, state.Totals.zero(), index, constants)
    return np.asarray(logits), flat(new.opt_state)


def torch_gradients(case: Case, *, channels_last: bool):
    """Logits and gradients of PyTorch, under its own names."""
    import torch

    module = torch_model(case, channels_last=channels_last)
    frames, label = torch_inputs(case)
    logits = module(frames)
    torch.nn.functional.cross_entropy(logits, label).backward()
    gradients = {n: p.grad.cpu().numpy() for n, p in module.named_parameters()}
    return logits.detach().cpu().numpy(), gradients


def size_of(name: str, gradients: dict[str, np.ndarray]) -> float:
    """What differences of a parameter's gradient are measured against: its 2-norm.

    A bias that a batch norm follows has no effect. Its gradient is 0, and what is
    found there is rounding, on either side (checked in float64: 1e-16 of its layer's
    weight against 1e-5): it has to be small beside the weight's.
    """
    layer, _, kind = name.rpartition(".")
    block, _, role = layer.rpartition(".")
    if kind == "bias" and role != "norm" and f"{block}.norm.weight" in gradients:
        name = f"{layer}.weight"
    return np.linalg.norm(gradients[name])


def check_equal(name: str, case: Case) -> dict[str, float]:
    """Differences of logits, and of the worst gradient (2-norms); ends if too large."""
    from benchmarks import torch_models

    logits, gradients = our_gradients(case)
    ours = torch_models.counterparts(gradients)
    found = {"logits": 0.0, "gradients": 0.0}
    worst = ""
    for channels_last in (False, True):
        out, theirs = torch_gradients(case, channels_last=channels_last)
        difference = np.abs(logits - out).max() / np.abs(out).max()
        found["logits"] = float(np.maximum(found["logits"], difference))
        for key, mine in ours.items():
            difference = np.linalg.norm(mine - theirs[key]) / size_of(key, theirs)
            # Not `max`, which would let a NaN pass.
            if not difference <= found["gradients"]:
                found["gradients"], worst = float(difference), key
    if not (found["logits"] < LOGITS and found["gradients"] < GRADIENTS):
        raise SystemExit(f"{name}: PyTorch's differs: {found}, most in {worst}")
    return found


def has_torch() -> bool:
    """Whether the peer is installed; says how to install it if not."""
    try:
        import area_attention  # noqa: F401
        import torch
    except ImportError:
        print(f"torch and area-attention are absent: {INSTALL}", file=sys.stderr)
        return False
    torch.manual_seed(0)
    if device().type == "cpu":
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    return True


def our_step(name: str, *, quick: bool) -> Callable[[], None]:
    """What the process of our contestant measures."""
    return our_call(case_of(name, quick=quick))


def torch_step(name: str, *, quick: bool, **options) -> Callable[[], None]:
    """What a process of PyTorch measures."""
    has_torch()  # sets its threads
    return torch_call(case_of(name, quick=quick), **options)


def row_of(name: str, *, quick: bool, rounds: int) -> dict:
    """One system."""
    case, found = case_of(name, quick=quick), {}
    makes = {"ours": functools.partial(our_step, name)}
    if has_torch():
        found = check_equal(name, case.cut(4, dropout=False))
        for label, options in PEERS.items():
            if "compiled" not in options or device().type == "cuda":
                makes[label] = functools.partial(torch_step, name, **options)
    with contextlib.ExitStack() as stack:
        calls = {
            label: stack.enter_context(measure.apart(make, quick=quick))
            # Starting a process for each takes longer than a quick measurement.
            if label == "ours" or not quick
            else make(quick=quick)
            for label, make in makes.items()
        }
        took = measure.seconds(calls, rounds=rounds, before=1)
    row = {
        "system": name,
        "batch": len(case.label),
        "window": "x".join(map(str, case.shape)),
    }
    row |= {f"{key} [s]": spread for key, spread in took.items()}
    if found:
        best = min(took[label].median for label in PEERS if label in took)
        row["peer / ours"] = best / took["ours"].median
    return row | {f"difference of {key}": value for key, value in found.items()}


def cases(quick: bool, _: Path) -> list[measure.Case]:
    """A case per system."""
    options = {"quick": quick, "rounds": 2 if quick else 3}
    return [
        measure.Case(name, functools.partial(row_of, name, **options))
        for name in SYSTEMS
    ]


if __name__ == "__main__":
    measure.main(
        cases,
        doc=__doc__,
        name="train_step",
        packages=("jax", "jaxlib", "flax", "optax", "torch", "area-attention"),
    )
