"""A sweep on several processes ends as on one, whichever of them dies."""

import signal

import numpy as np
import pytest

from ser_jax.training import loop
from tests.training import jobs
from tests.training.common import curves_of, figures_of, posteriors_of

SWEEP = {"train.learning_rate": (1e-2, 3e-3), "train.batch_size": (8, 12)}


@pytest.mark.slow
def test_a_sweep_on_two_hosts_is_that_of_one(quick_config, tones, datasets, tmp_path):
    path = jobs.write_config(tmp_path / "quick.py", tones, datasets)
    lines = path.read_text().replace(
        "    return config", f"    config.sweep = {SWEEP!r}\n    return config"
    )
    path.write_text(lines)
    # Rounds of two runs: 5 of 11 updates and of 7, twice. It dies in the second group.
    died = jobs.run(
        path, tmp_path / "w", 2, who=0, signal=signal.SIGKILL, call=2 * 11 + 9
    )
    assert [code for code, _ in died] == [-signal.SIGKILL, 1]
    assert (tmp_path / "w" / "sweep" / "1" / "outcome.json").exists()
    outputs = jobs.run(path, tmp_path / "w", 2)
    assert [code for code, _ in outputs] == [0, 0], outputs
    assert "Group 1 of 2 has trained." in outputs[0][1]
    quick_config.sweep = SWEEP
    loop.train_and_evaluate(quick_config, str(tmp_path / "one"))
    assert curves_of(tmp_path / "w") == curves_of(tmp_path / "one")
    several, alone = (figures_of(tmp_path / x) for x in ("w", "one"))
    assert several["sweep"] == alone["sweep"]
    assert several["pooled"] == alone["pooled"]
    # A group with one chosen run splits its tests' batches over both.
    several, alone = (posteriors_of(tmp_path / x) for x in ("w", "one"))
    np.testing.assert_allclose(several, alone, rtol=0, atol=1e-6)
