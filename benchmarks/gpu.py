"""All that one ten-minute call on a GPU can answer, row by row.

Parts, each a process of its own with a share of the time:

- `kernel`: area attention, forward and backward, a scan of calls, so that starting a
  call does not count: XLA, the kernel, materialised; beside `torch.compile` of PyPI's
  (calls one after the other, waited for once).
- `runs`: a training step of ten runs: `loop`, one run after the other; `grouped`, all
  under `vmap`, as XLA takes it; `vmap`, one convolution per run, written out
  (`layers/conv_runs.py`); `looped`, the same as a loop.
- `steps`: a training step beside PyTorch's, TF32 and bfloat16 (there autocast).
- `recurrent`: a BiLSTM, forward and backward, for one run and ten: `lax.scan` with
  so many steps written out, and cuDNN's (`jax.experimental.rnn`).

Rows are written as they finish; what does not fit in the time is left out.

    python -m benchmarks.gpu [--quick] [--only=kernel,runs] [--seconds=540] [--out=FILE]
"""

import argparse
import contextlib
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import area_attention as peers
from benchmarks import cases, measure, train_step
from ser_jax.layers import conv_runs, recurrent
from ser_jax.layers.area_attention import area_attention
from ser_jax.training import state

SHARES = {"kernel": 0.25, "runs": 0.4, "steps": 0.25, "recurrent": 0.1}
RUNS = 10
CALLS = 32  # in a scan, of the kernel
STEPS = 8  # in a scan, of training


def seconds(call: Callable, repeat: int) -> dict[str, float]:
    """Median and quartiles of a call that waits for its result; the first compiles."""
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    spread = measure.seconds({"": call}, rounds=repeat)[""].scaled(1e3)
    ms = [spread.median, spread.low, spread.high]
    return {"ms": round(ms[0], 4), "quartiles": ms[1:], "first [s]": round(first, 2)}


def rows(part: str, items: list, row_of: Callable, deadline: float) -> Iterator[dict]:
    """A row per item; errors are rows too."""
    for names in items:
        if time.time() > deadline:
            yield {"part": part, **names, "left out": "time"}
            continue
        try:
            yield {"part": part, **names, **row_of(**names)}
        except Exception as error:  # noqa: BLE001 - the other rows are still wanted
            yield {"part": part, **names, "error": repr(error)[:300]}


def kernel_row(grid, side: int, way: str, quick: bool) -> dict:
    """Area attention over 8 examples; milliseconds of one call."""
    count = 2 if quick else CALLS
    arrays = peers.inputs(2 if quick else peers.BATCH, grid)
    if way == "torch.compile":
        import torch

        torch._dynamo.reset()
        with mock.patch.object(torch.cuda, "synchronize", lambda: None):
            one = peers.torch_call((side, side), arrays, compiled=True)
            one()  # compiles

        def many():
            with mock.patch.object(torch.cuda, "synchronize", lambda: None):
                for _ in range(count):
                    one()
            torch.cuda.synchronize()

        took = seconds(many, 5)
    else:
        attention = {
            "xla": functools.partial(area_attention, implementation="xla"),
            "pallas": functools.partial(area_attention, implementation="pallas"),
            "materialised": peers.materialised,
        }[way]
        both = peers.forward_and_backward(attention, (side, side))

        @jax.jit
        def scan(*arrays):
            def body(carried, _):
                query, *rest = carried
                out, *gradients = both(query, *rest)
                # Each call needs the one before, and nothing it computes is unused.
                last = sum(jnp.sum(x) for x in gradients)
                return (query + 1e-9 * (out + last), *rest), None

            return jax.lax.scan(body, arrays, None, length=count)[0]

        on_device = jax.device_put(arrays)
        took = seconds(lambda: jax.block_until_ready(scan(*on_device)), 7)
    took["ms"] = round(took["ms"] / count, 4)
    took["quartiles"] = [round(x / count, 4) for x in took["quartiles"]]
    return took


