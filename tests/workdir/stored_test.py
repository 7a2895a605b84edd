"""A workdir and its exports of version 0.1.0 still open; see tests/stored/README.md."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from ser_jax.export import weights
from ser_jax.predict.recognizer import Recognizer
from ser_jax.report import report
from ser_jax.workdir import contents

STORED = Path(__file__).parents[1] / "stored"
ANSWERS = json.loads((STORED / "answers.json").read_text())
# The same operations in another order of compilation; a probability is at most 1.
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def tone():
    return soundfile.read(STORED / "tone.wav", dtype="float32")


def _check(classes, probabilities, run):
    expected = [ANSWERS[run][name] for name in classes]
    np.testing.assert_allclose(probabilities, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("run", ANSWERS)
def test_the_workdir_answers_as_it_did(tone, run):
    name = "" if run == "mean" else run
    answer = Recognizer.from_workdir(STORED / "workdir", name)(*tone)
    _check(answer.classes, answer.probabilities, run)


def test_the_weights_answer_as_they_did(tone):
    answer = Recognizer(weights.read(STORED / "model.safetensors"))(*tone)
    _check(answer.classes, answer.probabilities, "mean")


def test_the_program_answers_as_it_did(tone):
    samples, _ = tone
    program = jax.export.deserialize((STORED / "model.stablehlo").read_bytes())
    card = json.loads((STORED / "model.stablehlo.json").read_text())
    (probabilities,) = program.call(samples[None], np.array([len(samples)], np.int32))
    _check(card["classes"], probabilities, "mean")


def test_its_report_is_written(tmp_path):
    workdir = shutil.copytree(STORED / "workdir", tmp_path / "w")
    table = report.write_report(workdir)
    assert "mean ± std" in table and (workdir / "report.html").exists()
    training = contents.read(workdir)
    assert len(training.predictions) == 18 and len(training.recordings) == 18
    assert [line["epoch"] for line in training.metrics] == [1, 2, 1, 2]


def test_results_are_read_and_reported_without_jax(tmp_path):
    workdir = shutil.copytree(STORED / "workdir", tmp_path / "w")
    code = (
        "import sys\n"
        "from ser_jax.report import report\n"
        "from ser_jax.workdir import contents\n"
        f"contents.read({str(workdir)!r})\n"
        f"report.write_report({str(workdir)!r})\n"
        "heavy = {'jax', 'flax', 'orbax', 'tensorflow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=STORED.parents[1])
