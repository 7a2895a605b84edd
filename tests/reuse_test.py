"""The programs of docs/reuse.md and README, in clean processes, and what they claim."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "reuse.md").read_text()
SECTIONS = dict(
    re.findall(
        r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```$",
        TEXT,
        re.DOTALL | re.MULTILINE,
    )
)
ABSENT = ["tensorflow", "tensorflow_datasets", "librosa", "ml_collections", "torch"]

# float32 against float64, sums of some dozens of terms of size 1 to 10.
REFERENCE = """
import numpy as np
from tests.reference import area_attention as slow
close = dict(rtol=1e-5, atol=1e-5)
def module(x, kernels, **areas):
    # Two heads: projections, area attention of each half, output projection.
    query, key, value, out = (np.asarray(kernel, np.float64) for kernel in kernels)
    projected = (np.split(np.asarray(x) @ k, 2, axis=-1) for k in (query, key, value))
    parts = [
        slow.area_attention(q.reshape(len(x), -1, q.shape[-1]), k, v, **areas)
        for q, k, v in zip(*projected)
    ]
    return np.concatenate(parts, axis=-1).reshape(x.shape) @ out
"""
CHECKS = {
    "The function, in JAX without Flax": """
expected = slow.area_attention(query, key, value, max_area=(3, 2), mask=mask)
np.testing.assert_allclose(out, expected, **close)
""",
    "The module, in an image classifier of NNX": """
layer, x = model.attention, model.conv(images[:2])
kernels = [f.kernel[...] for f in (layer.query, layer.key, layer.value, layer.out)]
np.testing.assert_allclose(layer(x), module(x, kernels, max_area=(2, 2)), **close)
""",
    "The module, in a Linen model": """
layer = params["area_attention"]
kernels = [layer[name]["kernel"] for name in ("query", "key", "value", "out")]
np.testing.assert_allclose(expected, module(x, kernels, max_area=(2, 3)), **close)
""",
    "Reading attention maps": """
ones = np.eye(40).reshape(5, 8, 40)[None].repeat(2, 0)  # reads the weights themselves
keys = attention.key(x)
expected = slow.area_attention(query, keys, ones, max_area=(2, 2), mask=mask)
expected = np.moveaxis(expected, 1, -1).reshape(maps.shape)
np.testing.assert_allclose(maps, expected, **close)
""",
}
README = (ROOT / "README.md").read_text().partition("## Reusing a part\n")[2]
SECTIONS["README"] = "".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
CHECKS["README"] = """
assert out.shape == (2, 7, 16)
assert steps.shape == (2, 50, 256) and pooled.shape == (2, 256)
"""


def test_every_block_of_the_document_is_run():
    assert SECTIONS.keys() == CHECKS.keys()
    assert TEXT.count("```python") == len(SECTIONS) - 1


# Sections that share what must be absent share a process; each has its own names.
GROUPS = {
    "without Flax": [name for name in SECTIONS if "without Flax" in name],
    "with Flax": [name for name in SECTIONS if "without Flax" not in name],
}


@pytest.mark.parametrize(
    "group",
    ["without Flax", pytest.param("with Flax", marks=pytest.mark.slow)],
)
def test_blocks_run_alone_and_give_what_they_claim(group, tmp_path):
    absent = ABSENT + (["flax"] if group == "without Flax" else [])
    program = [f"import sys\nsys.modules.update(dict.fromkeys({absent}))"]
    for name in GROUPS[group]:
        code = "\n".join([SECTIONS[name], REFERENCE, CHECKS[name]])
        program.append(f"exec(compile({code!r}, {name!r}, 'exec'), {{}})")
    process = subprocess.run(
        [sys.executable, "-c", "\n".join(program)],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert not process.stderr, process.stderr  # no warning either