def our_steps(case: cases.Case, runs: int, way: str, count: int) -> Callable:
    """A call of `count` training steps of so many runs."""
    graphdef, run = cases.our_state(case)
    step = cases.our_train_step(case, graphdef)
    batch, index, constants = cases.our_inputs(case)

    def steps(batch, run, totals, index, constants):
        def body(carry, _):
            return step(batch, *carry, index, constants), None

        return jax.lax.scan(body, (run, totals), None, length=count)[0]

    one = batch, run, state.Totals.zero(), index, constants
    copy = functools.partial(jax.tree.map, jnp.array)
    if way == "loop":
        compiled = jax.jit(steps, donate_argnums=(1, 2))
        carried = [copy(one[1:3]) for _ in range(runs)]

        def call():
            for number, own in enumerate(carried):
                carried[number] = compiled(batch, *own, index, constants)
            jax.block_until_ready(carried)

        return call
    stacked = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * runs), one)
    compiled = jax.jit(jax.vmap(steps), donate_argnums=(1, 2))
    both = stacked[1:3]

    def call():
        nonlocal both
        with conv_way(way):
            both = jax.block_until_ready(compiled(stacked[0], *both, *stacked[3:]))

    return call


def conv_way(way: str):
    """What convolutions become under `vmap`, while a step is traced."""
    if way == "grouped":

        def as_it_is(x, kernel, whole):
            return whole(x, kernel)

        return mock.patch.object(conv_runs, "convolve", as_it_is)
    if way == "looped":
        return mock.patch.object(conv_runs, "WRITTEN_OUT", 0)
    return contextlib.nullcontext()


def runs_row(system: str, way: str, quick: bool, dtype: str = "float32") -> dict:
    """Ten runs; milliseconds of one step of all."""
    runs, count = (2, 1) if quick else (RUNS, STEPS)
    case = cases.case_of(system, dtype=dtype, quick=quick)
    took = seconds(our_steps(case, runs, way, count), 2 if quick else 5)
    took["ms"] = round(took["ms"] / count, 3)
    took["quartiles"] = [round(x / count, 3) for x in took["quartiles"]]
    took["samples/s"] = round(1e3 * runs * len(case.label) / took["ms"], 1)
    return took


def steps_row(system: str, way: str, dtype: str, quick: bool) -> dict:
    """One run; milliseconds of a step."""
    case, count = (
        cases.case_of(system, dtype=dtype, quick=quick),
        1 if quick else 2 * STEPS,
    )
    if way == "ours":
        took = seconds(our_steps(case, 1, "loop", count), 2 if quick else 5)
        took["ms"] = round(took["ms"] / count, 3)
        return took
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch._dynamo.reset()
    call = train_step.torch_call(
        case, channels_last=True, compiled=way == "torch.compile"
    )
    low = dtype == "bfloat16"

    def one():
        with torch.autocast(train_step.device().type, torch.bfloat16, enabled=low):
            call()

    for _ in range(3):  # cudnn.benchmark tries out
        one()
    return seconds(one, 2 if quick else 20)


def recurrent_row(shape, features: int, runs: int, way: str, quick: bool) -> dict:
    """A BiLSTM over [B, T, D]; milliseconds of forward and backward."""
    batch, steps, depth = (2, 5, 8) if quick else shape
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((runs, batch, steps, depth), np.float32))
    if way == "cudnn":
        from jax.experimental import rnn

        size = rnn.get_num_params_in_lstm(depth, features, 1, True)
        weights = jnp.asarray(rng.standard_normal((runs, size), np.float32)) * 0.05
        h = jnp.zeros((2, batch, features))
        lengths = jnp.full(batch, steps, jnp.int32)

        def forward(weights, x):
            options = (depth, features, 1, 0.0, True)
            return rnn.lstm(x, h, h, weights, lengths, *options)[0]

    else:
        from flax import nnx

        lstm = recurrent.BiLSTM(depth, features, rngs=nnx.Rngs(0))
        graphdef, one = nnx.split(lstm)
        weights = jax.tree.map(lambda w: jnp.stack([w] * runs), one)
        mask = jnp.ones((batch, steps), bool)

        def forward(weights, x):
            return nnx.merge(graphdef, weights)(x, mask)[0]

    def loss(weights, x):
        return jnp.sum(jnp.sin(forward(weights, x)))

    one_run = jax.grad(loss, argnums=(0, 1))
    if way == "cudnn":  # cannot be batched
        both = jax.jit(lambda *runs: jax.lax.map(lambda one: one_run(*one), runs))
    else:
        both = jax.jit(jax.vmap(one_run))
    unroll = 1 if way == "cudnn" else int(way.split()[1])

    def call():
        # The layer's own choice, at any length; on CPU it takes one step a turn.
        with mock.patch.multiple(recurrent, UNROLLED=unroll, LONG=0):
            jax.block_until_ready(both(weights, x))

    return seconds(call, 2 if quick else 15)


