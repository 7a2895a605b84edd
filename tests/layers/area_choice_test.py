"""What `auto` is: the kernel on NVIDIA GPUs, XLA elsewhere and where it fails."""

import logging
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from ser_jax.layers import area_choice, area_kernel
from ser_jax.layers.area_attention import area_attention

H100 = {"device_kind": "NVIDIA H100 80GB HBM3", "compute_capability": "9.0"}
V100 = {"device_kind": "NVIDIA V100", "compute_capability": "7.0"}
MI300 = {"device_kind": "AMD Instinct MI300X", "compute_capability": "gfx942"}


@pytest.fixture(autouse=True)
def forget():
    """Decisions are kept as long as the process."""
    caches = area_choice._on_this_machine, area_choice._say
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def on_gpu(monkeypatch):
    """As if there were a GPU; kernels stay interpreted."""

    def use(names=H100):
        device = types.SimpleNamespace(**names)
        monkeypatch.setattr(area_choice, "obstacle", lambda _: obstacle(device))
        sweep, backend = area_kernel.sweep, jax.default_backend
        calls = []

        def interpreted(*arguments):
            calls.append(arguments)
            return sweep(*arguments)

        def obstacle(device):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(jax, "default_backend", lambda: "gpu")
                reason = real(device)
            assert jax.default_backend() == backend()
            return reason

        monkeypatch.setattr(area_kernel, "sweep", interpreted)
        return calls

    real = area_choice.obstacle
    return use


def inputs():
    rng = np.random.default_rng(0)
    shapes = (2, 6, 4), (2, 3, 2, 4), (2, 3, 2, 4)
    return [jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in shapes]


def test_on_cpu_it_is_xla_and_says_so_once(caplog):
    with caplog.at_level(logging.INFO):
        assert [area_choice.choose((3, 3)) for _ in range(2)] == ["xla", "xla"]
    messages = [x.message for x in caplog.records if x.name == area_choice.__name__]
    assert messages == ["Area attention: xla: on CPU the kernel would be interpreted."]


def test_on_an_nvidia_gpu_it_is_the_kernel(on_gpu, caplog):
    calls = on_gpu()
    with caplog.at_level(logging.INFO):
        out = area_attention(*inputs(), max_area=(2, 2))
    assert len(calls) == 2  # the trial, and the attention
    assert "pallas: one kernel" in caplog.text
    expected = area_attention(*inputs(), max_area=(2, 2), implementation="xla")
    np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        (V100, "Triton needs compute capability 8.0; NVIDIA V100 has 7.0"),
        (MI300, "AMD"),
    ],
)
def test_other_gpus_take_xla(on_gpu, device, reason, caplog):
    calls = on_gpu(device)
    with caplog.at_level(logging.INFO):
        area_attention(*inputs(), max_area=(2, 2))
    assert not calls and reason in caplog.text


def test_a_kernel_that_does_not_compile_is_replaced_with_a_warning(
    on_gpu, monkeypatch, caplog
):
    on_gpu()

    def broken(*_):
        raise RuntimeError("ptxas is absent\nand more")

    monkeypatch.setattr(area_kernel, "sweep", broken)
    out = area_attention(*inputs(), max_area=(2, 2))
    assert out.shape == (2, 6, 4)
    record = caplog.records[-1]
    assert record.levelname == "WARNING" and "ptxas is absent)" in record.message


def test_single_cells_large_areas_and_other_modes_never_try_the_kernel(on_gpu):
    calls = on_gpu()
    query, key, value = inputs()
    long = key.reshape(2, 1, 6, 4)
    area_attention(query, long, value.reshape(2, 1, 6, 4), max_area=(1, 6))
    area_attention(query, key, value, max_area=(1, 1))
    area_attention(query, key, value, key_mode="max")
    assert not calls


def test_it_decides_inside_shard_map_and_under_vmap(on_gpu):
    on_gpu()
    mesh = Mesh(np.array(jax.devices()[:2]), ("run",))
    stacked = [jnp.stack([x, 2 * x, -x, x + 1]) for x in inputs()]

    @jax.jit
    def run(*arrays):
        spec = PartitionSpec("run")
        each = jax.vmap(lambda *x: area_attention(*x, max_area=(2, 2)))
        return jax.shard_map(
            each, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
        )(*arrays)

    expected = [
        area_attention(*x, max_area=(2, 2), implementation="xla")
        for x in zip(*stacked, strict=True)
    ]
    np.testing.assert_allclose(run(*stacked), jnp.stack(expected), atol=1e-5)
