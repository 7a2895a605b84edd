"""The command line of the benchmarks: what is left of one that fails, ends or is killed."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import pallas as pl

from benchmarks import flops, measure
from benchmarks.gpu import busy

# Its second case never ends.
STUCK = """
import pathlib, time
from benchmarks import measure

def rows():
    yield {"case": "b", "ms": 2.0}
    time.sleep(20)

measure.main(
    lambda quick, folder: [
        measure.Case("a", lambda: {"case": "a", "ms": measure.Spread.of([1.0])}),
        measure.Case("b", rows),
        measure.Case("c", lambda: {"case": "c"}),
    ],
    doc="A claim.", name="stuck", packages=(),
)
"""


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs cases with options; returns what the file holds."""

    def run_cases(cases, *options, fails=False):
        file = tmp_path / "out.json"
        monkeypatch.setenv("GLIBC_TUNABLES", "")  # or it starts the process again
        monkeypatch.setattr(sys, "argv", ["benchmark", f"--out={file}", *options])
        options = {"doc": "A claim.\n\nMore.", "name": "test", "packages": ("numpy",)}
        if fails:
            with pytest.raises(SystemExit, match="1"):
                measure.main(cases, **options)
        else:
            measure.main(cases, **options)
        return json.loads(file.read_text())

    return run_cases


def named(*names):
    """Cases of one row, their name."""
    cases = [measure.Case(name, lambda name=name: {"case": name}) for name in names]
    return lambda quick, folder: cases


def test_a_killed_benchmark_has_printed_and_kept_its_rows(tmp_path):
    out = tmp_path / "new" / "out.json"
    env = os.environ | {"GLIBC_TUNABLES": ""}
    env.pop("PYTHONUNBUFFERED", None)  # or all lines would come at once
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, f"--out={out}"],
        stdout=subprocess.PIPE,
        text=True,
        env=env,
        cwd=Path(__file__).parent.parent,
    )
    printed = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert printed == [{"case": "a", "ms": "1 (1–1)"}, {"case": "b", "ms": "2"}]
    process.kill()
    process.communicate()
    found = json.loads(out.read_text())
    assert [row["case"] for row in found["rows"]] == ["a", "b"]
    assert found["left_out"] == ["b", "c"]


def test_only_some_cases(run):
    found = run(named("ab", "bc", "cd"), "--only=b,cd")
    assert [row["case"] for row in found["rows"]] == ["ab", "bc", "cd"]
    found = run(named("ab", "bc", "cd"), "--only=ab,d")
    assert [row["case"] for row in found["rows"]] == ["ab", "cd"]


def test_only_what_there_is(run):
    with pytest.raises(SystemExit, match="expected some of ab, bc; got 'd'"):
        run(named("ab", "bc"), "--only=ab,d")


def test_no_case_begins_when_the_time_is_up(run, monkeypatch, capsys):
    now = iter([100.0, 101.0, 103.1])  # the start, then before each case
    monkeypatch.setattr(measure.time, "monotonic", lambda: next(now))
    found = run(named("first", "second", "third"), "--seconds=3")
    assert [row["case"] for row in found["rows"]] == ["first"]
    assert found["left_out"] == ["second", "third"]
    assert "left out, the time was up: second, third" in capsys.readouterr().out


def test_an_error_is_a_row(run, capsys):
    def fails():
        yield {"case": "x", "ms": 1.0}
        raise SystemExit("a check failed")

    def cases(quick, folder):
        assert folder.is_dir()
        assert not quick
        return [measure.Case("x", fails), *named("y")(quick, folder)]

    found = run(cases, fails=True)
    error = {"case": "x", "error": "SystemExit('a check failed')"}
    assert found["rows"] == [{"case": "x", "ms": 1.0}, error, {"case": "y"}]
    assert found["left_out"] == []
    assert found["claim"] == "A claim."
    assert "a check failed" in capsys.readouterr().out


def test_products_are_counted():
    x, kernel = jnp.ones((2, 8, 6, 3)), jnp.ones((3, 5, 3, 4))

    def product(x):
        y = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.tanh(y.reshape(6, -1) @ jnp.ones((16, 7)))

    once = 2 * (2 * 6 * 2 * 4) * (3 * 5 * 3) + 2 * 6 * 7 * 16
    assert flops.of(jax.make_jaxpr(product)(x).jaxpr) == once
    unused = jax.make_jaxpr(lambda x: (x, product(x))[0])(x)
    assert flops.of(unused.jaxpr) == 0

    def again(x):
        return jax.lax.scan(lambda x, _: (x, jax.jit(product)(x)), x, length=5)

    assert flops.of(jax.make_jaxpr(again)(x).jaxpr) == 5 * once


def test_a_kernel_is_counted_once_per_program():
    def kernel(x, y, out):
        out[...] = jnp.dot(x[...], y[...])

    def product(x, y):
        shape = jax.ShapeDtypeStruct((8, 4), jnp.float32)
        return pl.pallas_call(kernel, grid=(3, 2), out_shape=shape)(x, y)

    traced = jax.make_jaxpr(product)(jnp.ones((8, 16)), jnp.ones((16, 4)))
    assert flops.of(traced.jaxpr) == 3 * 2 * (2 * 8 * 16 * 4)


def test_share_of_the_time_that_a_device_works():
    # A gap of 3 in 12: others lie in one another, or over one another.
    assert busy.share([(5, 9), (0, 2), (6, 7), (8, 12)]) == 9 / 12


def test_the_share_of_the_peak_is_that_of_the_device_and_the_dtype(monkeypatch):
    device = types.SimpleNamespace(device_kind="NVIDIA H200")
    monkeypatch.setattr(jax, "devices", lambda: [device])
    found = flops.rate(49.5e12, 0.2, "float32")  # of 495 a second
    assert found == pytest.approx({"TFLOP/s": 247.5, "of peak [%]": 50.0})
    half = flops.rate(49.5e12, 0.2, "bfloat16")["of peak [%]"]
    assert half == pytest.approx(100 * 247.5 / 989)
    device.device_kind = "another"
    assert set(flops.rate(49.5e12, 0.2, "float32")) == {"TFLOP/s"}