def items_of(part: str, quick: bool) -> tuple[list, Callable]:
    """What a part measures, the most wanted first."""
    if part == "kernel":
        ways = ("xla", "pallas", "materialised", "torch.compile")
        places = [((32, 20), 3), ((64, 20), 3), ((32, 20), 1), ((32, 20), 5)]
        places = [((8, 5), 2)] if quick else places
        return [
            {"grid": g, "side": s, "way": w} for g, s in places for w in ways
        ], kernel_row
    if part == "runs":
        systems = ("asrnn", "adsrnn", "area_attn:emodb", "area_attn", "acrnn", "adrnn")
        systems = (*systems, "cnn3d_attn", "asrnn:emodb")
        ways = ("loop", "vmap", "grouped", "looped")
        return [
            {"system": x, "way": w} for x in systems[: 2 if quick else 9] for w in ways
        ], runs_row
    if part == "steps":
        return [
            {"system": x, "way": w, "dtype": d}
            for x in ("area_attn", "acrnn", "adsrnn")[: 1 if quick else 3]
            for d in ("float32", "bfloat16")
            for w in ("ours", "torch", "torch.compile")
        ], steps_row
    return [
        {"shape": s, "features": 128, "runs": r, "way": w}
        for r in (1, RUNS)
        # ACRNN's sequence, and ASRNN's windows side by side
        for s in ((40, 150, 768), (1160, 10, 256))[: 1 if quick else 2]
        for w in ("unroll 1", "unroll 2", "unroll 5", "cudnn")
    ], recurrent_row


def run_part(part: str, quick: bool, out: Path, allowed: float) -> None:
    """Measures a part in this process."""
    items, row_of = items_of(part, quick)
    row_of = functools.partial(row_of, quick=quick)
    if part == "kernel":  # PyTorch's default too
        jax.config.update("jax_default_matmul_precision", "float32")
    for row in rows(part, items, row_of, time.time() + allowed):
        row["device"] = jax.devices()[0].device_kind
        line = json.dumps(row)
        print(line, flush=True)
        with out.open("a") as file:
            file.write(line + "\n")


def main() -> None:
    """Starts the parts one after the other, each with its share of the time."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small, on a CPU as well")
    parser.add_argument("--only", default=",".join(SHARES), help="parts, by commas")
    parser.add_argument("--seconds", type=float, default=540, help="for all parts")
    parser.add_argument("--out", type=Path, default=Path("gpu.jsonl"), help="rows")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    if arguments.here:
        run_part(parts[0], arguments.quick, arguments.out, arguments.seconds)
        return
    end, left = time.time() + arguments.seconds, sum(SHARES[x] for x in parts)
    for part in parts:
        allowed = (end - time.time()) * SHARES[part] / left
        left -= SHARES[part]
        command = [sys.executable, "-m", "benchmarks.gpu", "--here", f"--only={part}"]
        command += [f"--out={arguments.out}", f"--seconds={allowed * 0.8}"]
        command += ["--quick"] * arguments.quick
        try:
            # A compilation cannot be interrupted, so the process is.
            subprocess.run(command, timeout=allowed, check=False)
        except subprocess.TimeoutExpired:
            print(f"{part}: stopped after {allowed:.0f} s", flush=True)


if __name__ == "__main__":
    main()
