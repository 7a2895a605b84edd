"""What a start brings in, and that a second one compiles nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMPILES = """
import json, jax, jax.numpy as jnp
from ser_jax import clock
from ser_jax.training import compilation
compilation.watch(), compilation.watch()
compilation.keep_programs()
with clock.running() as running:
    with clock.part("outer"):
        jax.jit(lambda x: jax.jit(jnp.cumsum)(x) + 1.5)(jnp.arange(7.0))
        before = dict(running.counts)
        jax.jit(lambda x: x @ x.T)(jnp.ones((3, 5)))
print(json.dumps([before, running.counts, running.seconds()]))
"""


def _python(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, *arguments],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "XLA_FLAGS": "", **environment},
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_all_programs_are_kept_and_the_next_start_reads_them(tmp_path):
    environment = {
        "XDG_CACHE_HOME": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1",  # JAX's own default
    }
    for_users = "import os; os.environ.pop('JAX_COMPILATION_CACHE_DIR', None)\n"
    first_before, first, seconds = _python("-c", for_users + COMPILES, **environment)
    assert first.get("from_cache", 0) == 0
    assert first["programs"] > first_before["programs"] > 0
    assert 0 < seconds["compile"] < seconds["total"]
    assert list((tmp_path / "ser_jax" / "jax").iterdir())
    _, second, _ = _python("-c", for_users + COMPILES, **environment)
    assert second == {"programs": first["programs"], "from_cache": first["programs"]}


PAGES = """
import json, os, sys
from ser_jax import huge_pages
huge_pages.ask()
print(json.dumps([os.environ["GLIBC_TUNABLES"], sys.argv, os.getppid()]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a Linux setting")
def test_a_process_starts_again_as_it_was_with_large_pages():
    variable = "GLIBC_TUNABLES"
    for_users = (
        f"import os; os.environ.get({variable!r}) or os.environ.pop({variable!r})\n"
    )
    words = ("--config.a=b c", "")
    found = _python("-c", for_users + PAGES, *words, GLIBC_TUNABLES="")
    assert found == ["glibc.malloc.hugetlb=1", ["-c", *words], os.getpid()]
    own = "glibc.malloc.arena_max=3"
    assert _python("-c", PAGES, *words, GLIBC_TUNABLES=own)[0] == own
