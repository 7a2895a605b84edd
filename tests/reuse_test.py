"""The programs of docs/reuse.md, each in a process of its own, and what they claim."""

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

# Beside what a block asserts itself. float32 against float64: 45 terms of size 1.
CHECKS = {
    "The function, in JAX without Flax": """
import numpy as np
from tests.reference import area_attention as slow
expected = slow.area_attention(query, key, value, max_area=(3, 2), mask=mask)
np.testing.assert_allclose(out, expected, atol=1e-5)
""",
    "The module, in an image classifier of NNX": "assert losses[0] > 0.7",
    "The module, in a Linen model": """
import numpy as np
from tests.reference import area_attention as slow
def heads(name):
    kernel = np.asarray(params["area_attention"][name]["kernel"], np.float64)
    return np.split(np.asarray(x, np.float64) @ kernel, 2, axis=-1)
parts = [
    slow.area_attention(q.reshape(2, 80, 8), k, v, max_area=(2, 3))
    for q, k, v in zip(heads("query"), heads("key"), heads("value"))
]
out = np.concatenate(parts, -1) @ np.asarray(params["area_attention"]["out"]["kernel"])
np.testing.assert_allclose(expected, out.reshape(x.shape), atol=1e-5)
""",
    "Reading attention maps": """
import numpy as np
from tests.reference import area_attention as slow
keys = attention.key(x)
ones = np.eye(40).reshape(5, 8, 40)[None].repeat(2, 0)  # reads the weights themselves
expected = slow.area_attention(query, keys, ones, max_area=(2, 2), mask=mask)
np.testing.assert_allclose(maps, np.moveaxis(expected, 1, -1).reshape(maps.shape), atol=1e-5)
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


@pytest.mark.parametrize("section", SECTIONS)
def test_blocks_run_alone_and_tell_the_truth(section, tmp_path):
    absent = ABSENT + (["flax"] if "without Flax" in section else [])
    start = f"import sys\nsys.modules.update(dict.fromkeys({absent}))\n"
    done = subprocess.run(
        [sys.executable, "-c", start + SECTIONS[section] + CHECKS[section]],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # no warning either
